"""Exact USD: from text, to text, and the arithmetic between.

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
# As fine as the shortest text of any binary double, which is what hal0's server writes.
MAX_PLACES = 340

_AMOUNT = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_MAX_TEXT = 400
_SHOWN_PLACES = 4


def parse_usd(text: str) -> Decimal:
    """The amount that `text` writes, in USD: a finite decimal, 0 <= amount <= 1e9.

    Takes `5`, `0.25`, `.25` and `1.5e-07`. Raises ValueError with what is wrong for everything
    else: signs, thousands separators, quotes, `nan`, `inf`, digits that are not ASCII.
    """
    if len(text) > _MAX_TEXT or not re.fullmatch(_AMOUNT, text):
        raise ValueError("not a plain decimal number such as 0.25")
    return checked_usd(Decimal(text))


def checked_usd(amount: Decimal) -> Decimal:
    """`amount` itself where it is money that this program counts, else ValueError.

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
        # 1E+3 would print as digits that nobody wrote, and -0 as a sign.
        return EXACT.quantize(amount.copy_abs(), Decimal(1))
    return amount


def add(left: Decimal, right: Decimal) -> Decimal:
    """The exact sum."""
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """The exact difference."""
    return EXACT.subtract(left, right)


def negative(amount: Decimal) -> Decimal:
    """The exact negative."""
    return EXACT.minus(amount)


def multiply(left: Decimal, right: Decimal) -> Decimal:
    """The exact product."""
    return EXACT.multiply(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum of all `amounts`."""
    with localcontext(EXACT):
        return sum(amounts, ZERO)


def plain(amount: Decimal) -> str:
    """The amount in plain notation, every digit kept: `0.00000015`, never `1.5E-7`."""
    return format(amount, "f")


def dollars(amount: Decimal) -> str:
    """The amount as a person reads it: every digit kept, at least four decimal places."""
    sign = "-" if amount < 0 else ""
    whole, _, places = plain(amount.copy_abs()).partition(".")
    return f"{sign}${whole}.{places.rstrip('0').ljust(_SHOWN_PLACES, '0')}"


def percent(share: Decimal) -> str:
    """The share as a person reads it: 0.8 is `80%`."""
    return plain(EXACT.normalize(multiply(share, Decimal(100)))) + "%"
