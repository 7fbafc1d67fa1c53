"""What the program makes of a state that a power cut left: whether anything is lost, damaged or refused."""

from __future__ import annotations

import builtins
import io
import os
import traceback
from binascii import crc32
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hal0_budget import Account, BudgetError, Home
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.support.crash_states import MEMORY, Case, lay
from tests.support.crash_steps import ABSENT, NO_ROW, Books, again, books_of, finished, go_on, possible

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def reboot() -> None:
    """Give this process the boot id of a machine that was started again, and nothing to wait for in fsync."""
    opener, os_opener = io.open, os.open
    fd = os.memfd_create("boot_id")
    os.write(fd, b"b0071d00-0000-4000-8000-000000000001\n")
    other = f"/proc/self/fd/{fd}"

    def opened(path: Any, *args: Any, **options: Any) -> Any:
        return opener(other if str(path) == BOOT_ID else path, *args, **options)

    def os_opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if str(path) == BOOT_ID:
            return os_opener(other, flags & ~os.O_NOFOLLOW, *args, **options)
        return os_opener(path, flags, *args, **options)

    # The modules that a command would import are imported with these in place.
    vars(io)["open"] = vars(builtins)["open"] = opened
    vars(os).update(open=os_opened, fsync=_done, fdatasync=_done)


def _done(_fd: int) -> None:
    """Nothing: what is laid in memory needs no sync."""


def problems(case: Case) -> list[str]:
    """What the program gets wrong in a state: empty where all is well."""
    with TemporaryDirectory(prefix="power-cut-", dir=MEMORY) as folder:
        lay(case.tree, Path(folder) / "disk")
        judge = _Judge(case, Home(Path(folder) / "disk" / "agents"))
        try:
            judge.judge()
        except (Exception, AssertionError):  # noqa: BLE001, every one is a problem of its own
            judge.problems.append(traceback.format_exc(limit=-3))
        return [f"{case.story.name}: {case.how}: {problem}" for problem in judge.problems]


class _Judge:
    """Asks the program about one state."""

    def __init__(self, case: Case, home: Home) -> None:
        self.case, self.home = case, home
        self.problems: list[str] = []

    def account(self) -> Account:
        """The account of hermes, opened anew."""
        return Account(self.home, "hermes")

    def judge(self) -> None:
        """All that is asked of a state."""
        steps = self.case.steps
        if self.case.is_faulty and self._refuses():
            self._must_have_rows()
            return
        books = self._expect("after the cut", possible(steps))
        if books.cap == ABSENT:
            self._must_refuse("a persona that is not there")
        elif not self.case.story.is_damaged or 1 in self._repairs():
            # Readers keep checkpoints: every second state meets a writer first.
            if crc32(self.case.how.encode()) % 2:
                self._must_be_sound(books, "after the cut")
        elif not self._repairs():
            self._must_refuse("damage that nobody repaired")
        for tried in steps:
            if tried.acknowledged < len(tried.step.effects):
                again(self.account(), tried.step)
        steps = finished(steps)
        self._must_be_sound(self._expect("after each retry", possible(steps)), "after each retry")
        steps = (*steps, *go_on(self.account()))
        self._must_be_sound(self._expect("after one more charge", possible(steps)), "after one more charge")
        self._must_keep_bad_lines()

    def _expect(self, when: str, wanted: set[Books]) -> Books:
        found = books_of(self.home, self.case.steps)
        if found not in wanted:
            self.problems.append(f"{when}: {_legible(found)}; possible: {[*map(_legible, wanted)]}")
        return found

    def _refuses(self) -> bool:
        try:
            self.account().check()
        except BudgetError:
            return True
        return False

    def _must_have_rows(self) -> None:
        """Every row that was acknowledged is in the ledger, whatever else is wrong with it."""
        wanted = min(possible(self.case.steps), key=lambda books: len(books.rows)).rows
        lost = wanted - books_of(self.home, self.case.steps).rows
        assert not lost, f"acknowledged rows are lost: {lost}"

    def _must_refuse(self, why: str) -> None:
        with suppress(BudgetError):
            self.account().check()
            self.problems.append(f"check answers in spite of {why}")

    def _must_be_sound(self, books: Books, when: str) -> None:
        """The gate answers, on sums that are those of the books, and nothing is damaged."""
        for ask in (self._check, self._show, self._audit):
            try:
                ask(books)
            except BudgetError as error:
                self.problems.append(f"{when}: {ask.__name__[1:]} ends in {error.exit_code}: {error.message}")
            except AssertionError as error:
                self.problems.append(f"{when}: {error}")

    def _check(self, _books: Books) -> None:
        self.account().check(Decimal("0.0625"))

    def _show(self, books: Books) -> None:
        statement = self.account().show()
        counted = (statement.of("lifetime").spent or Decimal(0)) + statement.held
        wanted = sum((usd for _, usd in (*books.rows, *books.holds)), Decimal(0))
        assert counted == wanted, f"show counts {counted}, the files say {wanted}"
        assert statement.warnings == (), f"show warns of {statement.warnings}"

    def _audit(self, _books: Books) -> None:
        found = [
            one.text() for one in audit(self.home, "hermes", utc_now()).findings if one.severity == "damage"
        ]
        assert not found, f"verify names damage: {found}"

    def _repairs(self) -> set[int]:
        """For each repair that was begun, whether it was acknowledged: 1, else 0."""
        return {tried.acknowledged for tried in self.case.steps if tried.step.argv[0] == "verify"}

    def _must_keep_bad_lines(self) -> None:
        if any(NO_ROW in step.argv for step in self.case.story.before):
            files = self.home.spend_dir("hermes").glob("spend.*")
            kept = b"".join(path.read_bytes() for path in files)
            assert NO_ROW.encode().strip() in kept, "the bad line is gone"


def _legible(books: Books) -> str:
    rows = ", ".join(f"{name} {usd}" for name, usd in sorted(books.rows))
    holds = ", ".join(f"{name} {usd}" for name, usd in sorted(books.holds))
    return f"rows ({rows}), holds ({holds}), cap {books.cap}"
