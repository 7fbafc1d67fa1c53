"""A file of charges: JSON lines in, charges out, every bad line named."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError, InvalidCharge
from hal0_budget.model.charge import Charge
from hal0_budget.model.money import checked_usd
from hal0_budget.stores.files.row_format import Unreadable, parse_object
from hal0_budget.stores.files.source import blocks_of

_KEYS = {"cost_usd", "model", "surface", "request_id", "ts", "persona_id", "hold_id", "cost_source"}
_NAMED = 20

# Longer than the line of any charge.
_LONGEST = 256 * 1024
# So that input without an end, be it of blank lines, fills no memory.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_CHARGES = 1_000_000

_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])"
)


def read_batch(name: str, persona: str) -> tuple[Charge, ...]:
    """The charges of a file, or of stdin for `-`. Raises InvalidCharge that names every bad line, UsageError.

    A line is an object with `cost_usd` and `model`, and where known `surface`, `request_id`, `ts`;
    a row as hal0 writes it is one. A line without a request id gets one made of the file and its place in
    it, so that the same file is never charged twice.
    """
    digest, lines = _read(name)
    charges: list[Charge] = []
    wrong: list[str] = []
    for number, line in lines:
        try:
            charge = _charge(line, persona, f"batch-{digest}-{number}")
            charge.row(persona, utc_now())
            charges.append(charge)
        except (ValueError, BudgetError) as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InvalidCharge(f"{name}: nothing was recorded: {'; '.join(wrong[:_NAMED])}{more}", lines=wrong)
    return tuple(charges)


def _read(name: str) -> tuple[str, list[tuple[int, bytes]]]:
    """The digest of a file, and its lines that are not blank with their numbers. Raises InvalidCharge."""
    digest = hashlib.sha256()
    found: list[tuple[int, bytes]] = []
    rest, number, size = b"", 0, 0
    for block in blocks_of("--batch", name):
        digest.update(block)
        size += len(block)
        *lines, rest = (rest + block).split(b"\n")
        new = [(number + place, line) for place, line in enumerate(lines, start=1) if line.strip()]
        number += len(lines)
        found += new
        if size > _MOST_BYTES or len(found) > _MOST_CHARGES:
            raise InvalidCharge(
                f"{name}: a batch has at most {_MOST_BYTES} bytes and {_MOST_CHARGES} charges; cut it up"
            )
        for place, line in (*new, (number + 1, rest)):
            if len(line) >= _LONGEST:
                raise InvalidCharge(f"{name}: line {place} is longer than {_LONGEST} bytes")
    if rest.strip():
        found.append((number + 1, rest))
    return digest.hexdigest()[:24], found


def _charge(line: bytes, persona: str, request_id: str) -> Charge:
    found = parse_object(line)
    unknown = sorted(set(found) - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {json.dumps(unknown[0])}")
    for key in ("cost_usd", "model"):
        if key not in found:
            raise ValueError(f"no {key}")
    if not isinstance(found["cost_usd"], Decimal):
        raise ValueError("cost_usd is not a number")
    if found.get("persona_id", persona) != persona:
        raise ValueError(f"persona_id is not {persona}")
    try:
        cost = checked_usd(found["cost_usd"])
    except ValueError as error:
        raise ValueError(f"cost_usd {error}") from None
    return Charge(
        cost,
        _text(found, "model"),
        _text(found, "surface", "cli"),
        _text(found, "request_id", request_id),
        _time(found),
        None if found.get("hold_id") is None else _text(found, "hold_id"),
        None if found.get("cost_source") is None else _text(found, "cost_source"),
    )


def _text(found: dict[str, Any], key: str, default: str = "") -> str:
    value = found.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    return value


def _time(found: dict[str, Any]) -> datetime | None:
    if "ts" not in found:
        return None
    text = _text(found, "ts")
    try:
        if not re.fullmatch(_TIME, text):
            raise ValueError
        return datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable("ts is not a time with an offset, such as 2026-05-29T11:00:00Z") from None
