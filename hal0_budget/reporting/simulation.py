"""What other caps would have done: a ledger replayed call by call."""

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
from hal0_budget.reporting.replay import Replay, Ruled, Standing
from hal0_budget.stores.base import Calls, Progress, Store
from hal0_budget.stores.open import Home, open_store

# As many blocked calls as are named one by one; the rest are counted.
NAMED_CALLS = 20

# Sources of costs that no provider confirmed.
DOUBTFUL = ("estimated", "unconfirmed")

_AFTER_ALL = "~"


class Part(NamedTuple):
    """How many calls, and the USD that they did cost."""

    calls: int
    usd: Decimal


class Binding(NamedTuple):
    """The calls that one window would have been the first to block, and those to warn of."""

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

    `doubtful` are those of them, by cost source, that are booked at what no provider confirmed.
    `first_blocked` are the first of those that would have been blocked, `last_blocked` is the last.
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
        """USD that the calls did cost."""
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
    progress: Progress = lambda done, size: None,  # noqa: ARG005, told to nobody
) -> Simulation:
    """Replay a ledger under the persona's caps, changed as `Account.set_budget` would change them.

    Rows are judged in the order of the ledger, each at its own time and cost, as if it had been charged
    before the next was asked for. Voided rows and their voids do not count; rows outside the days `since`
    to `until` (UTC) count in the windows as they were, and are not judged. Unreadable ones are skipped and
    named as warnings. Writes no more than `show` does.

    Raises InvalidBudget, PersonaMalformed, PersonaNotFound; LedgerDamaged where the ledger as a whole
    cannot be relied on.
    """
    try:
        store = open_store(home)
        policy = store.policy(persona, checked_changes(changes, replace=replace))
        scan = _Scan(policy.budget, since, until)
        usage = store.usage(persona, now or utc_now(), progress)
        usage.require_whole()
        for found in store.calls(persona, usage, progress):
            scan.take(found)
    except OSError as error:
        raise from_os_error(error) from error
    return scan.result(persona, (*policy.warnings, *usage.problems))


class _Scan:
    """The replay of one ledger, and what of it is named."""

    def __init__(self, budget: Budget, since: date | None, until: date | None) -> None:
        self._replay = Replay(budget)
        self._since = since
        self._until = until
        self._first_hour = "" if since is None else f"{since}T00"
        self._last_hour = _AFTER_ALL if until is None else f"{until}T23"
        self._doubtful = {source: Ruled() for source in DOUBTFUL}
        self._blocked: list[BlockedCall] = []
        self._last: tuple[Calls, int, Standing] | None = None

    def take(self, calls: Calls) -> None:
        """Judge calls of the days that were asked for; count any other."""
        replay = self._replay
        if not self._first_hour <= calls.hour <= self._last_hour:
            replay.spend(calls.hour, calls.usd)
            return
        for source, usd in zip(calls.sources, calls.usd, strict=False):
            if source in self._doubtful:
                self._doubtful[source].add(1, usd)
        last: tuple[int, Standing] | None = None
        for place in replay.judge(calls.hour, calls.usd):
            last = place, replay.standing()
            if len(self._blocked) < NAMED_CALLS:
                self._blocked.append(self._named(calls, *last))
        if last is not None:
            self._last = calls, *last

    def result(self, persona: str, warnings: tuple[str, ...]) -> Simulation:
        """What it came to."""
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
        """What was ruled so, by any window or by the one that is named."""
        found = [
            ruled
            for (its_level, its_window), ruled in self._replay.ruled.items()
            if its_level == level and window in (None, its_window)
        ]
        return Part(sum(ruled.calls for ruled in found), total([ruled.usd for ruled in found]))

    def _named(self, calls: Calls, place: int, standing: Standing) -> BlockedCall:
        verdict = self._replay.verdict(standing, calls.usd[place])
        return BlockedCall(calls.numbers[place], calls.row(place), verdict.reason or "")
