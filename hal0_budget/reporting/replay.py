"""Calls judged again under other caps, one after the other. Pure: no I/O, no clock.

A call's cost stands for its estimate. It is judged at its own hour, in the windows that hold that
hour; a blocked call spends nothing. As everywhere, what was spent after that hour counts as well.
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


class Ruled:
    """How many calls got one ruling, and the USD that they did cost."""

    __slots__ = ("calls", "usd")

    def __init__(self) -> None:
        self.calls = 0
        self.usd = ZERO

    def add(self, calls: int, usd: Decimal) -> None:
        """Count more of them, that did cost `usd` together."""
        self.calls += calls
        self.usd = EXACT.add(self.usd, usd)


class Standing(NamedTuple):
    """What was spent of each window when a call was judged: when its hour began, and since."""

    spent: Mapping[Window, Decimal]
    since: Decimal

    def usage(self) -> Usage:
        """The same, as the verdict takes it."""
        return Usage({window: add(usd, self.since) for window, usd in self.spent.items()})


class _Alike(NamedTuple):
    """The calls that get one ruling for as long as an hour lasts: of more than `above`, less than
    `each`, and with which less than `below` is spent since the hour began.
    """

    level: Level
    ruled: Ruled
    above: Decimal
    each: Decimal
    below: Decimal


class Replay:
    """The spending of one persona as it would have been under `budget`, fed hour by hour.

    `ruled` counts the judged calls by level and by the window that binds, None where none does.
    Memory grows with the hours that money was spent in, not with the calls.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.ruled: dict[tuple[Level, Window | None], Ruled] = {}
        self._sums = [_WindowSums(window) for window in SPEND_WINDOWS]
        self._hour = ""
        self._spent: Mapping[Window, Decimal] = {}
        self._since = ZERO
        # Most calls are like one before, and need no judging of their own.
        self._alike: dict[tuple[Level, Window | None, bool], _Alike] = {}

    def spend(self, hour: str, calls: Sequence[Decimal]) -> None:
        """Count calls that are not judged: USD, all in one UTC hour such as `2026-05-29T13`."""
        self._enter(hour)
        self._since = EXACT.add(self._since, total(calls))

    def judge(self, hour: str, calls: Sequence[Decimal]) -> Iterator[int]:
        """Judge calls of one hour, count those that are not blocked as spent; the places of those that are.

        While a place is looked at, `standing` is what its call was judged on.
        """
        self._enter(hour)
        whole = total(calls)
        alike = self._alike_all(calls, whole)
        if alike is None:
            yield from self._judge_each(calls)
            return
        alike.ruled.add(len(calls), whole)
        if alike.level == "block":
            yield from range(len(calls))
        else:
            self._since = EXACT.add(self._since, whole)

    def standing(self) -> Standing:
        """What is spent now, in the windows of the last call's hour."""
        return Standing(self._spent, self._since)

    def verdict(self, standing: Standing, usd: Decimal) -> Verdict:
        """The verdict on a call of `usd` that was judged at `standing`, in the words of the gate."""
        return decide((Scope("", self.budget, standing.usage()),), usd)

    def _enter(self, hour: str) -> None:
        """Go to another hour, most often the next."""
        if hour == self._hour:
            return
        for sums in self._sums:
            sums.add(self._since)
        now = datetime.fromisoformat(f"{hour}:00:00+00:00")
        self._spent = {sums.window: sums.enter(now) for sums in self._sums}
        self._hour, self._since = hour, ZERO
        self._alike = {}

    def _alike_all(self, calls: Sequence[Decimal], whole: Decimal) -> _Alike | None:
        """The ruling that all `calls` get, `whole` USD together, where they surely get the same."""
        if not self._alike:
            self._weighed(calls[0])
        least, most = min(calls), max(calls)
        for alike in self._alike.values():
            spent = most if alike.level == "block" else whole
            reached = EXACT.add(self._since, spent)
            if alike.above < least and most < alike.each and reached < alike.below:
                return alike
        return None

    def _judge_each(self, calls: Sequence[Decimal]) -> Iterator[int]:
        for place, usd in enumerate(calls):
            reached = EXACT.add(self._since, usd)
            for known in self._alike.values():
                if known.above < usd < known.each and reached < known.below:
                    alike = known
                    break
            else:
                alike = self._weighed(usd)
            alike.ruled.add(1, usd)
            if alike.level == "block":
                yield place
            else:
                self._since = reached

    def _weighed(self, usd: Decimal) -> _Alike:
        """Judge a call of `usd` by every limit; which calls of the hour are judged alike."""
        left = limits(self.budget, self.standing().usage())
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
        ruled = self.ruled.setdefault((level, window), Ruled())
        alike = _Alike(level, ruled, above, each, EXACT.add(self._since, below))
        self._alike[level, window, breach is None] = alike
        return alike


class _WindowSums:
    """What was spent since each start of one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._starts: list[str] = []
        self._usd: dict[str, Decimal] = {}
        self._start = ""

    def enter(self, now: datetime) -> Decimal:
        """What was spent of the window that holds `now`, and after it."""
        self._start = window_start(self.window, now).isoformat()
        place = bisect_left(self._starts, self._start)
        if self._start not in self._usd:
            self._starts.insert(place, self._start)
            self._usd[self._start] = ZERO
        return total([self._usd[start] for start in self._starts[place:]])

    def add(self, usd: Decimal) -> None:
        """Count `usd` in the window that was last entered, if any was."""
        if self._start:
            self._usd[self._start] = add(self._usd[self._start], usd)


def _ceilings(breached: Iterable[Limit], near: Iterable[Limit]) -> list[tuple[Window, Decimal]]:
    """What a call must stay under to breach none of the one, and be near to none of the other."""
    found = [(limit.window, limit.fits) for limit in breached]
    return found + [(limit.window, limit.warns) for limit in near if limit.warns is not None]
