"""Prices from three sources agree with a table by hand; what is no price makes its model unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal0_budget.errors import PriceUnknown, UsageError
from hal0_budget.model.tokens import Tokens
from hal0_budget.providers.price_sources import price_list
from hal0_budget.providers.prices import Price, Rates
from tests.conftest import SAMPLES

OPENROUTER, LITELLM = SAMPLES / "prices" / "openrouter.json", SAMPLES / "prices" / "litellm.json"
AT = datetime(2026, 11, 23, tzinfo=UTC)

SOURCES = {"genai": None, "openrouter": OPENROUTER, "litellm": LITELLM}
GPT = {"genai": "gpt-4.1", "openrouter": "openai/gpt-4.1", "litellm": "gpt-4.1"}
GPT5 = {"genai": "gpt-5", "openrouter": "openai/gpt-5", "litellm": "gpt-5"}
SONNET = {
    "genai": "claude-sonnet-4-5", "openrouter": "anthropic/claude-sonnet-4.5", "litellm": "claude-sonnet-4-5",
}  # fmt: skip
GEMINI = {"genai": "gemini-2.5-pro", "openrouter": "google/gemini-2.5-pro", "litellm": "gemini-2.5-pro"}
SONAR = {"openrouter": "perplexity/sonar-pro", "litellm": "perplexity/sonar-pro"}
QWEN = {"openrouter": "qwen/qwen3-thinking", "litellm": "qwen3-thinking"}

# Which model, its tier, tokens (input, cache read, written, written for an hour, output), and USD by hand.
TABLE = {
    "plain": (GPT, None, (1000, 0, 0, 0, 500), "0.006"),  # .002 + .004
    "cached": (GPT, None, (86, 1920, 0, 0, 300), "0.003532"),  # .000172 + .00096 + .0024
    "one token": (GPT5, None, (1, 0, 0, 0, 0), "0.00000125"),
    "nothing": (GPT5, None, (0, 0, 0, 0, 0), "0"),
    "written": (SONNET, None, (50, 8000, 1000, 0, 400), "0.0123"),  # .00015 + .0024 + .00375 + .006
    "written for an hour": (SONNET, None, (0, 0, 0, 1000, 1), "0.006015"),
    "written for both": (SONNET, None, (10, 20, 30, 40, 50), "0.0011385"),  # 30+6+112.5+240+750 millionths
    "as long as it may be": (SONNET, None, (200000, 0, 0, 0, 1000), "0.615"),  # .6 + .015
    "a token longer": (SONNET, None, (200001, 0, 0, 0, 1000), "1.222506"),  # 1.200006 + .0225
    "long by what is cached": (SONNET, None, (1, 200000, 0, 0, 0), "0.120006"),  # .000006 + .12
    # millionths: .6 + 750,000 + 1,200,000 + 45
    "long by what is written": (SONNET, None, (0, 1, 100000, 100000, 2), "1.9500456"),
    "Gemini, not long": (GEMINI, None, (150000, 50000, 0, 0, 100), "0.19475"),  # .1875 + .00625 + .001
    "Gemini, long": (GEMINI, None, (150001, 50000, 0, 0, 100), "0.3890025"),  # .3750025 + .0125 + .0015
    "flex": ({"genai": "gpt-5", "litellm": "gpt-5"}, "flex", (1000, 1000, 0, 0, 100), "0.0011875"),
    "priority": ({"genai": "gpt-5", "litellm": "gpt-5"}, "priority", (1000, 1000, 0, 0, 100), "0.00475"),
    "a request": (SONAR, None, (100, 0, 0, 0, 100), "0.0078"),  # .006 + .0003 + .0015
    "no discount that is not stated": (SONAR, None, (0, 100, 0, 0, 0), "0.0063"),
    "reasoning dearer than output": (QWEN, None, (0, 0, 0, 0, 100), "0.0004"),
}  # fmt: skip

CASES = [(name, source) for name, (models, *_) in TABLE.items() for source in models]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_price_is_that_of_the_table(name: str, source: str) -> None:
    models, tier, counts, cost = TABLE[name]
    price = price_list(SOURCES[source]).price_of(models[source], tier, AT)
    assert price.cost(Tokens(*counts)) == Decimal(cost)


UNKNOWN = [
    ("genai", "acme/unpriced-9000", None), ("genai", "gpt-5", "scale"), ("genai", "azure/gpt-5", "priority"),
    ("openrouter", "acme/x", None), ("openrouter", "openai/gpt-5", "priority"),
    ("openrouter", "openrouter/auto", None),
    ("openrouter", "", None), ("litellm", "acme/x", None), ("litellm", "gpt-4.1", "flex"),
    ("litellm", "dall-e-3", None), ("litellm", "dashscope/qwen-plus", None), ("litellm", "half-long", None),
    ("litellm", "claude-sonnet-4-5", "priority"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "model", "tier"), UNKNOWN)
def test_model_or_tier_without_a_price_is_unknown(source: str, model: str, tier: str | None) -> None:
    with pytest.raises(PriceUnknown, match="no price for"):
        price_list(SOURCES[source]).price_of(model, tier, AT)


def test_tier_that_starts_later_is_not_the_standard_price() -> None:
    with pytest.raises(PriceUnknown):
        price_list(None).price_of("gpt-5", "priority", datetime(2026, 1, 1, tzinfo=UTC))


def test_slug_finds_a_model_and_an_id_goes_before_it() -> None:
    prices = price_list(OPENROUTER)
    assert prices.price_of("openai/gpt-4.1-2025-04-14", None, AT).rates.input == Decimal("0.000002")
    assert prices.price_of("meta/llama-4", None, AT).rates.input == Decimal("0.0000002")
    assert prices.price_of("meta/llama-4:free", None, AT).rates.input == 0


def test_tokens_of_a_kind_without_a_price_are_not_free() -> None:
    price = price_list(OPENROUTER).price_of("openai/gpt-4.1", None, AT)
    for tokens in (Tokens(cache_write=1), Tokens(cache_write_1h=1)):
        with pytest.raises(PriceUnknown, match="for cache write"):
            price.cost(tokens)


def test_what_a_call_was_priced_at_is_told() -> None:
    price = price_list(OPENROUTER).price_of("perplexity/sonar-pro", None, AT)
    told = price.basis(Tokens(1, 2, 0, 0, 3))
    assert told == "input 3, cache read 3, output 15 USD/Mtok, 0.006 USD/request; openrouter.json"
    assert (
        price_list(None)
        .price_of("gpt-5", None, AT)
        .basis(Tokens())
        .startswith("input 1.25, output 10 USD/Mtok; genai-prices")
    )


def openrouter(**pricing: Any) -> dict[str, Any]:
    good = {"id": "good/m", "pricing": {"prompt": "0.1", "completion": "0.2"}}
    return {
        "data": [good, {"id": "m", "pricing": {"prompt": "0.1", "completion": "0.2", **pricing}}, 5, None]
    }


def litellm(**entry: Any) -> dict[str, Any]:
    good = {"input_cost_per_token": 0.1, "output_cost_per_token": 0.2}
    return {"good/m": good, "m": {**good, **entry}, "none": None, "list": []}


NO_PRICES: tuple[Any, ...] = (
    "-1",
    "",
    "nan",
    "inf",
    "0,1",
    "free",
    None,
    True,
    [],
    {},
    "1e10",
    -1,
    -1e-9,
    1e12,
)

BAD = {
    **{f"prompt {value!r}": openrouter(prompt=value) for value in NO_PRICES},
    **{f"completion {value!r}": openrouter(completion=value) for value in NO_PRICES},
    "cache read": openrouter(input_cache_read="-1"),
    "a request": openrouter(request="-1"),
    "reasoning": openrouter(internal_reasoning="x"),
    "a condition": openrouter(overrides=[{"min_prompt_tokens": 5, "utc_start": "00:00"}]),
    "no condition": openrouter(overrides=[{"prompt": "0.1"}]),
    "half a token": openrouter(overrides=[{"min_prompt_tokens": 1.5, "prompt": "0.1"}]),
    "negative when long": openrouter(overrides=[{"min_prompt_tokens": 5, "prompt": "-1"}]),
    "overrides of another kind": openrouter(overrides=5),
    "pricing of another kind": {"data": [*openrouter()["data"], {"id": "m", "pricing": []}]},
    "a model twice": {"data": [*openrouter()["data"], {"id": "m", "pricing": {"prompt": "9"}}]},
    **{f"input {value!r}": litellm(input_cost_per_token=value) for value in NO_PRICES},
    **{f"output {value!r}": litellm(output_cost_per_token=value) for value in NO_PRICES},
    "input NaN": litellm(input_cost_per_token=float("nan")),
    "output Infinity": litellm(output_cost_per_token=float("inf")),
    "cached": litellm(cache_read_input_token_cost=-1),
    "reasoning of text": litellm(output_cost_per_reasoning_token="x"),
    "long by output alone": litellm(output_cost_per_token_above_200k_tokens=5),
    "negative above": litellm(input_cost_per_token_above_200k_tokens=-5),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_price_makes_its_model_unknown_and_no_other(tmp_path: Path, case: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(BAD[case]))
    prices = price_list(path)
    assert prices.price_of("good/m", None, AT).cost(Tokens(input=1)) == Decimal("0.1")
    with pytest.raises(PriceUnknown, match="no price for m"):
        prices.price_of("m", None, AT)


@pytest.mark.parametrize(
    "text",
    [
        '{"data":[{"id":"m","pricing":{"prompt":"1","prompt":"2","completion":"1"}}]}',
        '{"m":{"input_cost_per_token":1,"output_cost_per_token":1},"m":{"input_cost_per_token":2,"output_cost_per_token":1}}',
        '{"m":{"input_cost_per_token":1,"input_cost_per_token":2,"input_cost_per_token":2,"output_cost_per_token":1}}',
    ],
)  # fmt: skip
def test_price_that_is_said_twice_and_not_alike_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text.replace("{", '{"n":{"input_cost_per_token":1},', 1))
    with pytest.raises(PriceUnknown):
        price_list(path).price_of("m", None, AT)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"[]", b"5", b"null", b"{}", b'{"data":5}', b'{"models":[]}', b"\xff\xfe", b"[" * 10**5,
        b'{"m":{"input_cost_per_token":1e99999999999999999999}}', b"\0" * (64 * 1024 * 1024 + 1),
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_document_without_prices_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(data)
    with pytest.raises(PriceUnknown, match=r"prices\.json"):
        price_list(path).price_of("m", None, AT)


def test_document_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(UsageError, match="--prices"):
            price_list(path)


def test_later_override_holds_for_each_price_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    first = {"min_prompt_tokens": 10, "prompt": "1", "completion": "2"}
    path.write_text(json.dumps(openrouter(overrides=[first, {"min_prompt_tokens": 20, "prompt": "3"}])))
    price = price_list(path).price_of("m", None, AT)
    costs = [price.cost(Tokens(input=prompt, output=1)) for prompt in (9, 10, 19, 20)]
    assert costs == [Decimal("1.1"), 12, 21, 62]


usd = st.decimals(0, 5, places=9)


@given(usd, usd, usd, st.integers(0, 10**6), st.decimals(0, 10**6, places=6))
def test_most_output_that_fits_is_the_inverse_of_the_cost(
    sent: Decimal, back: Decimal, request: Decimal, count: int, left: Decimal
) -> None:
    price = Price("m", "test", Rates(sent, back, request=request))
    tokens = Tokens(input=count)
    most = price.most_output(tokens, left)
    if most is None:
        assert back == 0
        assert price.cost(tokens) <= left
        return
    assert most == 0 or price.cost(tokens._replace(output=most)) <= left
    assert price.cost(tokens._replace(output=most + 1)) > left


def test_output_without_a_price_is_none_that_fits() -> None:
    assert Price("m", "test", Rates(Decimal(1), None)).most_output(Tokens(input=1), Decimal(9)) == 0


def test_cost_beyond_what_money_is_counted_in_is_unknown() -> None:
    with pytest.raises(PriceUnknown, match="out of range"):
        Price("m", "test", Rates(Decimal(10**9), Decimal(1))).cost(Tokens(input=10**12))
