"""A persona with open holds, and its files at each earlier moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.conftest import Clock

LEDGER, HOLDS = "spend.jsonl", "spend.holds"


LEFT = Decimal("0.10")


TOO_MUCH = LEFT + Decimal("0.01")


MINUTE, DAY = timedelta(minutes=1), timedelta(hours=24)


# The contents of a folder by file name, and a change of one of them: None removes the file.
Files = dict[str, bytes]


Change = tuple[str, bytes | None]


def files_of(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def lay(folder: Path, files: Files) -> None:
    """Make the folder hold these files and no others."""
    before = files_of(folder)
    for name in before.keys() - files.keys():
        (folder / name).unlink()
    for name, data in files.items():
        if before.get(name) != data:
            (folder / name).write_bytes(data)


def changed(files: Files, *changes: Change) -> Files:
    found = {**files, **dict(changes)}
    return {name: data for name, data in found.items() if data is not None}


def refused(account: Account, usd: Decimal) -> bool:
    """Whether `check` blocks a call, or says that it cannot tell."""
    try:
        return account.check(usd).verdict.level == "block"
    except BudgetError as error:
        return error.exit_code == 65


def tell_story(
    home: Home, persona: str, *, with_ledger: bool, share: Decimal = Decimal(1)
) -> Iterator[Clock]:
    """Make holds that are settled, booked, released and given back, and two that stay open; step by step."""
    clock = Clock()
    clock.now = utc_now() - 5 * MINUTE
    account = Account(home, persona, clock=clock)

    def reserve(hold_id: str, usd: str, ttl: timedelta = DAY, **options: object) -> Clock:
        hold = account.reserve(Decimal(usd) * share, hold_id=hold_id, ttl=ttl, **options).hold  # type: ignore[arg-type]
        assert hold is not None
        return clock

    def charge(usd: str, request_id: str, hold_id: str | None = None) -> Clock:
        account.charge(Decimal(usd) * share, model="m", request_id=request_id, hold_id=hold_id)
        return clock

    if with_ledger:
        yield charge("0.20", "first")
        yield reserve("settled", "1.00")
        yield charge("0.50", "settles", "settled")
        yield reserve("booked", "0.25", MINUTE)
    yield reserve("released", "1.00")
    account.release("released")
    yield clock
    yield reserve("given-back", "1.00", MINUTE, on_expiry="release")
    clock.now += 2 * MINUTE
    yield reserve("open-1", "2.00")
    if with_ledger:
        yield charge("0.30", "last")
    yield reserve("open-2", "0.75")


class Case:
    """A persona with $0.10 left of its cap: its folder now, and at each earlier moment."""

    def __init__(self, home: Home, *, with_ledger: bool) -> None:
        self.home, self.folder = home, home.spend_dir("hermes")
        spent, held = Decimal("1.25") if with_ledger else Decimal(0), Decimal("2.75")
        Account(home, "hermes").set_budget({"lifetime_usd": spent + held + LEFT})
        self.moments: list[Files] = []
        for clock in tell_story(home, "hermes", with_ledger=with_ledger):
            self.moments.append(files_of(self.folder))
            self.now = clock.now
        # Accounts that hold less: another persona, and the same persona of another agent.
        other = home._replace(agent="other")
        init(other)
        self.foreign: dict[str, Files] = {}
        for name, (owner, persona) in {"persona": (home, "coder"), "agent": (other, "hermes")}.items():
            for _ in tell_story(owner, persona, with_ledger=with_ledger, share=Decimal("0.01")):
                pass
            self.foreign[f"of another {name}"] = files_of(owner.spend_dir(persona))
        # It has seen the files before they change.
        self.watcher = self.account()
        assert self.judges_as_before()
        self.good = files_of(self.folder)

    def account(self, later: timedelta = timedelta(0)) -> Account:
        return Account(self.home, "hermes", clock=lambda: self.now + later)

    def refuses(self) -> bool:
        """Whether one who looked before, one who looks now and the next all refuse what does not fit."""
        return all(refused(account, TOO_MUCH) for account in (self.watcher, self.account(), self.account()))

    def judges_as_before(self) -> bool:
        """Whether what fits exactly is allowed, and nothing more."""
        accounts = (self.watcher, self.account())
        return self.refuses() and all(account.check(LEFT).verdict.level == "allow" for account in accounts)

    def is_named(self) -> bool:
        """Whether `verify` names the journal of holds as damaged."""
        found = audit(self.home, "hermes", self.now).findings
        return any(one.severity == "damage" and one.path.endswith(HOLDS) for one in found)

    def put(self, *changes: Change) -> None:
        """Lay the folder as it was, but for these changes."""
        lay(self.folder, changed(self.good, *changes))

    def replacements(self, name: str) -> dict[str, bytes | None]:
        """What a file may be replaced by: nothing, an empty file, each older copy, another account's."""
        found: dict[str, bytes | None] = {"removed": None, "emptied": b""}
        for number, files in enumerate(self.moments, 1):
            if name in files and files[name] not in (*found.values(), self.good[name]):
                found[f"older, of moment {number}"] = files[name]
        found |= {label: files[name] for label, files in self.foreign.items() if name in files}
        return found
