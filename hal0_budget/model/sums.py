"""Sums of calls, from which reports are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from typing import NamedTuple

from hal0_budget.model.money import EXACT, ZERO
from hal0_budget.model.records import Row

# The source of a cost that the caller stated with `charge --cost`; reports print this word.
TOLD = "told"


class TokenCounts(NamedTuple):
    """The four counts of tokens that a row may have."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0


NO_TOKENS = TokenCounts()


class Sum(NamedTuple):
    """USD after voids; the number of calls (without voids) and of voids; and the tokens of the calls."""

    usd: Decimal = ZERO
    calls: int = 0
    voids: int = 0
    tokens: TokenCounts = NO_TOKENS


Names = tuple[str, str, str]
# By surface, model and source, then by time.
Sums = dict[Names, dict[str, Sum]]


def sum_of(row: Row) -> Sum:
    """What one row adds; a void counts as no call."""
    if row.voids:
        return Sum(row.cost_usd, 0, 1)
    counts = (row.input_tokens, row.cache_read_tokens, row.cache_write_tokens, row.output_tokens)
    return Sum(row.cost_usd, 1, 0, TokenCounts(*(count or 0 for count in counts)))


def total_of(sums: Iterable[Sum]) -> Sum:
    """Return the sum of sums."""
    columns = tuple(zip(*sums, strict=True))
    if not columns:
        return Sum()
    usd, calls, voids, tokens = columns
    with localcontext(EXACT):
        return Sum(sum(usd, ZERO), sum(calls), sum(voids), total_tokens(filter(any, tokens)))


def merge(into: Sums, more: Sums) -> None:
    """Add `more` to the sums of `into`."""
    for names, times in more.items():
        known = into.setdefault(names, {})
        for time, part in times.items():
            known[time] = total_of((known[time], part)) if time in known else part


def by_day(sums: Sums, day_of: Callable[[str], str]) -> Sums:
    """The sums by day; `day_of` computes the day (`2026-05-29`) of a time, empty for one to leave out."""
    # The names share most of their times.
    known: dict[str, str] = {}
    found: Sums = {}
    for names, times in sums.items():
        days: defaultdict[str, list[Sum]] = defaultdict(list)
        for time, part in times.items():
            day = known.get(time)
            if day is None:
                day = known[time] = day_of(time)
            if day:
                days[day].append(part)
        found[names] = {day: total_of(parts) for day, parts in days.items()}
    return found


def total_tokens(counts: Iterable[tuple[int, ...]]) -> TokenCounts:
    """Return the sum of the counts of several calls, each in the order of `TokenCounts`."""
    return TokenCounts(*map(sum, zip(*counts, strict=True)))
