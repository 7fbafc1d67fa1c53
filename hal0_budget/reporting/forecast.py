"""When a cap is reached at the present pace. Pure: no I/O, no clock.

The pace is what was spent since the UTC midnight seven days ago, or since the day of the first row
where that is later, over the time since then: at least one hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hal0_budget.model.money import ZERO, total

_LOOKS_BACK = timedelta(days=7)
_SHORTEST = timedelta(hours=1)
_SHOWN = Decimal("0.0001")
_A_DAY = timedelta(days=1)


def pace_of(days: Mapping[str, Decimal], now: datetime) -> Decimal:
    """USD a day at `now`, to four decimal places, from what was spent on each UTC day (`2026-05-29`), or in
    a month (`2026-05`) or year that ended long before.

    Rows from the future are no part of it.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    past = {day: usd for day, usd in days.items() if day <= midnight.isoformat()[:10]}
    if not past:
        return ZERO
    first_day = f"{min(past)}-01-01"[: len("2026-05-29")]
    start = max(midnight - _LOOKS_BACK, datetime.fromisoformat(first_day).replace(tzinfo=UTC))
    spent = total([usd for day, usd in past.items() if day >= start.isoformat()[:10]])
    pace = Fraction(spent) * (_A_DAY // _MICROSECOND) / (max(now - start, _SHORTEST) // _MICROSECOND)
    return Decimal(round(pace / Fraction(_SHOWN))) * _SHOWN


def reached_at(left: Decimal, pace: Decimal, now: datetime, resets_at: datetime | None) -> datetime | None:
    """When nothing of `left` USD is left at `pace` USD a day: `now` where nothing is.

    None where the window resets before it, or money is not being spent.
    """
    if left <= 0:
        return now
    if pace <= 0:
        return None
    try:
        at = now + _A_DAY * float(Fraction(left) / Fraction(pace))
    except OverflowError:
        return None
    return at if resets_at is None or at < resets_at else None


_MICROSECOND = timedelta(microseconds=1)
