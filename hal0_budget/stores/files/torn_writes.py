"""Torn writes: half a row at the end of a ledger, left by a crash or a full disk.

The next writer seals it, so that no later row merges with it. For example

    {"ts":"2026-05-29T12:30:00Z","persona_id":"her

gets the seal `",` and the mark `"cost_usd":0,"torn":true}`, and is a JSON object that costs nothing:

    {"ts":"2026-05-29T12:30:00Z","persona_id":"her","cost_usd":0,"torn":true}

With `cost_usd` 0 last, `jq` and hal0's reader, which both use the last of two equal keys, count the line as
nothing. Nobody was told that the row is recorded, so nothing is lost.
"""

from __future__ import annotations

import json
from typing import Any

from hal0_budget.stores.files.row_format import TORN_MARK

# What turns the beginning of an object into the beginning of one more member of it. A missing value becomes
# the empty string, not null: hal0's reader skips a row whose `ts` is not a time, but fails on one that is not
# a string. The last two lines finish half a character, which jq and Python refuse: half a surrogate pair, and
# a part of its UTF-8.
_SEALS = (
    b"", b",", b'",', b'":"",', b':"",', b'"",', b"0,",
    b'\\",', b'0",', b'00",', b'000",', b'0000",', b'\\":"",',
    b"e,", b"ue,", b"rue,", b"se,", b"lse,", b"alse,", b"l,", b"ll,", b"ull,",
    b'00\\udc00",', b'0\\udc00",', b'\\udc00",', b'udc00",', b'dc00",', b'c00",',
    b'\x80",', b'\x80\x80",', b'\xa0\x80",', b'\x80\x80\x80",', b'\x90\x80\x80",',
)  # fmt: skip


def seal_of(fragment: bytes) -> bytes:
    """What to append to the half row at a ledger's end, so that no later row merges with it.

    A fragment that is a whole object lacks only its newline. Any other is closed into an object
    that no reader counts and that ends with `TORN_MARK`. A fragment that is not the beginning of an object
    cannot be closed, and gets the mark all the same.
    """
    if whole_object(fragment) is not None:
        return b"\n"
    closed = {seal: whole_object(fragment + seal + TORN_MARK) for seal in _SEALS}
    seals = [seal for seal in _SEALS if closed[seal] is not None]
    seals.sort(key=lambda seal: _has_half_character(closed[seal]))
    return (*seals, b"")[0] + TORN_MARK + b"\n"


def is_several(fragment: bytes) -> bool:
    """Whether a ledger's end without a newline is more than one write: a row that lacks its newline, and what
    was appended to it. Quotes within a text are escaped, so no single row looks like that.
    """
    return b'}{"' in fragment


def whole_object(fragment: bytes) -> dict[str, Any] | None:
    """The JSON object that a ledger's end without a newline is, a row or not; None for a torn write."""
    try:
        # As float, because an int of 5,000 digits is refused.
        found = json.loads(fragment.decode(), parse_int=float)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _has_half_character(found: object) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in json.dumps(found, ensure_ascii=False))
