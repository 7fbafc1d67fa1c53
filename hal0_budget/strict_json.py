"""JSON read strictly: numbers are exact, and a text that can be read in two ways is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn


class Unreadable(ValueError):
    """Text that does not have the expected form; says why."""


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object in `line`, its numbers as Decimal. Raises Unreadable with the reason."""
    found = parse_json(line)
    if not isinstance(found, dict):
        raise Unreadable("not an object")
    return found


def parse_json(data: bytes) -> Any:
    """The value of a JSON text, its numbers as Decimal. Raises Unreadable with the reason."""
    try:
        return _DECODER.decode(data.decode())
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except (ValueError, ArithmeticError):
        raise Unreadable("not JSON") from None
    except RecursionError:
        raise Unreadable("nested too deep") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("a key stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is not a number of JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant
)
