"""The format of the journal of holds: one JSON object a line, each with a checksum that covers the line
before.

The first line names the journal: its id, its persona, and its generation, which counts how often the file
was rewritten. Two kinds of line follow: a hold, and the resolution of one. `crc32` is the CRC-32 of the line
up to that key, continued from the checksum of the line before, so that a line that was altered, dropped,
moved or copied from another journal breaks the chain. Version 1 had neither a first line nor checksums.
"""

from __future__ import annotations

import json
import re
from binascii import crc32
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, get_args

from hal0_budget.model.money import checked_usd
from hal0_budget.model.records import Closing, Hold, OnExpiry, Outcome
from hal0_budget.stores.files.row_format import is_hour
from hal0_budget.strict_json import Unreadable, parse_object

VERSION = 2

_CRC = b',"crc32":"'
# The length of what follows: eight hexadecimal digits and the end of the line.
_END = 10

_TEXT = r"[ !#-\[\]-~]++"
_MINUTES = r":[0-5]\d:[0-5]\d\.\d{6}\+00:00"
# A line as this program writes it. Its groups: the body; id, USD, hour, expiry and ledger size of a hold;
# hold id, outcome and request id of a resolution; the checksum. `parse_entry` reads every line that matches,
# with the same result.
_PLAIN = (
    rf'^(\{{"hold":"({_TEXT})","usd":((?>0|[1-9]\d{{0,8}})(?>(?:\.\d{{1,40}})?))'
    rf',"ts":"([0-9T-]{{13}}){_MINUTES}","expires":"([0-9T-]{{13}}{_MINUTES})"'
    rf',"on_expiry":"(?:book|release)","surface":"{_TEXT}","model":"{_TEXT}","ledger_size":(0|[1-9]\d{{0,17}})'
    rf'|\{{"closed":"({_TEXT})","how":"(settled|released|expired)","request_id":(?:null|"({_TEXT})"))'
    r',"crc32":"([0-9a-f]{8})"\}\n'
)


class Header(NamedTuple):
    """The first line of a journal: its id, its persona, and its generation, from 1."""

    journal: str
    persona: str
    generation: int

    def body(self) -> bytes:
        """The line of the header, up to the checksum."""
        return (
            f'{{"journal":{json.dumps(self.journal)},"persona_id":{json.dumps(self.persona)}'
            f',"generation":{self.generation},"version":{VERSION}'
        ).encode("ascii")


Entry = Header | Hold | Closing


def chained(entries: tuple[Entry, ...], chain: int) -> bytes:
    """The lines of `entries` after a line whose checksum is `chain`, which is 0 for the first line."""
    lines = []
    for entry in entries:
        body = entry.body()
        chain = crc32(body, chain)
        lines.append(b'%s%s%08x"}\n' % (body, _CRC, chain))
    return b"".join(lines)


def body_of(line: bytes) -> tuple[bytes, int | None]:
    """The part of a line (without newline) that its checksum covers, and that checksum, None if missing."""
    body, found, rest = line.rpartition(_CRC)
    if not (found and len(rest) == _END and rest.endswith(b'"}')):
        return line, None
    try:
        stated = int(rest[:-2], 16)
    except ValueError:
        return line, None
    # In upper case it would be the same number, but not the same bytes.
    return (body, stated) if rest.startswith(b"%08x" % stated) else (line, None)


def plain_lines(block: bytes) -> list[tuple[str, ...]] | None:
    """The groups of `_PLAIN` for each line of a block; None if one of the lines is not plain."""
    found: list[tuple[str, ...]] = re.findall(_PLAIN, block.decode("latin-1"), re.MULTILINE | re.ASCII)
    hours = {line[3] for line in found} | {line[4][:13] for line in found}
    return found if len(found) == block.count(b"\n") and all(map(is_hour, hours - {""})) else None


def parse_entry(line: bytes) -> Entry:
    """The entry in a line of the journal; the checksum is ignored. Raises Unreadable with the reason."""
    found = parse_object(line)
    try:
        if "journal" in found:
            return _header(found)
        return _closing(found) if "closed" in found else _hold(found)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise Unreadable(f"neither a hold nor the resolution of one: {error}") from None


def _header(found: dict[str, Any]) -> Header:
    journal, persona, version = found["journal"], found["persona_id"], found["version"]
    generation = int(found["generation"])
    if not (isinstance(journal, str) and isinstance(persona, str) and generation > 0):
        raise ValueError("`journal`, `persona_id` or `generation` is invalid")
    if version != VERSION:
        raise ValueError(f"version {version} is not known to this program")
    return Header(journal, persona, generation)


def _closing(found: dict[str, Any]) -> Closing:
    hold_id, how, request_id = found["closed"], found["how"], found["request_id"]
    if not (isinstance(hold_id, str) and how in get_args(Outcome) and isinstance(request_id, str | None)):
        raise ValueError("`closed`, `how` or `request_id` has the wrong type")
    return Closing(hold_id, how, request_id)


def _hold(found: dict[str, Any]) -> Hold:
    hold_id, usd, surface, model = (found[key] for key in ("hold", "usd", "surface", "model"))
    ts, expires = datetime.fromisoformat(found["ts"]), datetime.fromisoformat(found["expires"])
    if ts.tzinfo is None or expires.tzinfo is None:
        raise ValueError("a time without offset")
    if not all(isinstance(text, str) for text in (hold_id, surface, model)):
        raise ValueError("`hold`, `surface` or `model` is not a string")
    if not isinstance(usd, Decimal) or found["on_expiry"] not in get_args(OnExpiry):
        raise ValueError("usd must be a number and on_expiry `book` or `release`")
    size = int(found.get("ledger_size", 0))
    return Hold(hold_id, checked_usd(usd), ts, expires, found["on_expiry"], surface, model, size)
