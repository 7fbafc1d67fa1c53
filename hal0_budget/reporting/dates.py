"""Days as people write them, and the instants that they begin and end at. Pure: no clock.

A day of a zone is the half-open interval from its first midnight to that of the next day, so that
every instant is of one day, be it skipped, doubled or an hour short where clocks change.
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
    """The days `first` to `last`, both included, and the instants `start` (in it) and `end` (after it)
    in UTC; None where it is open.
    """

    first: date | None
    last: date | None
    start: datetime | None
    end: datetime | None

    def holds(self, instant: datetime) -> bool:
        """Whether an aware instant is in it."""
        return (self.start is None or self.start <= instant) and (self.end is None or instant < self.end)


def span_of(since: str | None, until: str | None, now: datetime, zone: tzinfo = UTC) -> Span:
    """The days from `since` to `until`, both included, in `zone`; None leaves an end open.

    Raises UsageError for what is no day, and where `since` is after `until`.
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
    """The day that `text` writes, as FORMS names them: `7d` is the first of seven days, `today` the last.

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
    """The time zone of an IANA name such as `Europe/Berlin`. Raises UsageError."""
    if name == "UTC":
        return UTC
    # Only a report in another zone needs it, and the system's data for it.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"{name!r} is not a time zone of this system; zones are written UTC, Europe/Berlin, Asia/Kolkata"
        ) from None


def day_start(day: date, zone: tzinfo) -> datetime:
    """The first instant of a day, in UTC."""
    try:
        # Where midnight was skipped, this is the instant that clocks were put forward at.
        return datetime.combine(day, time.min, zone).astimezone(UTC)
    except OverflowError:
        return datetime.combine(day, time.min, UTC)


def day_at(instant: datetime, zone: tzinfo) -> date:
    """The day that holds an aware instant."""
    try:
        day = instant.astimezone(zone).date()
        # Clocks that are put back across midnight do not bring the day before back.
        return day + _A_DAY if day_start(day + _A_DAY, zone) <= instant else day
    except OverflowError:
        return instant.astimezone(UTC).date()


class Calendar:
    """The day of a zone that a row is of, told from its time as rows write it, in UTC.

    Cuts each UTC day once, where days of the zone begin in it. Not frozen: it remembers the cuts.
    """

    def __init__(self, zone: tzinfo, span: Span) -> None:
        self._zone = zone
        self._first = span.first.isoformat() if span.first else ""
        self._last = span.last.isoformat() if span.last else "9999-12-31"
        self._pieces: dict[str, list[tuple[str, str]]] = {}

    def day(self, moment: str) -> str:
        """The day, as in `2026-05-29`, of the second `2026-05-29T13:05:09`.

        Takes the hour `2026-05-29T13` too, on UTC days whose hours are whole.
        """
        pieces = self._pieces.get(moment[:10]) or self._cut(moment[:10])
        day = pieces[0][1]
        for begin, name in pieces[1:]:
            if moment[11:] < begin:
                break
            day = name
        return day if self._first <= day <= self._last else ""

    def splits_hours(self, utc_day: str) -> bool:
        """Whether a day begins within an hour of this UTC day, and not with it."""
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
    # The day after the same day of that month, or after its last where it has no such day.
    following = start + timedelta(days=31)
    length = (following.replace(day=1) - start).days
    return start + timedelta(days=min(today.day, length))
