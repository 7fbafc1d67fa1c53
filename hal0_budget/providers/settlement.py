"""What to charge for a reply: the cost it states, else what its tokens cost, else what one was told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from hal0_budget.errors import BudgetError, InvalidCharge, PriceUnknown, UsageError
from hal0_budget.model.charge import Charge, checked_request_id, checked_text, token_counts
from hal0_budget.providers.pricelist import PriceList
from hal0_budget.providers.reply import Reply


class Fallback(NamedTuple):
    """What to book, in USD, where a reply does not tell: what the call did cost, or an estimate, and what
    that was priced at.
    """

    cost: Decimal | None = None
    estimate: Decimal | None = None
    price: str | None = None


def charge_of(
    reply: Reply, prices: Callable[[], PriceList], at: datetime, model: str | None, fallback: Fallback
) -> tuple[Charge, str | None]:
    """The charge for a reply, and why it is not what the reply says where it is not.

    `model` is what the operator calls it, and then what is priced. The charge has the reply's id,
    model and tokens. Raises PriceUnknown where nothing says what to book.
    """
    name = model or _fit(partial(checked_text, "model"), reply.model) or "unknown"
    request_id = _fit(checked_request_id, reply.request_id)
    tokens = None if reply.tokens is None or token_counts(reply.tokens) is None else reply.tokens
    charge = Charge(reply.cost or Decimal(0), name, request_id=request_id, tokens=tokens)
    if reply.cost is not None:
        return charge._replace(cost_source="reported"), None
    try:
        return _priced(reply, charge, prices, at), None
    except (PriceUnknown, UsageError) as error:
        return _booked(charge, error, fallback)


def made_id(data: bytes) -> str:
    """A request id for a reply that has none: the same bytes are never charged twice."""
    return f"reply-{hashlib.sha256(data).hexdigest()[:32]}"


def _fit(check: Callable[[str], str], text: str | None) -> str | None:
    """`text` where a row may have it: what a provider calls a thing keeps no cost off the books."""
    try:
        return None if text is None else check(text)
    except InvalidCharge:
        return None


def _priced(reply: Reply, charge: Charge, prices: Callable[[], PriceList], at: datetime) -> Charge:
    if reply.is_cut:
        raise PriceUnknown("the stream was cut before it said what was used")
    if reply.beside is not None:
        raise PriceUnknown(f"the reply's tokens do not tell what it did cost: {reply.beside}")
    if reply.tokens is None:
        raise PriceUnknown("the reply states neither a cost nor all of its tokens")
    price = prices().price_of(charge.model, reply.tier, at)
    cost, told = price.cost(reply.tokens), price.told(reply.tokens)
    return charge._replace(cost=cost, cost_source="priced", price=told)


def _booked(charge: Charge, why: BudgetError, fallback: Fallback) -> tuple[Charge, str]:
    said = why.message if charge.model in why.message else f"{why.message} (model {charge.model})"
    if fallback.cost is not None:
        return charge._replace(cost=fallback.cost), f"{said}; the cost given is booked"
    if fallback.estimate is not None:
        booked = charge._replace(cost=fallback.estimate, cost_source="estimated", price=fallback.price)
        return booked, f"{said}; the estimate is booked"
    raise PriceUnknown(f"{said}; say what to book with --cost or --estimate", **why.details)
