"""The estimate of a call: given in USD, or computed from its model and token counts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hal0_budget.cli.answer import amount_of
from hal0_budget.clock import utc_now
from hal0_budget.errors import InvalidEstimate, UsageError
from hal0_budget.model.money import dollars
from hal0_budget.model.results import Statement
from hal0_budget.model.tokens import Tokens
from hal0_budget.providers.price_sources import price_list
from hal0_budget.providers.prices import Price


class Estimate(NamedTuple):
    """The expected cost of a call in USD; `price` and `tokens` are set if it was computed from them."""

    usd: Decimal
    price: Price | None = None
    tokens: Tokens = Tokens()

    @property
    def basis(self) -> str | None:
        """The price used and its source; None if the estimate was given in USD."""
        return None if self.price is None else self.price.basis(self.tokens)

    def body(self, statement: Statement) -> dict[str, Any]:
        """The JSON keys that a computed estimate adds; empty if it was given in USD."""
        if self.price is None:
            return {}
        return {
            "estimate_usd": self.usd,
            "price": self.basis,
            "max_output_tokens": self._most(statement),
        }

    def note(self, statement: Statement) -> list[str]:
        """The same as a line of text."""
        if self.price is None:
            return []
        most = self._most(statement)
        fits = "any number of output tokens fits" if most is None else f"at most {most} output tokens fit"
        return [f"estimate {dollars(self.usd)} ({self.basis}): {fits}"]

    def _most(self, statement: Statement) -> int | None:
        """The maximum number of output tokens that every cap allows; None if there is no cap."""
        left = [state.remaining for state in statement.windows if state.remaining is not None]
        if self.price is None or not left:
            return None
        return self.price.most_output(self.tokens, min(left))


def estimate_of(
    estimate: str | None, model: str | None, sent: int | None, back: int | None, prices: str | None
) -> Estimate:
    """The estimate from the options: USD, or a model with the token counts `sent` and `back`.

    Raises UsageError, InvalidEstimate, PriceUnknown.
    """
    if estimate is not None:
        if (sent, back, prices) != (None, None, None):
            raise UsageError(
                "--estimate already is the cost of the call; leave out either it or the tokens and prices"
            )
        return Estimate(amount_of("--estimate", estimate, InvalidEstimate))
    if model is None or sent is None or back is None:
        raise UsageError(
            "an estimate is missing: add --estimate USD, or --model, --input-tokens and --output-tokens"
        )
    price = price_list(None if prices is None else Path(prices)).price_of(model, None, utc_now())
    tokens = Tokens(input=sent, output=back)
    return Estimate(price.cost(tokens), price, tokens)
