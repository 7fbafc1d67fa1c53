"""Judges past calls again under other caps, one after the other. Pure: no I/O, no clock.

The cost of a call is used as its estimate. The call is judged at its own hour, in the windows that
contain that hour; a blocked call spends nothing. As everywhere, spending after that hour counts as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.model.budget import Budget
from hal0_budget.model.money import EXACT, ZERO, add, total
from hal0_budget.model.usage import Usage
from hal0_budget.model.verdict import Level, Limit, Scope, Verdict, decide, limits
from hal0_budget.model.windows import SPEND_WINDOWS, Window, window_start

_ABOVE_ALL = Decimal("Infinity")
_BELOW_ALL = Decimal(-1)


class VerdictTotal:
    """How many calls got one verdict, and their total cost in USD."""

    __slots__ = ("calls", "usd")

    def __init__(self) -> None:
        self.calls = 0
        self.usd = ZERO

    def add(self, calls: int, usd: Decimal) -> None:
        """Count more calls, which cost `usd` together."""
        self.calls += calls
        self.usd = EXACT.add(self.usd, usd)


class Snapshot(NamedTuple):
    """The spending when a call was judged: in each window before its hour began, and since then."""

    spent: Mapping[Window, Decimal]
    since: Decimal

    def usage(self) -> Usage:
        """Return the same as a Usage."""
        return Usage({window: add(usd, self.since) for window, usd in self.spent.items()})


class _VerdictRange(NamedTuple):
    """A range of calls that all get the same verdict within one hour: calls that cost more than `above` and
    less than `each`, and after which less than `below` is spent since the hour began. All in USD.
    """

    level: Level
    total: VerdictTotal
    above: Decimal
    each: Decimal
    below: Decimal


class Replay:
    """The spending of one persona as it would have been under `budget`. Calls are added hour by hour.

    `totals` counts the judged calls by level and by the window that gave the verdict, if any.
    Memory grows with the number of hours that have calls, not with the number of calls.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.totals: dict[tuple[Level, Window | None], VerdictTotal] = {}
        self._sums = [_WindowSums(window) for window in SPEND_WINDOWS]
        self._hour = ""
        self._spent: Mapping[Window, Decimal] = {}
        self._since = ZERO
        # Cache of verdict ranges for the current hour: most calls fall into a known range.
        self._ranges: dict[tuple[Level, Window | None, bool], _VerdictRange] = {}

    def spend(self, hour: str, calls: Sequence[Decimal]) -> None:
        """Count calls without judging them: their USD, all in one UTC hour such as `2026-05-29T13`."""
        self._enter(hour)
        self._since = EXACT.add(self._since, total(calls))

    def judge(self, hour: str, calls: Sequence[Decimal]) -> Iterator[int]:
        """Judge the calls of one hour, and count those that are not blocked as spent.

        Yields the index of each blocked call. Until the caller asks for the next index, `snapshot` returns
        the spending that this call was judged on.
        """
        self._enter(hour)
        usd = total(calls)
        common = self._common_range(calls, usd)
        if common is None:
            yield from self._judge_each(calls)
            return
        common.total.add(len(calls), usd)
        if common.level == "block":
            yield from range(len(calls))
        else:
            self._since = EXACT.add(self._since, usd)

    def snapshot(self) -> Snapshot:
        """Return the spending now, in the windows of the last call's hour."""
        return Snapshot(self._spent, self._since)

    def verdict(self, snapshot: Snapshot, usd: Decimal) -> Verdict:
        """Return the verdict on a call of `usd` at `snapshot`, with the same sentence as `check`."""
        return decide((Scope("", self.budget, snapshot.usage()),), usd)

    def _enter(self, hour: str) -> None:
        """Go to another hour, usually the next one."""
        if hour == self._hour:
            return
        for sums in self._sums:
            sums.add(self._since)
        now = datetime.fromisoformat(f"{hour}:00:00+00:00")
        self._spent = {sums.window: sums.enter(now) for sums in self._sums}
        self._hour, self._since = hour, ZERO
        self._ranges = {}

    def _common_range(self, calls: Sequence[Decimal], usd: Decimal) -> _VerdictRange | None:
        """Return the range that all `calls`, `usd` together, fall into; None if there is no known one."""
        if not self._ranges:
            self._new_range(calls[0])
        least, most = min(calls), max(calls)
        for known in self._ranges.values():
            spent = most if known.level == "block" else usd
            reached = EXACT.add(self._since, spent)
            if known.above < least and most < known.each and reached < known.below:
                return known
        return None

    def _judge_each(self, calls: Sequence[Decimal]) -> Iterator[int]:
        for place, usd in enumerate(calls):
            reached = EXACT.add(self._since, usd)
            for known in self._ranges.values():
                if known.above < usd < known.each and reached < known.below:
                    found = known
                    break
            else:
                found = self._new_range(usd)
            found.total.add(1, usd)
            if found.level == "block":
                yield place
            else:
                self._since = reached

    def _new_range(self, usd: Decimal) -> _VerdictRange:
        """Judge a call of `usd` against every limit; return and keep the range of calls with its verdict."""
        left = limits(self.budget, self.snapshot().usage())
        breach = next((at for at, limit in enumerate(left) if limit.is_breached(usd)), None)
        near = next((at for at, limit in enumerate(left) if limit.is_near(usd)), None)
        level: Level = "warn"
        window: Window | None
        if breach is not None:
            level = "block" if self.budget.hard_cap else "warn"
            window, above = left[breach].window, left[breach].fits
            ceilings = _ceilings(left[:breach], ())
        elif near is not None:
            window, above = left[near].window, left[near].warns or ZERO
            ceilings = _ceilings(left, left[:near])
        else:
            level, window, above = "allow", None, _BELOW_ALL
            ceilings = _ceilings(left, left)
        each = min((most for per, most in ceilings if per == "per_call"), default=_ABOVE_ALL)
        below = min((most for per, most in ceilings if per != "per_call"), default=_ABOVE_ALL)
        counted = self.totals.setdefault((level, window), VerdictTotal())
        found = _VerdictRange(level, counted, above, each, EXACT.add(self._since, below))
        self._ranges[level, window, breach is None] = found
        return found


class _WindowSums:
    """The spending since each start of one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._starts: list[str] = []
        self._usd: dict[str, Decimal] = {}
        self._start = ""

    def enter(self, now: datetime) -> Decimal:
        """Return what was spent in the window that contains `now`, and after it."""
        self._start = window_start(self.window, now).isoformat()
        place = bisect_left(self._starts, self._start)
        if self._start not in self._usd:
            self._starts.insert(place, self._start)
            self._usd[self._start] = ZERO
        return total([self._usd[start] for start in self._starts[place:]])

    def add(self, usd: Decimal) -> None:
        """Count `usd` in the window that was entered last, if any."""
        if self._start:
            self._usd[self._start] = add(self._usd[self._start], usd)


def _ceilings(breached: Iterable[Limit], near: Iterable[Limit]) -> list[tuple[Window, Decimal]]:
    """Return the upper bounds below which a call breaches no limit in `breached` and reaches no `warn_at` in
    `near`.
    """
    found = [(limit.window, limit.fits) for limit in breached]
    return found + [(limit.window, limit.warns) for limit in near if limit.warns is not None]
