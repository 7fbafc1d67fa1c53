"""What a ledger's rows add up to by time, surface, model and source: what reports are made from.

The fast reader takes what it can of a block, and `parse_row` the rest, as a tally does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal, localcontext

from hal0_budget.model.money import EXACT, ZERO
from hal0_budget.model.sums import NO_TOKENS, TOLD, Names, Sum, Sums, merge, sum_of, total_tokens
from hal0_budget.stores.files.row_format import are_all, is_blank, parse_row, plain_facts
from hal0_budget.strict_json import Unreadable


def sums_of(block: bytes, when: Callable[[str], str]) -> Sums:
    """The sums of a block of whole lines; `when` makes of a row's second (`2026-05-29T13:05:09`, UTC)
    the time that it is summed by. What is no row is left out.
    """
    text = block.decode("latin-1")
    rows = plain_facts(text)
    if not are_all(rows, text, {row[0][:13] for row in rows}):
        return _sums_of_lines(block, when)
    costs: defaultdict[tuple[Names, str], list[str]] = defaultdict(list)
    tokens: defaultdict[tuple[Names, str], list[tuple[int, ...]]] = defaultdict(list)
    has_tokens = '_tokens":' in text
    for row in rows:
        key = (row[1], row[2], row[4] or TOLD), when(row[0])
        costs[key].append(row[3])
        if has_tokens:
            tokens[key].append(tuple(int(count or 0) for count in row[5:]))
    sums: Sums = {}
    with localcontext(EXACT):
        for (names, time), group in costs.items():
            usd = sum(map(Decimal, group), ZERO)
            counted = total_tokens(tokens[names, time]) if has_tokens else NO_TOKENS
            sums.setdefault(names, {})[time] = Sum(usd, len(group), 0, counted)
    return sums


def _sums_of_lines(block: bytes, when: Callable[[str], str]) -> Sums:
    sums: Sums = {}
    for line in block.split(b"\n")[:-1]:
        if is_blank(line):
            continue
        try:
            row = parse_row(line)
        except Unreadable:
            continue
        names = (row.surface, row.model, row.cost_source or TOLD)
        merge(sums, {names: {when(row.ts.isoformat()[:19]): sum_of(row)}})
    return sums
