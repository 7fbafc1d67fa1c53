"""Exact USD: parsing, arithmetic and formatting.

Money is `Decimal` made from text, never a binary float. Python's default context rounds at 28
digits, so every sum and product goes through `EXACT`, which raises before it would round.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext

EXACT = Context(prec=800, traps=[Inexact, InvalidOperation, Overflow])
ZERO = Decimal(0)

MAX_USD = Decimal(1_000_000_000)
# Enough for the shortest text of every binary double: hal0's server writes those.
MAX_PLACES = 340

_AMOUNT = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_MAX_TEXT = 400
_SHOWN_PLACES = 4


def parse_usd(text: str) -> Decimal:
    """Return the amount in `text`, in USD: a finite decimal, 0 <= amount <= 1e9.

    Accepts `5`, `0.25`, `.25` and `1.5e-07`. Raises ValueError with the reason for everything
    else: signs, thousands separators, quotes, `nan`, `inf`, digits that are not ASCII.
    """
    if len(text) > _MAX_TEXT or not re.fullmatch(_AMOUNT, text):
        raise ValueError("not a plain decimal number such as 0.25")
    return checked_usd(Decimal(text))


def checked_usd(amount: Decimal) -> Decimal:
    """Return `amount`. Raises ValueError if it is not a valid amount of money.

    Money is finite, 0 <= amount <= 1e9 USD, and has at most 340 decimal places.
    """
    if not amount.is_finite():
        raise ValueError("not a finite number")
    if amount < 0:
        raise ValueError("negative")
    if amount > MAX_USD:
        raise ValueError("out of range: more than 1000000000")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_PLACES:
        raise ValueError(f"out of range: finer than {MAX_PLACES} decimal places")
    if exponent > 0 or not amount:
        # Normalised, so that 1E+3 is printed as 1000 and -0 without its sign.
        return EXACT.quantize(amount.copy_abs(), Decimal(1))
    return amount


def add(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact sum."""
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact difference."""
    return EXACT.subtract(left, right)


def negative(amount: Decimal) -> Decimal:
    """Return `-amount`, exactly."""
    return EXACT.minus(amount)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact product."""
    return EXACT.multiply(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of all `amounts`."""
    with localcontext(EXACT):
        return sum(amounts, ZERO)


def plain(amount: Decimal) -> str:
    """Return the amount in plain notation with every digit: `0.00000015`, never `1.5E-7`."""
    return format(amount, "f")


def dollars(amount: Decimal) -> str:
    """Return the amount for people, such as `$0.2500`: every digit, at least four decimal places."""
    sign = "-" if amount < 0 else ""
    whole, _, places = plain(amount.copy_abs()).partition(".")
    return f"{sign}${whole}.{places.rstrip('0').ljust(_SHOWN_PLACES, '0')}"


def percent(share: Decimal) -> str:
    """Return the share for people: `80%` for 0.8."""
    return plain(EXACT.normalize(multiply(share, Decimal(100)))) + "%"
