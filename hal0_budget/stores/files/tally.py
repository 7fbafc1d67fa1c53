"""Running totals over a ledger: what is spent by day and by hour, and what could not be read.

Totals stay small however long the ledger grows: hours are kept for two days, days for about two months
around now, months for three years, and years for the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from hal0_budget.model.money import EXACT, ZERO, plain, total
from hal0_budget.model.windows import SPEND_WINDOWS, Window, window_start
from hal0_budget.stores.files.row_format import (
    TORN_MARK,
    are_all,
    is_blank,
    parse_row,
    plain_costs,
    plain_rows,
)
from hal0_budget.strict_json import Unreadable

# As many unreadable lines as are named one by one; the rest are counted.
NAMED_LINES = 100

# Days are kept apart as far from now as a window of a clock that steps back a little may need them.
_DAYS_KEPT = timedelta(days=62)
_MONTHS_KEPT = timedelta(days=3 * 366)
# So many days are looked through before they are put together.
_MANY_DAYS = 400


class BadLine(NamedTuple):
    """An unreadable line: its number from 1, its first byte from 0, and what is wrong."""

    line: int
    byte: int
    why: str


class OpenHolds(Protocol):
    """The open holds of a persona, as far as a row that settles one needs to know them."""

    def __contains__(self, hold_id: object) -> bool:
        """Whether there is an open hold of that id."""

    def is_settled_by(self, hold_id: str, byte: int) -> bool:
        """Whether a row at that byte of the ledger that names the hold settles it."""


class Tally:
    """What the first `size` bytes of a ledger of `persona` add up to. Amounts in USD, days and hours in UTC.

    Hours are kept from the day `hours_from` on. Not frozen: it is the accumulator that a scan feeds.
    """

    __slots__ = (
        "bad_count", "bad_lines", "days", "hours", "hours_from", "lifetime", "lines", "open_holds", "persona",
        "rows", "settled", "size", "torn", "unconfirmed",
    )  # fmt: skip

    def __init__(self, persona: str, hours_from: str) -> None:
        self.persona = persona
        self.size = 0
        self.lines = 0
        self.rows = 0
        self.torn = 0
        self.lifetime = ZERO
        self.unconfirmed = ZERO
        # Amounts as text, as the checkpoint has them: of all days, a charge touches one. A day that is far
        # from now is part of its month (`2026-05`) or its year (`2026`).
        self.days: dict[str, str] = {}
        self.hours: dict[str, str] = {}
        self.hours_from = hours_from
        self.bad_count = 0
        self.bad_lines: list[BadLine] = []
        # The open holds to match, and the ids of those that scanned rows settle. Not saved.
        self.open_holds: OpenHolds | None = None
        self.settled: set[str] = set()

    @classmethod
    def starting(cls, persona: str, now: datetime) -> Tally:
        """An empty tally that keeps hours from the day before `now`."""
        return cls(persona, _hours_from(now))

    def copy(self) -> Tally:
        """An independent tally that has counted the same and matches the same holds."""
        tally = Tally(self.persona, self.hours_from)
        for name in Tally.__slots__:
            setattr(tally, name, getattr(self, name))
        tally.days, tally.hours = self.days.copy(), self.hours.copy()
        tally.bad_lines, tally.settled = self.bad_lines.copy(), self.settled.copy()
        return tally

    def agrees_with(self, other: Tally) -> bool:
        """Whether both counted the same: spend by day, as far as both keep days, and what was unreadable."""
        coarse = {day for day in (*self.days, *other.days) if len(day) < len("2026-05-29")}
        counts = (self.lifetime, self.bad_count), (other.lifetime, other.bad_count)
        return counts[0] == counts[1] and _folded(self.days, coarse) == _folded(other.days, coarse)

    def knows(self, now: datetime) -> bool:
        """Whether the hours and days that the windows of `now` need were kept apart: not so once a clock
        has stepped back.
        """
        today, first_day = _day(now), _first_day(now)
        return self.hours_from <= today and not any(
            first_day[: len(day)] <= day <= today[: len(day)] for day in self.days if len(day) < len(today)
        )

    def condense(self, now: datetime) -> None:
        """Drop the hours that no window of `now` or later needs, and put days far from now together."""
        hours_from = _hours_from(now)
        is_later = hours_from > self.hours_from
        if is_later:
            self.hours_from = hours_from
            self.hours = {hour: usd for hour, usd in self.hours.items() if hour >= hours_from}
        if is_later or len(self.days) > _MANY_DAYS:
            self.days = {day: plain(usd) for day, usd in _condensed(self.days, now).items()}

    def take(self, block: bytes) -> None:
        """Count the whole lines of `block`, which follow the first `size` bytes."""
        text = block.decode("latin-1")
        marked = '"hold_id"' in text or '"cost_source"' in text
        rows = plain_rows(text) if marked else plain_costs(text)
        with localcontext(EXACT):
            sums = [
                (hour, sum(map(Decimal, map(_COST, group)), ZERO)) for hour, group in groupby(rows, _HOUR)
            ]
        if (
            not are_all(rows, text, (hour for hour, _ in sums))
            or text.count(f'"persona_id":"{self.persona}"') != len(rows)
            or (marked and self.open_holds is not None and any(row[4] in self.open_holds for row in rows))
        ):
            self._take_lines(block)
            return
        for hour, usd in sums:
            self._add(hour, usd)
        if marked:
            self._count_unconfirmed(Decimal(row[1]) for row in rows if row[3] == "unconfirmed")
        self.rows += len(rows)
        self.lines += len(rows)
        self.size += len(block)

    def with_fragment(self, fragment: bytes) -> Tally:
        """This tally and the line that `fragment` is, if it only lacks its newline, or holds several writes:
        a row may be among those.

        Any other fragment is a row that is being written, or was torn, and was acknowledged to
        nobody: it counts as nothing.
        """
        if not fragment:
            return self
        # A gate rarely meets a fragment.
        from hal0_budget.stores.files.torn_writes import is_several, whole_object

        if not (whole_object(fragment) or is_several(fragment)):
            return self
        tally = self.copy()
        tally._take_line(fragment)
        return tally

    def spent(self, now: datetime) -> dict[Window, Decimal]:
        """USD spent in each window that holds `now`, rows from the future included."""
        starts = _starts(window_start("hourly", now))
        today, hour = starts["daily"][:10], starts["hourly"][:13]
        first_day = _first_day(now)
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
            self._add_bad_line(first_byte, str(error))
            return
        if row.persona_id != self.persona:
            # It counts, as it does for `jq`: to leave it out could only make room.
            self._add_bad_line(first_byte, f"a row of persona {row.persona_id!r}")
        self.rows += 1
        self._add(row.ts.isoformat()[:13], row.cost_usd)
        if row.cost_source == "unconfirmed":
            self._count_unconfirmed((row.cost_usd,))
        hold_id = row.hold_id
        if hold_id and self.open_holds is not None and self.open_holds.is_settled_by(hold_id, first_byte):
            self.settled.add(hold_id)

    def _add_bad_line(self, first_byte: int, why: str) -> None:
        self.bad_count += 1
        if len(self.bad_lines) < NAMED_LINES:
            self.bad_lines.append(BadLine(self.lines, first_byte, why))

    def _count_unconfirmed(self, amounts: Iterable[Decimal]) -> None:
        self.unconfirmed = total((self.unconfirmed, *amounts))

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


def _first_day(now: datetime) -> str:
    """The first day of the longest window of `now` but the lifetime."""
    starts = _starts(window_start("hourly", now))
    return min(starts["weekly"], starts["monthly"])[:10]


def _folded(days: Mapping[str, str], coarse: Collection[str]) -> dict[str, Decimal]:
    """The sums of `days`, those of a month or a year in `coarse` put together."""
    sums: dict[str, Decimal] = {}
    for day, usd in days.items():
        key = next((part for part in (day[:4], day[:7]) if part in coarse), day)
        sums[key] = EXACT.add(sums.get(key, ZERO), Decimal(usd))
    return sums


def _condensed(days: Mapping[str, str], now: datetime) -> dict[str, Decimal]:
    first, last = _day_after(now, -_DAYS_KEPT), _day_after(now, _DAYS_KEPT)
    first_month, last_month = _day_after(now, -_MONTHS_KEPT)[:7], _day_after(now, _MONTHS_KEPT)[:7]
    sums: dict[str, Decimal] = {}
    for day, usd in days.items():
        if len(day) == len(first) and first <= day <= last:
            key = day
        elif len(day) > len("2026") and first_month <= day[:7] <= last_month:
            key = day[:7]
        else:
            key = day[:4]
        sums[key] = EXACT.add(sums.get(key, ZERO), Decimal(usd))
    return sums


def _day_after(now: datetime, time: timedelta) -> str:
    """The day of `now + time`, at most the last day of the calendar and at least the first."""
    try:
        return _day(now + time)
    except OverflowError:
        return "9999-12-31" if time > timedelta() else "0001-01-01"


def _hours_from(now: datetime) -> str:
    return _day_after(now, -timedelta(days=1))
