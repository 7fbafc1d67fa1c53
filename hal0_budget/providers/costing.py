"""Computes the charge for a response: the stated cost, else the price of its tokens, else a fallback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from hal0_budget.errors import BudgetError, InvalidCharge, PriceUnknown, UsageError
from hal0_budget.model.charge import Charge, checked_request_id, checked_text, token_counts
from hal0_budget.providers.price_sources import PriceList
from hal0_budget.providers.response import Response


class Fallback(NamedTuple):
    """What to book, in USD, if a response does not state its cost: the actual cost from another source, or
    else an estimate, with the rates that it was computed at.
    """

    cost: Decimal | None = None
    estimate: Decimal | None = None
    price: str | None = None


def charge_of(
    response: Response, prices: Callable[[], PriceList], at: datetime, model: str | None, fallback: Fallback
) -> tuple[Charge, str | None]:
    """Return the charge for a response, and the reason if the fallback is booked.

    `model` replaces the model that the response names. The charge has the id, model and tokens of the
    response. Raises PriceUnknown if its cost is unknown and there is no fallback.
    """
    name = model or _valid_or_none(partial(checked_text, "model"), response.model) or "unknown"
    request_id = _valid_or_none(checked_request_id, response.request_id)
    tokens = None if response.tokens is None or token_counts(response.tokens) is None else response.tokens
    charge = Charge(response.cost or Decimal(0), name, request_id=request_id, tokens=tokens)
    if response.cost is not None:
        return charge._replace(cost_source="reported"), None
    try:
        return _priced(response, charge, prices, at), None
    except (PriceUnknown, UsageError) as error:
        return _booked(charge, error, fallback)


def made_id(data: bytes) -> str:
    """Return a request id for a response without one. It depends on the bytes only, so that a response
    is not charged twice.
    """
    return f"reply-{hashlib.sha256(data).hexdigest()[:32]}"


def _valid_or_none(check: Callable[[str], str], text: str | None) -> str | None:
    """Return `text`, or None if a row cannot hold it: a strange name must not prevent a charge."""
    try:
        return None if text is None else check(text)
    except InvalidCharge:
        return None


def _priced(response: Response, charge: Charge, prices: Callable[[], PriceList], at: datetime) -> Charge:
    if response.is_cut:
        raise PriceUnknown("the stream ended before its usage")
    if response.unpriced is not None:
        raise PriceUnknown(f"the tokens of the response do not determine its cost: {response.unpriced}")
    if response.tokens is None:
        raise PriceUnknown("the response states neither a cost nor all token counts")
    price = prices().price_of(charge.model, response.tier, at)
    cost, rates = price.cost(response.tokens), price.basis(response.tokens)
    return charge._replace(cost=cost, cost_source="priced", price=rates)


def _booked(charge: Charge, why: BudgetError, fallback: Fallback) -> tuple[Charge, str]:
    reason = why.message if charge.model in why.message else f"{why.message} (model {charge.model})"
    if fallback.cost is not None:
        return charge._replace(cost=fallback.cost), f"{reason}; the given cost is booked"
    if fallback.estimate is not None:
        booked = charge._replace(cost=fallback.estimate, cost_source="estimated", price=fallback.price)
        return booked, f"{reason}; the estimate is booked"
    raise PriceUnknown(f"{reason}; add --cost or --estimate to book an amount", **why.details)
