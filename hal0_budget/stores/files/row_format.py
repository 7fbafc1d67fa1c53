"""The format of a ledger row: one JSON object a line, shared with hal0's own server.

The six keys of `Row`, in this order, are fixed; more may follow and readers ignore what they do
not know. A line is one of four things: a row, blank, a sealed torn write, or unreadable.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hal0_budget.model.money import checked_usd, negative
from hal0_budget.model.records import MORE_COUNTS, MORE_TEXTS, Row
from hal0_budget.strict_json import Unreadable, parse_object

# Ends every line that a torn write was sealed into: see `torn_writes`.
TORN_MARK = b'"cost_usd":0,"torn":true}'

_MOST_TOKENS = 10**15


def _optional(part: str) -> str:
    """The pattern of a part or nothing. A possessive group takes half a part before Python 3.11.5."""
    return f"(?:{part}|)"


# Only single characters are repeated possessively: every version of Python reads that alike.
_TEXT = r"[ !#-\[\]-~]*+"
_DECIMALS = _optional(r"\.\d{1,40}+")
_EXPONENT = _optional(r"[eE]-\d{1,2}+")
_COUNT = r"(?:0|[1-9]\d{0,14}+)"

# The rows that hal0 and this program write, which are nearly all. Whatever it takes, with an hour
# that is one, `parse_row` takes too and reads alike; the rest is read by `parse_row` alone. Only one
# way leads through a line, so that a line that does not match is given up after one pass.
_REST_OF_TIME = _optional(r"\.\d{6}+") + r'(?:\+00:00|Z)"'
_COST = rf',"cost_usd":((?:0|[1-9]\d{{0,8}}+){_DECIMALS}{_EXPONENT})'
_HOUR_AND_COST = (
    rf'^\{{"ts":"([0-9T-]{{13}}+):[0-5]\d:[0-5]\d{_REST_OF_TIME}'
    rf',"persona_id":"{_TEXT}","surface":"{_TEXT}","model":"{_TEXT}"{_COST}'
)
_SIX_KEYS = rf'{_HOUR_AND_COST},"request_id":"{_TEXT}"\}}\n'
_SOURCE = _optional(',"cost_source":"([a-z]++)"')
_PRICE = _optional(f',"price":"{_TEXT}"')
_PLAIN_ROW = "".join((
    rf'{_HOUR_AND_COST},"request_id":"({_TEXT})"',
    _SOURCE, _optional(f',"hold_id":"({_TEXT})"'), _PRICE,
    *(_optional(f',"{key}":{_COUNT}') for key in MORE_COUNTS),
    r"\}\n",
))  # fmt: skip
_FACTS = "".join((
    rf'^\{{"ts":"([0-9T-]{{13}}+:[0-5]\d:[0-5]\d){_REST_OF_TIME}',
    rf',"persona_id":"{_TEXT}","surface":"({_TEXT})","model":"({_TEXT})"{_COST},"request_id":"{_TEXT}"',
    _SOURCE, _optional(f',"hold_id":"{_TEXT}"'), _PRICE,
    *(_optional(f',"{key}":({_COUNT})') for key in MORE_COUNTS),
    r"\}\n",
))  # fmt: skip


# A row as a pattern found it: its parts as text, empty if the row does not have them.
PlainRow = tuple[str, ...]


def plain_costs(text: str) -> list[PlainRow]:
    """Hour and cost of every plain row in `text`, whole lines, that has the six keys and no more.

    Takes half the time of `plain_rows`, and nearly all of a first scan.
    """
    return re.findall(_SIX_KEYS, text, re.MULTILINE | re.ASCII)


def plain_rows(text: str) -> list[PlainRow]:
    """Hour, cost, request id, cost source and hold id of every plain row in `text`, whole lines.

    What a row does not have is empty. The hour may be any 13 of the characters that hours are
    written with: see `is_hour`.
    """
    # Not compiled before it is needed: that takes longer than to import half this package.
    return re.findall(_PLAIN_ROW, text, re.MULTILINE | re.ASCII)


def plain_facts(text: str) -> list[PlainRow]:
    """What a report counts of every plain row in `text`, whole lines: its second, surface, model, cost,
    cost source, and tokens of input, cache reads, cache writes and output.

    What a row does not have is empty. The hour of the second is as in `plain_rows`.
    """
    return re.findall(_FACTS, text, re.MULTILINE | re.ASCII)


def are_all(rows: Sequence[PlainRow], text: str, hours: Iterable[str]) -> bool:
    """Whether `rows`, which a pattern found in `text`, are all lines of it: none needs the strict parser.

    `hours` are the hours of the rows.
    """
    return len(rows) == text.count("\n") and all(map(is_hour, hours))


@functools.lru_cache(maxsize=1024)
def is_hour(text: str) -> bool:
    """Whether `text` is an hour as rows write it, such as `2026-05-29T13`."""
    try:
        return datetime.fromisoformat(f"{text}:00:00+00:00").isoformat()[:13] == text
    except ValueError:
        return False


def is_blank(line: bytes) -> bool:
    """Whether a line counts as nothing: it is blank, or a sealed torn write."""
    return not line.strip() or line.endswith(TORN_MARK)


def parse_row(line: bytes) -> Row:
    """The row that a line holds. Raises Unreadable with the reason.

    A row has all six keys once, a time with an offset, and a finite cost of at most 1e9 USD that
    is negative only where `voids` names the row it takes back.
    """
    found = parse_object(line)
    for key in ("ts", "persona_id", "surface", "model", "cost_usd", "request_id"):
        if key not in found:
            raise Unreadable(f"no {key}")
    cost = _cost(found["cost_usd"], found.get("voids"))
    for key in ("persona_id", "surface", "model", "request_id"):
        if not isinstance(found[key], str):
            raise Unreadable(f"{key} is not a string")
    ts, request_id = _time(found["ts"]), found["request_id"]
    row = Row(ts, found["persona_id"], found["surface"], found["model"], cost, request_id)
    more: dict[str, Any] = {key: found[key] for key in MORE_TEXTS if isinstance(found.get(key), str)}
    more |= {key: _count(found[key]) for key in MORE_COUNTS if key in found}
    return row._replace(**more) if more else row


def voids_of(line: bytes) -> str | None:
    """The request id that a line takes back; None if it is not a void."""
    # A key that is written with escapes is the same key.
    if b'"voids"' in line or b"\\" in line:
        with suppress(Unreadable):
            return parse_row(line).voids
    return None


def lines_and_rows(block: bytes) -> Iterator[tuple[bytes, PlainRow | None]]:
    """Each line of a block of whole lines with its row as `plain_rows` has it, None if it is not a row.

    The plain pattern reads what it can of the block, and `parse_row` the rest.
    """
    lines, text = block.split(b"\n")[:-1], block.decode("latin-1")
    rows = plain_rows(text)
    if are_all(rows, text, {row[0] for row in rows}):
        yield from zip(lines, rows, strict=True)
        return
    for line in lines:
        plain = plain_rows(f"{line.decode('latin-1')}\n")
        yield line, plain[0] if plain and is_hour(plain[0][0]) else _strictly_read(line)


def _strictly_read(line: bytes) -> PlainRow | None:
    try:
        row = parse_row(line)
    except Unreadable:
        return None
    hour, cost = row.ts.isoformat()[:13], str(row.cost_usd)
    return hour, cost, row.request_id, row.cost_source or "", row.hold_id or ""


def _cost(cost: object, voids: object) -> Decimal:
    if not isinstance(cost, Decimal):
        raise Unreadable("cost_usd is not a number")
    is_void = isinstance(voids, str) and voids != ""
    try:
        if cost < 0 and is_void:
            return negative(checked_usd(negative(cost)))
        return checked_usd(cost)
    except ValueError as error:
        raise Unreadable(f"cost_usd {error}") from None


def _count(value: object) -> int | None:
    """A number of tokens; None for what is none, for it is not what a row is judged by."""
    if isinstance(value, Decimal) and 0 <= value <= _MOST_TOKENS and value == value.to_integral_value():
        return int(value)
    return None


def _time(ts: object) -> datetime:
    try:
        time = datetime.fromisoformat(ts) if isinstance(ts, str) else None
        if time is None or time.tzinfo is None:
            raise Unreadable("ts is not a time with an offset")
        return time.astimezone(UTC)
    except Unreadable:
        raise
    except (ValueError, OverflowError):
        raise Unreadable("ts is not a time with an offset") from None
