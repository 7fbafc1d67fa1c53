"""A charge as it is asked for, and the checks that keep the ledger readable."""

from __future__ import annotations

import os
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.errors import BudgetError, InvalidCharge
from hal0_budget.money import checked_usd
from hal0_budget.store.layout import checked_id
from hal0_budget.store.rows import Row

if TYPE_CHECKING:
    from hal0_budget.tokens import Tokens

# Longer than any id or model name; a row stays far below the longest line that a reader takes.
MAX_TEXT = 1024


class Charge(NamedTuple):
    """What one call did cost, in USD, and what it was. `ts` is when (aware); None is now.

    `tokens` is what the provider counted, and `price` what they were priced at, where they were.
    """

    cost: Decimal
    model: str
    surface: str = "cli"
    request_id: str | None = None
    ts: datetime | None = None
    hold_id: str | None = None
    cost_source: str | None = None
    price: str | None = None
    tokens: Tokens | None = None

    def row(self, persona: str, now: datetime) -> Row:
        """The row that records it; a request id is made where there is none. Raises InvalidCharge."""
        request_id = f"req_{os.urandom(16).hex()}" if self.request_id is None else self.request_id
        checked_text("model", self.model)
        checked_text("surface", self.surface)
        checked_text("request id", request_id)
        if self.hold_id is not None:
            checked_id("hold", self.hold_id)
        cost = checked_amount(self.cost, InvalidCharge, "cost")
        row = Row(
            self.ts or now,
            persona,
            self.surface,
            self.model,
            cost,
            request_id,
            self.cost_source,
            self.hold_id,
            price=self.price,
        )
        if self.tokens is None:
            return row
        return row._replace(
            input_tokens=self.tokens.input,
            cache_read_tokens=self.tokens.cache_read,
            cache_write_tokens=self.tokens.cache_write + self.tokens.cache_write_1h,
            output_tokens=self.tokens.output,
        )


def checked_text(name: str, text: str) -> str:
    """`text` where a row can hold it, else InvalidCharge: 1 to 1,024 characters of Unicode."""
    if not 0 < len(text) <= MAX_TEXT:
        raise InvalidCharge(f"the {name} must have 1 to {MAX_TEXT} characters, not {len(text)}")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidCharge(f"the {name} {text!r} is not valid Unicode")
    return text


def checked_amount(amount: Decimal, error: type[BudgetError], name: str) -> Decimal:
    """`amount` where it is money, else `error`, which names it."""
    try:
        return checked_usd(amount)
    except ValueError as why:
        raise error(f"{name} {amount} is not an amount in USD: {why}") from None
