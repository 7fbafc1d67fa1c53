"""Sources of prices: a price list in a file, or the data in the package genai-prices.

Nothing here uses the network. A price that is missing, negative or not a number counts as unknown, and
so does the price of a model with a condition that this program does not know.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from hal0_budget.errors import PriceUnknown, UsageError
from hal0_budget.inputs import read_source
from hal0_budget.model.money import EXACT, ZERO, checked_usd, parse_usd
from hal0_budget.providers.prices import Price, Rates

_LONGEST = 64 * 1024 * 1024
_MOST_TOKENS = 10**15

# The keys for our rates in OpenRouter's /models, in LiteLLM's price list, and in genai-prices (_GENAI).
_OPENROUTER = {
    "input": "prompt",
    "output": "completion",
    "cache_read": "input_cache_read",
    "cache_write": "input_cache_write",
    "cache_write_1h": "input_cache_write_1h",
    "request": "request",
}
# Other keys that are prices. They do not make an override conditional.
_OPENROUTER_MORE = (
    "internal_reasoning", "web_search", "discount", "image", "image_token", "image_output",
    "audio", "audio_output", "input_audio_cache",
)  # fmt: skip
_LITELLM = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "request": "input_cost_per_request",
}
_GENAI = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "request": "requests_kcount",
    "reasoning": "output_reasoning_mtok",
}


class PriceList(Protocol):
    """A source of prices."""

    def price_of(self, model: str, tier: str | None, at: datetime) -> Price:
        """Return the price of a model in a service tier (None: the standard tier) at a time.

        Raises PriceUnknown.
        """


def price_list(document: Path | None) -> PriceList:
    """Return the prices in the file `document`, or, for None, those of genai-prices.

    Raises UsageError if the file cannot be read or genai-prices is not installed; PriceUnknown if the
    file is not a price list.
    """
    return _Bundled() if document is None else _from_document(document)


def _from_document(path: Path) -> PriceList:
    data = read_source("--prices", str(path), _LONGEST)
    try:
        if len(data) > _LONGEST:
            raise ValueError("too long")
        found = json.loads(data, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_without_conflicts)
    except (ValueError, ArithmeticError, RecursionError):
        raise PriceUnknown(f"{path}: not a JSON price list", path=str(path)) from None
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        return _OpenRouter(path, found["data"])
    if isinstance(found, dict) and any(
        isinstance(entry, dict) and _LITELLM["input"] in entry for entry in found.values()
    ):
        return _LiteLLM(path, found)
    raise PriceUnknown(
        f"{path}: not a price list: neither OpenRouter's /models "
        "nor LiteLLM's model_prices_and_context_window.json",
        path=str(path),
    )


class _OpenRouter:
    """A saved response of OpenRouter's /models: texts of USD per token."""

    def __init__(self, path: Path, models: list[Any]) -> None:
        self._path = path
        self._models = [model for model in models if isinstance(model, dict)]

    def price_of(self, model: str, tier: str | None, at: datetime) -> Price:
        """See `PriceList`. `at` is ignored: the prices are those of the time when the file was saved."""
        del at
        # Variants of a model, such as a free one, share a slug.
        found = [entry for entry in self._models if entry.get("id") == model]
        found = found or [entry for entry in self._models if entry.get("canonical_slug") == model]
        try:
            if len(found) != 1 or tier is not None:
                raise ValueError
            return self._price(model, found[0]["pricing"])
        except (KeyError, TypeError, AttributeError, ValueError):
            raise _unknown(model, tier, str(self._path)) from None

    def _price(self, model: str, pricing: Mapping[str, Any]) -> Price:
        overrides = pricing.get("overrides") or ()
        for override in overrides:
            if set(override) - {"min_prompt_tokens", *_OPENROUTER.values(), *_OPENROUTER_MORE}:
                raise ValueError("a condition that is not known")
        long = []
        for least in sorted({_whole(override["min_prompt_tokens"]) for override in overrides}, reverse=True):
            # If several overrides apply, the last one that has a key counts.
            applied = [override for override in overrides if override["min_prompt_tokens"] <= least]
            merged = {key: usd for override in applied for key, usd in override.items()}
            long.append((least - 1, _openrouter_rates({**pricing, **merged})))
        return Price(model, _origin(self._path), _openrouter_rates(pricing), tuple(long))


def _openrouter_rates(pricing: Mapping[str, Any]) -> Rates:
    return _with_reasoning(
        _with_output(_rates(pricing, _OPENROUTER)), _usd(pricing.get("internal_reasoning"))
    )


class _LiteLLM:
    """LiteLLM's model_prices_and_context_window.json: numbers of USD per token."""

    def __init__(self, path: Path, models: Mapping[str, Any]) -> None:
        self._path = path
        self._models = models

    def price_of(self, model: str, tier: str | None, at: datetime) -> Price:
        """See `PriceList`. `at` is ignored: the prices are those of the time when the file was saved."""
        del at
        entry = self._models.get(model) or self._models.get(f"openrouter/{model}")
        try:
            return self._price(model, entry or {}, "" if tier is None else f"_{tier}")
        except (KeyError, TypeError, AttributeError, ValueError):
            raise _unknown(model, tier, str(self._path)) from None

    def _price(self, model: str, entry: Mapping[str, Any], tier: str) -> Price:
        if any(key.endswith("_pricing") for key in entry):
            raise ValueError("a condition that is not known")
        names = {kind: f"{name}{tier}" for kind, name in _LITELLM.items()}
        names["request"] = _LITELLM["request"]
        above = re.compile(rf"(?:{'|'.join(_LITELLM.values())})_above_([0-9]+)k_tokens")
        sizes = {int(found[1]) for key in entry if (found := above.match(key))}
        long = []
        for size in sorted(sizes, reverse=True):
            above_size = {
                names[kind]: entry[key]
                for kind, name in _LITELLM.items()
                if (key := f"{name}_above_{size}k_tokens{tier}") in entry
            }
            if names["input"] not in above_size:
                raise ValueError("no price")
            long.append((size * 1000, _litellm_rates({**entry, **above_size}, names)))
        return Price(model, _origin(self._path), _litellm_rates(entry, names), tuple(long))


def _litellm_rates(entry: Mapping[str, Any], names: Mapping[str, str]) -> Rates:
    return _with_reasoning(
        _with_output(_rates(entry, names)), _usd(entry.get("output_cost_per_reasoning_token"))
    )


class _Bundled:
    """The prices in the package genai-prices."""

    def __init__(self) -> None:
        try:
            # Slow to import, and optional.
            import genai_prices
        except ImportError:
            raise UsageError(
                "no prices are installed: pip install 'hal0-budget[prices]', "
                "or give a price list with --prices FILE"
            ) from None
        self._package = genai_prices
        self._origin = f"genai-prices {genai_prices.__version__}"

    def price_of(self, model: str, tier: str | None, at: datetime) -> Price:
        """See `PriceList`. `PROVIDER/MODEL` is OpenRouter's name, or else MODEL of that provider."""
        provider, _, name = model.rpartition("/")
        places = [("openrouter", model), (provider, name)] if provider else [(None, model)]
        for provider_id, reference in places:
            try:
                found = self._package.calc_price(
                    self._package.Usage(),
                    reference,
                    provider_id=provider_id,
                    genai_request_timestamp=at,
                    price_context=None if tier is None else {"service_tier": tier},
                )
            except LookupError:
                continue
            # The package returns the standard price for a tier that it does not know.
            if tier is None or found.model_price != found.model.get_prices(at):
                return self._price(model, found.model_price)
        raise _unknown(model, tier, self._origin)

    def _price(self, model: str, prices: Any) -> Price:
        found = {kind: getattr(prices, key) for kind, key in _GENAI.items()}
        starts = {tier.start for price in found.values() for tier in getattr(price, "tiers", ())}
        try:
            rates = _genai_rates(found, 0)
            long = [(start, _genai_rates(found, start + 1)) for start in sorted(starts, reverse=True)]
        except (KeyError, TypeError, ValueError):
            raise _unknown(model, None, self._origin) from None
        return Price(model, self._origin, rates, tuple(long))


def _genai_rates(found: Mapping[str, Any], prompt: int) -> Rates:
    rates = {}
    for kind, price in found.items():
        tiers = [tier for tier in getattr(price, "tiers", ()) if prompt > tier.start]
        usd = tiers[-1].price if tiers else getattr(price, "base", price)
        rates[kind] = None if usd is None else usd.scaleb(-3 if kind == "request" else -6, EXACT)
    return _with_reasoning(_rates(rates, {kind: kind for kind in rates}), rates["reasoning"])


def _rates(found: Mapping[str, Any], names: Mapping[str, str]) -> Rates:
    """Return the rates that `found` has under `names`. Raises ValueError, KeyError for an invalid price."""
    usd = {kind: _usd(found.get(name)) for kind, name in names.items()}
    if usd["input"] is None:
        raise ValueError("no price")
    return Rates(
        usd["input"],
        usd["output"],
        usd["cache_read"],
        usd["cache_write"],
        usd["cache_write_1h"],
        usd["request"] or ZERO,
    )


def _with_reasoning(rates: Rates, reasoning: Decimal | None) -> Rates:
    """Return the rates with the higher of the prices of output and of reasoning, which is part of it."""
    if rates.output is None or reasoning is None:
        return rates
    return rates._replace(output=max(rates.output, reasoning))


def _with_output(rates: Rates) -> Rates:
    """Return the rates. Raises ValueError if output has none."""
    if rates.output is None:
        raise ValueError("no price")
    return rates


def _whole(value: object) -> int:
    if not isinstance(value, Decimal) or value != value.to_integral_value() or not 0 < value < _MOST_TOKENS:
        raise ValueError("not a number of tokens")
    return int(value)


def _origin(path: Path) -> str:
    """Return the name of a file as text that a row can hold."""
    return os.fsencode(path.name).decode(errors="replace")


def _usd(value: object) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, str):
        return parse_usd(value)
    if not isinstance(value, Decimal):
        raise ValueError("not a number")
    return checked_usd(value)


def _without_conflicts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object in which duplicate keys with different values are None."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = value if found.get(key, value) == value else None
    return found


def _unknown(model: str, tier: str | None, origin: str) -> PriceUnknown:
    what = model if tier is None else f"{model} in service tier {tier}"
    return PriceUnknown(f"{origin}: no price for {what}", model=model, prices=origin)
