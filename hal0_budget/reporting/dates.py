"""Days as people write them, and the instants at which they begin and end. Pure: no clock.

A day in a time zone is the half-open interval from its first midnight to the first midnight of the next
day. So every instant belongs to exactly one day, also when clocks change.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from hal0_budget.errors import UsageError

FORMS = "2026-05-29, 20260529, today, yesterday, or the first of the last 7d, 2w or 1mo"

_A_DAY = timedelta(days=1)
_ISO = r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})"
_LAST = r"([0-9]{1,5})(d|w|mo)"


class Span(NamedTuple):
    """The days `first` to `last`, both included, and the half-open interval of instants from `start` to
    `end`, in UTC. None means no limit.
    """

    first: date | None
    last: date | None
    start: datetime | None
    end: datetime | None

    def holds(self, instant: datetime) -> bool:
        """Return whether an aware instant is in the span."""
        return (self.start is None or self.start <= instant) and (self.end is None or instant < self.end)


def span_of(since: str | None, until: str | None, now: datetime, zone: tzinfo = UTC) -> Span:
    """Return the days from `since` to `until`, both included, in `zone`; None means no limit.

    Raises UsageError for an invalid day, and if `since` is after `until`.
    """
    today = day_at(now, zone)
    first = None if since is None else day_of(since, today)
    last = None if until is None else day_of(until, today)
    if first and last and first > last:
        raise UsageError(f"--since {since} ({first}) is after --until {until} ({last})")
    after = None if last is None or last == date.max else last + _A_DAY
    return Span(
        first,
        last,
        None if first is None else day_start(first, zone),
        None if after is None else day_start(after, zone),
    )


def day_of(text: str, today: date) -> date:
    """Parse a day in one of FORMS; `7d` is the first of the seven days that end today.

    Raises UsageError with the accepted forms.
    """
    if text == "today":
        return today
    try:
        if text == "yesterday":
            return today - _A_DAY
        if (iso := re.fullmatch(_ISO, text)) and text.count("-") in {0, 2}:
            return date(int(iso[1]), int(iso[2]), int(iso[3]))
        if (last := re.fullmatch(_LAST, text)) and int(last[1]):
            return _first_of_last(int(last[1]), last[2], today)
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"{text!r} is not a day; days are written {FORMS}")


def zone_of(name: str) -> tzinfo:
    """Return the time zone with an IANA name such as `Europe/Berlin`. Raises UsageError."""
    if name == "UTC":
        return UTC
    # Imported here, because only a report in another zone needs it.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"{name!r} is not a time zone of this system; zones are written UTC, Europe/Berlin, Asia/Kolkata"
        ) from None


def day_start(day: date, zone: tzinfo) -> datetime:
    """Return the first instant of a day, in UTC."""
    try:
        # If midnight was skipped, this is the instant at which clocks were put forward.
        return datetime.combine(day, time.min, zone).astimezone(UTC)
    except OverflowError:
        return datetime.combine(day, time.min, UTC)


def day_at(instant: datetime, zone: tzinfo) -> date:
    """Return the day that contains an aware instant."""
    try:
        day = instant.astimezone(zone).date()
        # Clocks that are put back across midnight do not return to the day before.
        return day + _A_DAY if day_start(day + _A_DAY, zone) <= instant else day
    except OverflowError:
        return instant.astimezone(UTC).date()


class Calendar:
    """Maps the UTC times of rows, as text, to days of a time zone.

    For each UTC day it computes once which days of the zone it contains. Not frozen: it keeps these results.
    """

    def __init__(self, zone: tzinfo, span: Span) -> None:
        self._zone = zone
        self._first = span.first.isoformat() if span.first else ""
        self._last = span.last.isoformat() if span.last else "9999-12-31"
        self._pieces: dict[str, list[tuple[str, str]]] = {}

    def day(self, moment: str) -> str:
        """Return the day, such as `2026-05-29`, of the second `2026-05-29T13:05:09`.

        Accepts an hour such as `2026-05-29T13`, too, unless `splits_hours` is true for its day.
        """
        pieces = self._pieces.get(moment[:10]) or self._cut(moment[:10])
        day = pieces[0][1]
        for begin, name in pieces[1:]:
            if moment[11:] < begin:
                break
            day = name
        return day if self._first <= day <= self._last else ""

    def splits_hours(self, utc_day: str) -> bool:
        """Return whether a day of the zone begins in the middle of an hour of this UTC day."""
        pieces = self._pieces.get(utc_day) or self._cut(utc_day)
        return any(len(begin) > len("13") for begin, _ in pieces)

    def _cut(self, utc_day: str) -> list[tuple[str, str]]:
        start = datetime.fromisoformat(utc_day).replace(tzinfo=UTC)
        day = day_at(start, self._zone)
        pieces = [("", day.isoformat())]
        while day < date.max:
            day += _A_DAY
            begin = day_start(day, self._zone).isoformat()
            if begin[:10] != utc_day:
                break
            pieces.append((begin[11:19].removesuffix(":00:00"), day.isoformat()))
        self._pieces[utc_day] = pieces
        return pieces


def _first_of_last(count: int, unit: str, today: date) -> date:
    if unit != "mo":
        return today - timedelta(days=count * (7 if unit == "w" else 1) - 1)
    month = today.year * 12 + today.month - 1 - count
    start = date(month // 12, month % 12 + 1, 1)
    # The day after the same day of that month, or after its last day if it has no such day.
    following = start + timedelta(days=31)
    length = (following.replace(day=1) - start).days
    return start + timedelta(days=min(today.day, length))
