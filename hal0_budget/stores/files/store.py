"""The store on plain files: a TOML file and a folder of spending for each persona of an agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hal0_budget.errors import LedgerDamaged, from_os_error
from hal0_budget.model.policy import Policy
from hal0_budget.model.records import Hold
from hal0_budget.model.usage import Usage
from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.files.blocks import NotALedger
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import HOLDS, LEDGER, Ledger, Reading
from hal0_budget.stores.files.lock import Lock
from hal0_budget.stores.files.persona_file import PersonaFile, read_persona

if TYPE_CHECKING:
    from hal0_budget.model.budget import Changes
    from hal0_budget.model.sums import Sums
    from hal0_budget.stores.base import Audit, Calls, Days, PolicyChange, Progress, Tail, Transaction
    from hal0_budget.stores.files.tally import Tally


class FileStore:
    """The files of the agent of `home`; see `Store`. Not thread-safe.

    It keeps what it read of each persona, so that the next call reads only what was appended since.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.agent = home.agent
        self._paths: dict[str, Path] = {}
        self._files: dict[str, PersonaFile] = {}
        self._policies: dict[str, tuple[PersonaFile, Policy]] = {}
        self._ledgers: dict[str, Ledger] = {}

    def personas(self) -> tuple[str, ...]:
        """See `Store`."""
        return self.home.persona_ids()

    def require_persona(self, persona: str) -> None:
        """See `Store`."""
        self.home.require_agent()
        path = self._paths.get(persona)
        if path is None:
            path = self._paths[persona] = self.home.persona_file(persona)
        if not path.exists():
            raise self.home.not_found(persona)

    def policy(self, persona: str, changes: Changes | None = None) -> Policy:
        """See `Store`."""
        file = self._read(persona)
        if changes:
            return Policy(persona, file.budget(changes), file.warnings)
        read_from, policy = self._policies.get(persona, (None, None))
        if policy is None or read_from is not file:
            policy = Policy(persona, file.budget(), file.warnings)
            self._policies[persona] = file, policy
        return policy

    def change_policy(
        self, persona: str, changes: Changes, *, dry_run: bool = False, timeout: float = DEFAULT_TIMEOUT
    ) -> PolicyChange:
        """See `Store`."""
        # `check` never edits.
        from hal0_budget.stores.files.persona_edit import change_of, edited, write

        if dry_run:
            before = self._read(persona)
            after = before.with_text(edited(before, changes))
            return change_of(persona, before, after)
        self.require_persona(persona)
        with Lock(self.home.edit_lock(persona)).held(timeout):
            before = self._read(persona)
            after = before.with_text(edited(before, changes))
            change = change_of(persona, before, after)
            write(before, after.text)
        return change

    def usage(self, persona: str, now: datetime, progress: Progress | None = None) -> Usage:
        """See `Store`."""
        return self._ledger(persona).read(now, progress).usage(now)

    def transaction(
        self,
        persona: str,
        clock: Callable[[], datetime],
        timeout: float = DEFAULT_TIMEOUT,
        request_ids: Collection[str] = (),
    ) -> AbstractContextManager[Transaction]:
        """See `Store`."""
        # Only commands that record need it; `check` runs more often.
        from hal0_budget.stores.files.writer import writing

        return writing(self._ledger(persona), clock, timeout, request_ids)

    def open_holds(self, persona: str, now: datetime) -> tuple[Hold, ...]:
        """See `Store`."""
        return self._ledger(persona).open_holds(now)

    def entries(
        self, persona: str, now: datetime, last: int | None = None, since: date | None = None
    ) -> Tail:
        """See `Store`."""
        from hal0_budget.stores.files.tail import FileTail

        ledger = self._ledger(persona)
        if not ledger.path.exists():
            ledger.look(now)[0].usage(now).require_sound()
        return FileTail(ledger.path, last, since)

    def state(self, persona: str) -> object:
        """See `Store`."""
        folder = self.home.spend_dir(persona)
        return tuple(map(_state_of, (self.home.persona_file(persona), folder / LEDGER, folder / HOLDS)))

    def daily(self, usage: Usage) -> Mapping[str, Decimal]:
        """See `Store`."""
        return {_first_of(period): Decimal(usd) for period, usd in _tally(usage).days.items()}

    def spending(self, persona: str, usage: Usage, days: Days, progress: Progress) -> Iterator[Sums]:
        """See `Store`."""
        # Only `report` needs them.
        from hal0_budget.model.sums import by_day
        from hal0_budget.stores.files.day_sums import TooManySums, hourly_sums, streamed_sums

        tally, ledger = _tally(usage), self._ledger(persona)
        if not tally.size:
            return
        tick = partial(_tick, progress, tally.size)
        try:
            if not any(map(days.splits_hours, (day for period in tally.days for day in _days_of(period)))):
                with suppress(TooManySums):
                    epoch = _reading(usage).marks.ledger.epoch
                    yield by_day(hourly_sums(ledger, tally, epoch, tick), days.day)
                    return
            for sums in streamed_sums(ledger, tally, days.day, tick):
                yield by_day(sums, str)
        except NotALedger as error:
            _require_sound(usage, error)

    def calls(self, persona: str, usage: Usage, progress: Progress) -> Iterator[Calls]:
        """See `Store`."""
        # Only `simulate` needs it.
        from hal0_budget.stores.files.calls import calls

        try:
            # No further than the usage came, which names what is unreadable up to there.
            yield from calls(self._ledger(persona).path, _tally(usage).size, progress)
        except NotALedger as error:
            _require_sound(usage, error)

    def verify(self, persona: str, now: datetime) -> Audit:
        """See `Store`."""
        from hal0_budget.stores.files.audit import audit

        try:
            return audit(self.home, persona, now)
        except OSError as error:
            raise from_os_error(error) from error

    def repair(self, persona: str, now: datetime, timeout: float = DEFAULT_TIMEOUT) -> list[str]:
        """See `Store`."""
        from hal0_budget.stores.files.repair import repair

        self.require_persona(persona)
        try:
            return repair(self.home, persona, now, timeout)
        except NotALedger as error:
            raise LedgerDamaged(f"{self.home.spend_dir(persona)}: {error}") from None
        except OSError as error:
            raise from_os_error(error) from error

    def _read(self, persona: str) -> PersonaFile:
        file = read_persona(self.home, persona, self._files.get(persona))
        self._files[persona] = file
        return file

    def _ledger(self, persona: str) -> Ledger:
        ledger = self._ledgers.get(persona)
        if ledger is None:
            ledger = self._ledgers[persona] = Ledger(self.home.spend_dir(persona))
        return ledger


def _reading(usage: Usage) -> Reading:
    """The reading that a usage of this store was made from."""
    return cast(Reading, usage.position)


def _tally(usage: Usage) -> Tally:
    return _reading(usage).tally


def _tick(progress: Progress, size: int, done: int) -> None:
    progress(done, size)


def _require_sound(usage: Usage, error: NotALedger) -> None:
    """Raise LedgerDamaged: the ledger is no longer the one that the usage was read from."""
    usage._replace(problems=(f"{usage.source}: {error}", *usage.problems)).require_sound()


def _first_of(period: str) -> str:
    """The first day of a period of a tally: a day, or a month (`2026-03`) or year (`2021`) long past."""
    return f"{period}-01-01"[: len("2026-03-01")] if len(period) < len("2026-03-01") else period


def _days_of(period: str) -> list[str]:
    """The days of a period of a tally."""
    first = date.fromisoformat(_first_of(period))
    days = {4: 366, 7: 31}.get(len(period), 1)
    all_days = (first.fromordinal(first.toordinal() + number) for number in range(days))
    return [day for each in all_days if (day := each.isoformat()).startswith(period)]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
