"""Reads a file of charges (JSON lines) and reports every bad line by its number."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError, InvalidCharge
from hal0_budget.inputs import blocks_of
from hal0_budget.model.charge import Charge
from hal0_budget.model.money import checked_usd
from hal0_budget.strict_json import Unreadable, parse_object

_KEYS = {"cost_usd", "model", "surface", "request_id", "ts", "persona_id", "hold_id", "cost_source"}
# At most so many bad lines are quoted in the message.
_QUOTED = 20

# A longer line cannot be a charge.
_LONGEST = 256 * 1024
# Limits, so that endless input (blank lines too) cannot fill the memory.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_CHARGES = 1_000_000

_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])"
)


def read_batch(name: str, persona: str) -> tuple[Charge, ...]:
    """Read the charges of the file `name` (`-` is stdin).

    A line is a JSON object with `cost_usd` and `model`, and optionally `surface`, `request_id` and `ts`;
    hal0's own rows have this form. A line without a request id gets one made from the file's digest and
    the line number, so that the same file is never charged twice. Raises UsageError, and InvalidCharge
    with every bad line.
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
        more = f"; and {len(wrong) - _QUOTED} more" if len(wrong) > _QUOTED else ""
        raise InvalidCharge(f"{name}: nothing was recorded: {'; '.join(wrong[:_QUOTED])}{more}", lines=wrong)
    return tuple(charges)


def _read(name: str) -> tuple[str, list[tuple[int, bytes]]]:
    """The digest of a file, and its non-blank lines with their numbers. Raises InvalidCharge."""
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
                f"{name}: a batch has at most {_MOST_BYTES} bytes and {_MOST_CHARGES} charges; split it"
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
