"""Groups sums by day, week, month, model, surface, persona and source."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from hal0_budget.errors import UsageError
from hal0_budget.model.money import ZERO, add, negative
from hal0_budget.model.sums import Names, Sum, Sums, merge, total_of

By = Literal["day", "week", "month", "model", "surface", "persona", "source"]
BY: tuple[By, ...] = get_args(By)
TIMES = frozenset[str](("day", "week", "month"))

_SHARE = Decimal("0.0001")


class Group(NamedTuple):
    """What was spent under the same `keys`, one key per word of `by`, and its share of the total.

    A day is `2026-05-29`, a week `2026-W22`, a month `2026-05`. The share is rounded to four places,
    and is None unless the total is above 0.
    """

    keys: tuple[str, ...]
    total: Sum
    share: Decimal | None


def by_of(text: str) -> tuple[By, ...]:
    """Parse a list such as `day,model`. Raises UsageError."""
    words = text.split(",")
    for word in words:
        if word not in BY or words.count(word) > 1:
            what = f"{word!r} is repeated" if word in BY else f"{word!r} is not one of them"
            raise UsageError(f"--by needs a list of {', '.join(BY)}; in {text!r} {what}")
    return tuple(BY[BY.index(word)] for word in words)


def default_since(by: Sequence[By], today: date) -> date:
    """Return the first day of a report without `--since`: it covers 7 days; grouped by week, and not
    by day, 8 weeks; grouped by month, and not by day, 12 months.
    """
    if "month" in by and "day" not in by:
        month = max(today.year * 12 + today.month - 1 - 11, 12)
        return date(month // 12, month % 12 + 1, 1)
    if "week" in by and "day" not in by:
        return today - timedelta(days=today.weekday() + 7 * 7)
    return today - timedelta(days=6)


class Spending:
    """What one persona spent on each day of a span, by the names that a report needs.

    Not frozen: sums are added to it. It is as small as the report, because other names are dropped.
    """

    def __init__(self, persona: str, by: Sequence[By]) -> None:
        self.persona = persona
        self.sums: Sums = {}
        self._with_surface, self._with_model = "surface" in by, "model" in by

    def add(self, sums: Sums) -> None:
        """Add sums by day."""
        for (surface, model, source), days in sums.items():
            names = (surface if self._with_surface else "", model if self._with_model else "", source)
            merge(self.sums, {names: days})

    def total(self) -> Sum:
        """Return the sum of all days."""
        return total_of(part for times in self.sums.values() for part in times.values())

    def days(self) -> dict[str, Decimal]:
        """Return USD by day, in order, for the days that have rows."""
        found: defaultdict[str, list[Sum]] = defaultdict(list)
        for times in self.sums.values():
            for day, part in times.items():
                found[day].append(part)
        return {day: total_of(found[day]).usd for day in sorted(found)}


def groups_of(spendings: Sequence[Spending], by: Sequence[By]) -> tuple[Group, ...]:
    """Return the groups of all personas: times in order, names by what was spent, the largest first."""
    parts: defaultdict[tuple[str, ...], list[Sum]] = defaultdict(list)
    for spending in spendings:
        for names, times in spending.sums.items():
            for day, part in times.items():
                parts[tuple(_key(word, spending.persona, names, day) for word in by)].append(part)
    sums = {keys: total_of(group) for keys, group in parts.items()}
    total = total_of(sums.values()).usd
    order = _order(sums, by)
    return tuple(Group(keys, sums[keys], share_of(sums[keys].usd, total)) for keys in sorted(sums, key=order))


def sources_of(spendings: Sequence[Spending]) -> dict[str, Sum]:
    """Return what was spent by cost source, the largest first."""
    return {group.keys[0]: group.total for group in groups_of(spendings, ("source",))}


def share_of(usd: Decimal, total: Decimal) -> Decimal | None:
    """Return the share of a total, rounded to four places; None unless the total is above 0."""
    if total <= 0:
        return None
    return round(Fraction(usd) / Fraction(total) / Fraction(_SHARE)) * _SHARE


def _key(word: By, persona: str, names: Names, day: str) -> str:
    match word:
        case "day":
            return day
        case "week":
            return _week_of(day)
        case "month":
            return day[:7]
        case "persona":
            return persona
        case _:
            return names[("surface", "model", "source").index(word)]


@functools.lru_cache(maxsize=1024)
def _week_of(day: str) -> str:
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year:04}-W{week:02}"


def _order(
    sums: Mapping[tuple[str, ...], Sum], by: Sequence[By]
) -> Callable[[tuple[str, ...]], list[tuple[Decimal, str]]]:
    """Return the sort key of groups; it keeps groups with the same first words together."""
    spent: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for keys, part in sums.items():
        for end in range(1, len(by) + 1):
            spent[keys[:end]] = add(spent[keys[:end]], part.usd)

    return lambda keys: [
        (ZERO if word in TIMES else negative(spent[keys[: place + 1]]), key)
        for place, (word, key) in enumerate(zip(by, keys, strict=True))
    ]
