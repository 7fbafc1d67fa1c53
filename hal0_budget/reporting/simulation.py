"""Replays a ledger call by call to show what other caps would have done."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.clock import utc_now
from hal0_budget.errors import from_os_error
from hal0_budget.model.budget import Budget, Changes, checked_changes
from hal0_budget.model.money import add, total
from hal0_budget.model.records import Row
from hal0_budget.model.verdict import Level
from hal0_budget.model.windows import WINDOWS, Window
from hal0_budget.reporting.replay import Replay, Snapshot, VerdictTotal
from hal0_budget.stores.base import Calls, Progress, Store
from hal0_budget.stores.open import Home, open_store

# At most this many blocked calls are listed; the rest are only counted.
NAMED_CALLS = 20

# Sources of costs that no provider confirmed.
DOUBTFUL = ("estimated", "unconfirmed")

_AFTER_ALL = "~"


class Part(NamedTuple):
    """A number of calls and their total cost in USD."""

    calls: int
    usd: Decimal


class Binding(NamedTuple):
    """The calls that would have been blocked, and warned about, because of one window."""

    window: Window
    blocked: Part
    warned: Part


class BlockedCall(NamedTuple):
    """A call that would have been blocked: the number of its line, from 1, its row, and why."""

    line: int
    row: Row
    reason: str


class Simulation(NamedTuple):
    """What `budget` would have done to the calls from the day `since` to `until`, both included.

    `doubtful` has the calls, by cost source, whose booked cost no provider confirmed. `first_blocked` lists
    the first calls that would have been blocked, `last_blocked` is the last one.
    """

    persona: str
    budget: Budget
    since: date | None
    until: date | None
    allowed: Part
    warned: Part
    blocked: Part
    bindings: tuple[Binding, ...]
    doubtful: Mapping[str, Part]
    first_blocked: tuple[BlockedCall, ...]
    last_blocked: BlockedCall | None
    warnings: tuple[str, ...]

    @property
    def calls(self) -> int:
        """How many calls were judged."""
        return self.allowed.calls + self.warned.calls + self.blocked.calls

    @property
    def would_spend(self) -> Decimal:
        """USD that the calls would have cost under this budget."""
        return add(self.allowed.usd, self.warned.usd)

    @property
    def spent(self) -> Decimal:
        """The actual cost of the calls in USD."""
        return add(self.would_spend, self.blocked.usd)


def simulate(
    home: Home | Store,
    persona: str,
    changes: Changes,
    *,
    replace: bool = False,
    since: date | None = None,
    until: date | None = None,
    now: datetime | None = None,
    progress: Progress = lambda done, size: None,  # noqa: ARG005, shows nothing
) -> Simulation:
    """Replay a ledger under the persona's caps, changed as `Account.set_budget` would change them.

    Rows are judged in the order of the ledger, each at its own time and cost, as if each had been charged
    before the next was checked. Voided rows and their voids do not count. Rows outside the days `since` to
    `until` (UTC) count in the windows and are not judged. Unreadable rows are skipped; `warnings` names them.
    Writes no more than `show` does.

    Raises InvalidBudget, PersonaMalformed, PersonaNotFound; LedgerDamaged if the ledger as a whole
    is not reliable.
    """
    try:
        store = open_store(home)
        policy = store.policy(persona, checked_changes(changes, replace=replace))
        scan = _Scan(policy.budget, since, until)
        usage = store.usage(persona, now or utc_now(), progress)
        usage.require_whole()
        for found in store.calls(persona, usage, progress):
            scan.add(found)
    except OSError as error:
        raise from_os_error(error) from error
    return scan.result(persona, (*policy.warnings, *usage.problems))


class _Scan:
    """The replay of one ledger, and the blocked calls to list."""

    def __init__(self, budget: Budget, since: date | None, until: date | None) -> None:
        self._replay = Replay(budget)
        self._since = since
        self._until = until
        self._first_hour = "" if since is None else f"{since}T00"
        self._last_hour = _AFTER_ALL if until is None else f"{until}T23"
        self._doubtful = {source: VerdictTotal() for source in DOUBTFUL}
        self._blocked: list[BlockedCall] = []
        self._last: tuple[Calls, int, Snapshot] | None = None

    def add(self, calls: Calls) -> None:
        """Judge calls in the requested days; count other calls as spent."""
        replay = self._replay
        if not self._first_hour <= calls.hour <= self._last_hour:
            replay.spend(calls.hour, calls.usd)
            return
        for source, usd in zip(calls.sources, calls.usd, strict=False):
            if source in self._doubtful:
                self._doubtful[source].add(1, usd)
        last: tuple[int, Snapshot] | None = None
        for place in replay.judge(calls.hour, calls.usd):
            last = place, replay.snapshot()
            if len(self._blocked) < NAMED_CALLS:
                self._blocked.append(self._named(calls, *last))
        if last is not None:
            self._last = calls, *last

    def result(self, persona: str, warnings: tuple[str, ...]) -> Simulation:
        """Return the result of the replay."""
        bindings = (
            Binding(window, self._part("block", window), self._part("warn", window)) for window in WINDOWS
        )
        return Simulation(
            persona,
            self._replay.budget,
            self._since,
            self._until,
            self._part("allow"),
            self._part("warn"),
            self._part("block"),
            tuple(binding for binding in bindings if binding.blocked.calls or binding.warned.calls),
            {source: Part(found.calls, found.usd) for source, found in self._doubtful.items() if found.calls},
            tuple(self._blocked),
            self._named(*self._last) if self._last else None,
            warnings,
        )

    def _part(self, level: Level, window: Window | None = None) -> Part:
        """Return the calls that got a verdict, because of one window or, for None, of any."""
        found = [
            counted
            for (its_level, its_window), counted in self._replay.totals.items()
            if its_level == level and window in (None, its_window)
        ]
        return Part(sum(counted.calls for counted in found), total([counted.usd for counted in found]))

    def _named(self, calls: Calls, place: int, snapshot: Snapshot) -> BlockedCall:
        verdict = self._replay.verdict(snapshot, calls.usd[place])
        return BlockedCall(calls.numbers[place], calls.row(place), verdict.reason or "")
