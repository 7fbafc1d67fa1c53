"""The windows a cap can stand on: the only code that knows what "today" is.

A window is the half-open UTC interval that holds *now*: hour, day, ISO week (from Monday),
calendar month, lifetime. A row from the future counts as now, so that a clock that steps back
cannot reopen a budget; what is spent in a window is therefore all that was spent since its start.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Window = Literal["per_call", "hourly", "daily", "weekly", "monthly", "lifetime"]

SPEND_WINDOWS: Final[tuple[Window, ...]] = ("hourly", "daily", "weekly", "monthly", "lifetime")
WINDOWS: Final[tuple[Window, ...]] = ("per_call", *SPEND_WINDOWS)


def label(window: Window) -> str:
    """The window as messages and tables name it."""
    return window.replace("_", "-")


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


def window_start(window: Window, now: datetime) -> datetime:
    """The first instant of the window that holds `now` (aware, any offset), in UTC."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case "hourly":
            return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        case "daily":
            return day
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case _:
            return datetime.min.replace(tzinfo=UTC)


def window_end(window: Window, now: datetime) -> datetime | None:
    """The first instant after the window that holds `now`, in UTC; None where it never ends."""
    start = window_start(window, now)
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
