"""The rates of a model, and the exact cost of a call at these rates. Pure.

An unknown price never counts as zero: a call that cannot be priced raises PriceUnknown.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from hal0_budget.errors import PriceUnknown
from hal0_budget.model.money import EXACT, ZERO, checked_usd, multiply, plain, subtract, total
from hal0_budget.model.tokens import Tokens


class Rates(NamedTuple):
    """USD per token by kind, and USD per request; None means unknown.

    If the price of cache reads is unknown, they cost the same as input: a discount that is not stated
    does not count.
    """

    input: Decimal
    output: Decimal | None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    request: Decimal = ZERO


class Price(NamedTuple):
    """The rates of a model, and their `origin`. `long` has pairs of a number of tokens and the rates for
    longer prompts, the largest number first.
    """

    model: str
    origin: str
    rates: Rates
    long: tuple[tuple[int, Rates], ...] = ()

    def at(self, prompt: int) -> Rates:
        """Return the rates of a call that sends `prompt` tokens; they apply to all of its tokens."""
        return next((rates for above, rates in self.long if prompt > above), self.rates)

    def cost(self, tokens: Tokens) -> Decimal:
        """Return the cost of the tokens in USD. Raises PriceUnknown."""
        rates = self.at(tokens.prompt)
        parts = [multiply(Decimal(count), usd) for _, count, usd in self._parts(tokens)]
        try:
            return checked_usd(EXACT.normalize(total([rates.request, *parts])))
        except ValueError as error:
            raise PriceUnknown(f"{self.origin}: the cost of {self.model} is {error}") from None

    def most_output(self, tokens: Tokens, left: Decimal) -> int | None:
        """Return how many output tokens `left` USD pay for, after the other tokens in `tokens`.

        None if output is free; 0 if it has no price, as for embeddings. Raises PriceUnknown.
        """
        rate = self.at(tokens.prompt).output
        rest = subtract(left, self.cost(tokens._replace(output=0)))
        if rate is None or rest < 0:
            return 0
        return int(EXACT.divide_int(rest, rate)) if rate else None

    def basis(self, tokens: Tokens) -> str:
        """Return the rates that apply to the tokens, as text: `input 3, output 15 USD/Mtok; ORIGIN`."""
        parts = [f"{kind} {plain(_per_million(usd))}" for kind, _, usd in self._parts(tokens)]
        request = self.at(tokens.prompt).request
        more = f", {plain(request)} USD/request" if request else ""
        return f"{', '.join(parts)} USD/Mtok{more}; {self.origin}"

    def _parts(self, tokens: Tokens) -> list[tuple[str, int, Decimal]]:
        rates = self.at(tokens.prompt)
        read = rates.input if rates.cache_read is None else rates.cache_read
        known = [
            ("input", tokens.input, rates.input),
            ("cache read", tokens.cache_read, read),
            ("cache write", tokens.cache_write, rates.cache_write),
            ("cache write 1h", tokens.cache_write_1h, rates.cache_write_1h),
            ("output", tokens.output, rates.output),
        ]
        parts = []
        for kind, count, usd in known:
            if usd is None and count:
                raise self._unknown(kind)
            if usd is not None and (count or kind in ("input", "output")):
                parts.append((kind, count, usd))
        return parts

    def _unknown(self, kind: str) -> PriceUnknown:
        return PriceUnknown(f"{self.origin}: no price for {kind} tokens of {self.model}", model=self.model)


def _per_million(usd: Decimal) -> Decimal:
    return EXACT.normalize(usd.scaleb(6, EXACT))
