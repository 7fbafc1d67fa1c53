"""Running totals over a ledger: what is spent by day and by hour, and what could not be read."""

from __future__ import annotations

import functools
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from hal0_budget.money import EXACT, ZERO, plain, total
from hal0_budget.store.rows import (
    TORN_MARK,
    Unreadable,
    is_blank,
    is_hour,
    parse_row,
    plain_costs,
    plain_rows,
    whole_object,
)
from hal0_budget.windows import SPEND_WINDOWS, Window, window_start

# As many unreadable lines as are named one by one; the rest are counted.
NAMED_LINES = 100


class BadLine(NamedTuple):
    """An unreadable line: its number from 1, its first byte from 0, and what is wrong."""

    line: int
    byte: int
    why: str


class Tally:
    """What the first `size` bytes of a ledger add up to. Amounts in USD, days and hours in UTC.

    Hours are kept from the day `hours_from` on, so that a tally stays small however long the
    ledger grows. Not frozen: it is the accumulator that a scan feeds.
    """

    __slots__ = (
        "bad_count", "bad_lines", "days", "hours", "hours_from", "lifetime", "lines", "rows", "settled",
        "size", "torn", "unconfirmed", "watched",
    )  # fmt: skip

    def __init__(self, hours_from: str) -> None:
        self.size = 0
        self.lines = 0
        self.rows = 0
        self.torn = 0
        self.lifetime = ZERO
        self.unconfirmed = ZERO
        # Amounts as text, as the checkpoint has them: of a year of days, a charge touches one.
        self.days: dict[str, str] = {}
        self.hours: dict[str, str] = {}
        self.hours_from = hours_from
        self.bad_count = 0
        self.bad_lines: list[BadLine] = []
        # Open holds to look out for, and those of them whose rows were taken. Not remembered.
        self.watched: Container[str | None] = ()
        self.settled: set[str] = set()

    @classmethod
    def starting(cls, now: datetime) -> Tally:
        """An empty tally that keeps hours from the day before `now`."""
        return cls(_hours_from(now))

    def copy(self) -> Tally:
        """A tally of its own that has counted the same; it looks out for the same holds."""
        tally = Tally(self.hours_from)
        for name in Tally.__slots__:
            setattr(tally, name, getattr(self, name))
        tally.days, tally.hours = self.days.copy(), self.hours.copy()
        tally.bad_lines, tally.settled = self.bad_lines.copy(), self.settled.copy()
        return tally

    def agrees_with(self, other: Tally) -> bool:
        """Whether both counted the same: spend by day, and how much could not be read."""
        return {day: Decimal(usd) for day, usd in self.days.items()} == {
            day: Decimal(usd) for day, usd in other.days.items()
        } and self.bad_count == other.bad_count

    def knows_hours_of(self, now: datetime) -> bool:
        """Whether the hours of the day of `now` were kept: not so once a clock stepped back."""
        return self.hours_from <= _day(now)

    def forget_hours_before(self, now: datetime) -> None:
        """Drop the hours that no window of `now` or later needs."""
        hours_from = _hours_from(now)
        if hours_from > self.hours_from:
            self.hours_from = hours_from
            self.hours = {hour: usd for hour, usd in self.hours.items() if hour >= hours_from}

    def take(self, block: bytes) -> None:
        """Count the whole lines of `block`, which follow the first `size` bytes."""
        text = block.decode("latin-1")
        marked = '"hold_id"' in text or '"cost_source"' in text
        rows = plain_rows(text) if marked else plain_costs(text)
        with localcontext(EXACT):
            sums = [
                (hour, sum(map(Decimal, map(_COST, group)), ZERO)) for hour, group in groupby(rows, _HOUR)
            ]
        if len(rows) != text.count("\n") or not all(is_hour(hour) for hour, _ in sums):
            self._take_lines(block)
            return
        for hour, usd in sums:
            self._add(hour, usd)
        if marked:
            for _, cost, _, source, hold_id in rows:
                self._note(source, hold_id, Decimal(cost))
        self.rows += len(rows)
        self.lines += len(rows)
        self.size += len(block)

    def with_fragment(self, fragment: bytes) -> Tally:
        """This tally and the line that `fragment` is where it only lacks its newline.

        Any other fragment is a row that is being written, or was torn, and was acknowledged to
        nobody: it counts as nothing.
        """
        if not fragment or whole_object(fragment) is None:
            return self
        tally = self.copy()
        tally._take_line(fragment)
        return tally

    def spent(self, now: datetime) -> dict[Window, Decimal]:
        """USD spent in each window that holds `now`, rows from the future included."""
        starts = _starts(window_start("hourly", now))
        today, hour = starts["daily"][:10], starts["hourly"][:13]
        first_day = min(starts["weekly"], starts["monthly"])[:10]
        recent = [(day, Decimal(usd)) for day, usd in self.days.items() if day >= first_day]
        this_hour = [Decimal(usd) for at, usd in self.hours.items() if hour <= at <= today + "T99"]
        this_hour += [usd for day, usd in recent if day > today]
        spent: dict[Window, Decimal] = {
            window: total(usd for day, usd in recent if day >= starts[window][:10])
            for window in ("daily", "weekly", "monthly")
        }
        return {"hourly": total(this_hour), **spent, "lifetime": self.lifetime}

    def _take_lines(self, block: bytes) -> None:
        for line in block.split(b"\n")[:-1]:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        first_byte = self.size
        self.lines += 1
        self.size += len(line) + 1
        if is_blank(line):
            self.torn += line.endswith(TORN_MARK)
            return
        try:
            row = parse_row(line)
        except Unreadable as error:
            self.bad_count += 1
            if len(self.bad_lines) < NAMED_LINES:
                self.bad_lines.append(BadLine(self.lines, first_byte, str(error)))
            return
        self.rows += 1
        self._add(row.ts.isoformat()[:13], row.cost_usd)
        self._note(row.cost_source, row.hold_id, row.cost_usd)

    def _note(self, source: str | None, hold_id: str | None, usd: Decimal) -> None:
        if source == "unconfirmed":
            self.unconfirmed = EXACT.add(self.unconfirmed, usd)
        if hold_id and hold_id in self.watched:
            self.settled.add(hold_id)

    def _add(self, hour: str, usd: Decimal) -> None:
        day = hour[:10]
        self.lifetime = EXACT.add(self.lifetime, usd)
        self.days[day] = plain(EXACT.add(Decimal(self.days.get(day, "0")), usd))
        if day >= self.hours_from:
            self.hours[hour] = plain(EXACT.add(Decimal(self.hours.get(hour, "0")), usd))


@functools.lru_cache(maxsize=4)
def _starts(hour: datetime) -> dict[Window, str]:
    """The first instant of each window that holds an hour, as text."""
    return {window: window_start(window, hour).isoformat() for window in SPEND_WINDOWS}


_HOUR = itemgetter(0)
_COST = itemgetter(1)


def _day(now: datetime) -> str:
    return now.astimezone(UTC).isoformat()[:10]


def _hours_from(now: datetime) -> str:
    return _day(now - timedelta(days=1))
