"""When a cap will be reached at the present pace. Pure: no I/O, no clock.

The pace is the spending since the UTC midnight seven days ago, or since the day of the first row if that
is later, divided by the time since then, which counts as at least one hour.
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
    """Return the pace at `now` in USD per day, rounded to four decimal places.

    `days` has the spending by UTC day (`2026-05-29`); periods that ended long ago may be months (`2026-05`)
    or years. Days after `now` do not count.
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
    """Return when `left` USD will be spent at `pace` USD per day; `now` if nothing is left.

    None if the window resets before that, or if no money is being spent.
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
