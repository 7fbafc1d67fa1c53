"""Whole rows on a line of the ledger that is not one row: two writes on one line, or a row behind a torn
write.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.model.money import ZERO, total
from hal0_budget.stores.files.row_format import parse_row
from hal0_budget.strict_json import Unreadable

_OBJECT = b'{"'
_COST = re.compile(rb'"cost_usd"\s{0,9}:\s{0,9}([0-9]{1,10}(?:\.[0-9]{1,40})?(?:[eE]-[0-9]{1,2})?)')

# A line of a damaged ledger may hold any number of brackets; each is where a row may begin.
_MOST_TRIES = 1000


class Piece(NamedTuple):
    """A whole row on a line: its first byte on the line, and the byte behind it."""

    start: int
    end: int


def whole_rows(line: bytes, persona: str) -> list[Piece]:
    """The whole rows of `persona` on a line, first to last; they do not overlap."""
    text = line.decode("latin-1")
    decoder = json.JSONDecoder()
    found: list[Piece] = []
    start = line.find(_OBJECT)
    for _ in range(_MOST_TRIES):
        if start < 0:
            break
        end = _end_of_object(decoder, text, start)
        if end is not None and _is_row(line[start:end], persona):
            found.append(Piece(start, end))
            start = line.find(_OBJECT, end)
        else:
            start = line.find(_OBJECT, start + 1)
    return found


def dollars_in(text: bytes) -> Decimal:
    """The sum of the costs that a line names, in USD, whether they can be relied on or not."""
    return total([Decimal(cost.decode()) for cost in _COST.findall(text)]) if text else ZERO


def _end_of_object(decoder: json.JSONDecoder, text: str, start: int) -> int | None:
    try:
        return decoder.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _is_row(line: bytes, persona: str) -> bool:
    try:
        return parse_row(line).persona_id == persona
    except Unreadable:
        return False
