"""Builds a charge from a provider's response."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from pathlib import Path

from hal0_budget.clock import utc_now
from hal0_budget.errors import InvalidReply, PriceUnknown, ProviderError, UsageError
from hal0_budget.inputs import read_source
from hal0_budget.model.charge import Charge
from hal0_budget.providers.costing import Fallback, charge_of, made_id
from hal0_budget.providers.price_sources import PriceList, price_list
from hal0_budget.providers.response_stream import MAX_RESPONSE, read_response


def charge_from(
    name: str,
    headers: str | None,
    prices: str | None,
    model: str | None,
    fallback: tuple[Decimal | None, Decimal | None],
) -> tuple[Charge, str | None]:
    """Read a response from the file `name` (`-` is stdin) and build its charge.

    Returns the charge, and a sentence if its cost is not the one that the response states. `fallback`
    holds the cost and the estimate, in USD, to book if the response states no cost. Raises UsageError,
    InvalidReply, ProviderError, PriceUnknown.
    """
    if name == headers == "-":
        raise UsageError("--from-response and --headers cannot both be stdin")
    data = read_source("--from-response", name, MAX_RESPONSE)
    try:
        response = read_response(
            data, None if headers is None else read_source("--headers", headers, MAX_RESPONSE)
        )
        charge, why = charge_of(response, lambda: prices_of(prices), utc_now(), model, Fallback(*fallback))
    except (InvalidReply, ProviderError, PriceUnknown) as error:
        raise type(error)(f"{name}: {error.message}", **error.details, file=name) from None
    return charge._replace(request_id=charge.request_id or made_id(data)), why


@cache
def prices_of(document: str | None) -> PriceList:
    """The prices in the file `document`, or the installed ones. Raises UsageError, PriceUnknown."""
    return price_list(None if document is None else Path(document))
