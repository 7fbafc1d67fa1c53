"""A charge before it is recorded, and the checks that keep the ledger readable."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.errors import BudgetError, InvalidCharge
from hal0_budget.model.ids import checked_id
from hal0_budget.model.money import checked_usd
from hal0_budget.model.records import Row

if TYPE_CHECKING:
    from hal0_budget.model.tokens import Tokens

# Longer than any id or model name. A row stays far below the longest line that readers accept.
MAX_TEXT = 1024
_MAX_PRICE = 4096
_MOST_TOKENS = 10**15

# Sources of a cost that a caller may name. Without one, the caller stated the cost (`--cost`). The source
# `unconfirmed` is reserved for rows that this program makes.
SOURCES = ("reported", "priced", "estimated")

# Prefixes of the request ids of rows that this program makes: voids, and rows of expired holds. A charge
# with such an id would be mistaken for one of them.
RESERVED = ("void:", "unconfirmed:")


class Charge(NamedTuple):
    """The actual cost of one call, in USD, and what was called. `ts` is its time (aware); None means now.

    `tokens` are the provider's counts. `price` is a text that says at which rates they were priced, if so.
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

    def row(self, persona: str, now: datetime, new_id: str = "") -> Row:
        """Return the row for this charge; `new_id` is used if it has no request id. Raises InvalidCharge."""
        request_id = new_id if self.request_id is None else self.request_id
        row = Row(
            now if self.ts is None else checked_time(self.ts),
            persona,
            checked_text("surface", self.surface),
            checked_text("model", self.model),
            checked_amount(self.cost, InvalidCharge, "cost"),
            checked_request_id(request_id),
            None if self.cost_source is None else _checked_source(self.cost_source),
            None if self.hold_id is None else checked_id("hold", _checked_type("hold id", self.hold_id)),
            price=None if self.price is None else checked_text("price", self.price, _MAX_PRICE),
        )
        if self.tokens is None:
            return row
        counts = token_counts(self.tokens)
        if counts is None:
            raise InvalidCharge(f"the tokens must be whole numbers from 0 to {_MOST_TOKENS}")
        return row._replace(
            input_tokens=counts[0],
            cache_read_tokens=counts[1],
            cache_write_tokens=counts[2],
            output_tokens=counts[3],
        )


def checked_text(name: str, text: str, most: int = MAX_TEXT) -> str:
    """Return `text`. Raises InvalidCharge unless it has 1 to `most` characters of valid Unicode."""
    if not 0 < len(_checked_type(name, text)) <= most:
        raise InvalidCharge(f"the {name} must have 1 to {most} characters, not {len(text)}")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidCharge(f"the {name} {text!r} is not valid Unicode")
    return text


def checked_request_id(text: str) -> str:
    """Return `text`. Raises InvalidCharge if it cannot be the request id of a charge."""
    if checked_text("request id", text).startswith(RESERVED):
        raise InvalidCharge(
            f"the request id {text!r} is reserved: ids that begin with {' or '.join(RESERVED)} "
            "belong to voids and to expired holds"
        )
    return text


def checked_time(ts: datetime) -> datetime:
    """Return `ts` in UTC. Raises InvalidCharge unless it is aware and its year in UTC is 1 to 9999."""
    if not isinstance(ts, datetime) or ts.utcoffset() is None:
        raise InvalidCharge("the time of a charge must have an offset")
    try:
        return ts.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidCharge(
            f"the time {ts.isoformat()} is out of range: its year in UTC is not 1 to 9999"
        ) from None


def token_counts(tokens: Tokens) -> tuple[int, int, int, int] | None:
    """Return the counts of input, cache reads, cache writes and output for a row; None if any is invalid."""
    try:
        written = tokens.cache_write + tokens.cache_write_1h
        counts = (tokens.input, tokens.cache_read, written, tokens.output)
    except (AttributeError, TypeError):
        return None
    return counts if all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in counts) else None


def checked_amount(amount: Decimal, error: type[BudgetError], name: str) -> Decimal:
    """Return `amount`. Raises `error`, with `name` in its message, if it is not a valid amount of money."""
    if not isinstance(amount, Decimal):
        raise error(f"{name} must be a Decimal in USD, not {type(amount).__name__}")
    try:
        return checked_usd(amount)
    except ValueError as why:
        raise error(f"{name} {amount} is not an amount in USD: {why}") from None


def _checked_source(source: str) -> str:
    if source not in SOURCES:
        raise InvalidCharge(f"the cost_source must be one of {', '.join(SOURCES)}")
    return source


def _checked_type(name: str, text: str) -> str:
    if not isinstance(text, str):
        raise InvalidCharge(f"the {name} must be a text, not {type(text).__name__}")
    return text
