"""A file of charges: JSON lines in, charges out, every bad line named."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO

from hal0_budget.charges import Charge
from hal0_budget.errors import BudgetError, InvalidCharge, UsageError
from hal0_budget.money import checked_usd
from hal0_budget.store.rows import Unreadable, parse_object
from hal0_budget.windows import utc_now

_KEYS = {"cost_usd", "model", "surface", "request_id", "ts", "persona_id", "hold_id", "cost_source"}
_NAMED = 20

# Longer than the line of any charge.
_LONGEST = 256 * 1024


def read_batch(name: str, persona: str) -> tuple[Charge, ...]:
    """The charges of a file, or of stdin for `-`. Raises InvalidCharge that names every bad line.

    A line is an object with `cost_usd` and `model`, and where known `surface`, `request_id`, `ts`;
    a row as hal0 writes it is one. A line without a request id gets one made of the file and its place in
    it, so that the same file is never charged twice.
    """
    try:
        if name == "-":
            data = _read(sys.stdin.buffer, name)
        else:
            with open(name, "rb") as file:
                data = _read(file, name)
    except (OSError, AttributeError) as error:
        raise UsageError(f"--batch {name}: {getattr(error, 'strerror', None) or error}") from None
    digest = hashlib.sha256(data).hexdigest()[:24]
    charges: list[Charge] = []
    wrong: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
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


def _read(file: BinaryIO, name: str) -> bytes:
    """All of a file, unless a line of it has no end: /dev/zero has none."""
    lines: list[bytes] = []
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise InvalidCharge(f"{name}: line {len(lines) + 1} is longer than {_LONGEST} bytes")
        lines.append(line)
    return b"".join(lines)


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
        found.get("hold_id"),
        found.get("cost_source"),
    )


def _text(found: dict[str, Any], key: str, default: str = "") -> str:
    value = found.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    return value


def _time(found: dict[str, Any]) -> datetime | None:
    if "ts" not in found:
        return None
    try:
        time = datetime.fromisoformat(_text(found, "ts"))
    except ValueError:
        raise Unreadable("ts is not a time with an offset") from None
    if time.tzinfo is None:
        raise Unreadable("ts is not a time with an offset")
    return time
