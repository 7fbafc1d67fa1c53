"""The windows of caps; the only code that knows what "today" is.

A window is the half-open UTC interval that contains *now*: hour, day, ISO week (from Monday),
calendar month, lifetime. A row from the future counts as now, so that a clock that steps back
cannot reopen a budget. The spending in a window is therefore everything since its start.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Window = Literal["per_call", "hourly", "daily", "weekly", "monthly", "lifetime"]

SPEND_WINDOWS: Final[tuple[Window, ...]] = ("hourly", "daily", "weekly", "monthly", "lifetime")
WINDOWS: Final[tuple[Window, ...]] = ("per_call", *SPEND_WINDOWS)


def label(window: Window) -> str:
    """Return the name of the window in messages and tables."""
    return window.replace("_", "-")


def window_start(window: Window, now: datetime) -> datetime:
    """Return the first instant of the window that contains `now` (aware, any offset), in UTC."""
    return _start(window, _hour(now))


def window_end(window: Window, now: datetime) -> datetime | None:
    """Return the first instant after the window that contains `now`, in UTC; None if it never ends."""
    return _end(window, _hour(now))


def _hour(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# No window is shorter than an hour, and within an hour the same bounds are needed many times.
@functools.lru_cache(maxsize=64)
def _start(window: Window, hour: datetime) -> datetime:
    day = hour.replace(hour=0)
    match window:
        case "hourly":
            return hour
        case "daily":
            return day
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case _:
            return datetime.min.replace(tzinfo=UTC)


@functools.lru_cache(maxsize=64)
def _end(window: Window, hour: datetime) -> datetime | None:
    start = _start(window, hour)
    match window:
        case "hourly":
            return start + timedelta(hours=1)
        case "daily":
            return start + timedelta(days=1)
        case "weekly":
            return start + timedelta(days=7)
        case "monthly":
            return (start + timedelta(days=31)).replace(day=1)
        case _:
            return None
