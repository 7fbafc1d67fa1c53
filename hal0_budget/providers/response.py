"""Reads id, model, tokens and cost from the body of a provider's response.

Knows the bodies of OpenRouter, OpenAI (chat and responses), Anthropic (messages), Gemini and xAI, and
what proxies make of them. Guesses no number: a response whose counts contradict each other has no
price. Providers count cached tokens differently; in `Tokens` each token is in one count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from hal0_budget.errors import InvalidReply, ProviderError
from hal0_budget.model.money import add, checked_usd, plain
from hal0_budget.model.tokens import Tokens

_MOST_TOKENS = 10**15
_LONGEST_MESSAGE = 500

# Names of the service tier with the model's normal price, and of regions that do not change the price.
_STANDARD = ("default", "standard", "on_demand")
_ANYWHERE = (None, "global", "not_available")

# Keys whose value is the answer of the model.
_ANSWERS = ("choices", "output", "content", "candidates")

# Output items of the responses shape that are billed by their tokens only. Others may be billed per call.
_BILLED_BY_TOKENS = (
    "message", "reasoning", "function_call", "custom_tool_call", "computer_call", "local_shell_call",
    "apply_patch_call", "mcp_call", "mcp_list_tools", "mcp_approval_request", "compaction",
)  # fmt: skip

_TICKS = 10  # xAI states costs in units of 10**-10 USD.


class Response(NamedTuple):
    """What a response states; None if it does not. The cost is in USD.

    `tier` is the service tier, None for the standard one. `unpriced` names items that are billed outside
    the token counts, and contradictions in the counts. `is_cut` means a stream that ended before its usage.
    """

    request_id: str | None
    model: str | None
    cost: Decimal | None = None
    tokens: Tokens | None = None
    tier: str | None = None
    unpriced: str | None = None
    is_cut: bool = False


def response_of(body: Mapping[str, Any], unpriced: Collection[str] = ()) -> Response:
    """Read the body of a response; `unpriced` names items already known to be billed outside its tokens.

    Raises InvalidReply, ProviderError.
    """
    is_gemini = isinstance(body.get("usageMetadata"), dict)
    usage = body["usageMetadata"] if is_gemini else body.get("usage")
    request_id, model = text_of(body, "id", "responseId"), text_of(body, "model", "modelVersion")
    if not isinstance(usage, dict):
        if not any(body.get(key) for key in _ANSWERS):
            refuse_error(body)
        if usage is not None or not any(key in body for key in _ANSWERS):
            raise InvalidReply("not a response of a provider: it has no usage")
        return Response(request_id, model)
    items = [*unpriced, *unpriced_items(body)]
    cost = _cost(body, usage, items)
    try:
        tokens = (_gemini_tokens if is_gemini else _other_tokens)(usage, items)
    except InvalidReply as error:
        # A stated cost is valid even if the counts are not.
        tokens = None
        items.append(error.message)
    names = ", ".join(dict.fromkeys(items))
    return Response(request_id, model, cost, tokens, _tier(body, usage), names or None)


def unpriced_items(found: Mapping[str, Any]) -> list[str]:
    """Return the names of items in a body, or in an event of a stream, that are billed outside its tokens."""
    unpriced = ["grounding" for item in _objects(found, "candidates") if "groundingMetadata" in item]
    for choice in _objects(found, "choices"):
        for message in (choice.get("message"), choice.get("delta")):
            cited = _objects(message, "annotations") if isinstance(message, dict) else ()
            unpriced += ["searches" for item in cited if item.get("type") == "url_citation"]
    items = [*_objects(found, "output"), *_objects({"item": [found.get("item")]}, "item")]
    unpriced += [str(item.get("type")) for item in items if item.get("type") not in _BILLED_BY_TOKENS]
    return unpriced


def refuse_error(body: Mapping[str, Any]) -> None:
    """Raise ProviderError if a body is an error of the provider."""
    error = body.get("error")
    if not error:
        return
    message = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    what = f" {code}" if isinstance(code, (str, Decimal)) else ""
    text = str(message)[:_LONGEST_MESSAGE]
    raise ProviderError(f"the provider answered with an error{what}, so nothing is charged: {text}")


def text_of(found: Mapping[str, Any], *keys: str) -> str | None:
    """Return the value of the first key that has a non-empty text; None if no key has one."""
    values = (found.get(key) for key in keys)
    return next((value for value in values if value and isinstance(value, str)), None)


def cost_of(value: object, name: str) -> Decimal | None:
    """Return the cost in a value of a response; None for null. Raises InvalidReply if it is not valid."""
    if value is None:
        return None
    try:
        if not isinstance(value, Decimal):
            raise ValueError("not a number")
        return checked_usd(value)
    except ValueError as error:
        raise InvalidReply(f"{name} is not a valid cost: {error}") from None


def one_cost(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    """Return the cost that is stated in one or two places. Raises InvalidReply if the two differ."""
    if first is not None and second is not None and first != second:
        raise InvalidReply(f"the response states two costs, {plain(first)} and {plain(second)}")
    return first if second is None else second


def _cost(body: Mapping[str, Any], usage: Mapping[str, Any], unpriced: list[str]) -> Decimal | None:
    """Return the cost of the whole call; None if the response does not state all of it."""
    cost = one_cost(cost_of(usage.get("cost"), "usage.cost"), cost_of(body.get("cost"), "cost"))
    is_byok = usage.get("is_byok") or False
    if not isinstance(is_byok, bool):
        raise InvalidReply("usage.is_byok is neither true nor false")
    if is_byok:
        # The provider bills this to the operator's own key, in addition to the router's bill.
        details = _details(usage, "cost_details")
        upstream = cost_of(details.get("upstream_inference_cost"), "upstream_inference_cost")
        if cost is None or upstream is None:
            unpriced.append("the router's own fee")
            return None
        return add(cost, upstream)
    if usage.get("cost_in_usd_ticks") is None:
        return cost
    return one_cost(cost, Decimal(_count(usage, "cost_in_usd_ticks")).scaleb(-_TICKS))


def _tier(body: Mapping[str, Any], usage: Mapping[str, Any]) -> str | None:
    """Return the service tier; None for the standard one."""
    found = [text_of(body, "service_tier")]
    found += [text_of(usage, key) for key in ("service_tier", "serviceTier", "trafficType", "speed")]
    tiers = {tier.lower() for tier in found if tier} - set(_STANDARD)
    return "+".join(sorted(tiers)) or None


def _other_tokens(usage: Mapping[str, Any], unpriced: list[str]) -> Tokens | None:
    """Return the tokens in every shape but Gemini's; adds to `unpriced` what they do not cover."""
    unpriced += _unpriced_usage(usage)
    sent_key, output_key = "prompt_tokens", "completion_tokens"
    if usage.get(sent_key) is None:
        sent_key, output_key = "input_tokens", "output_tokens"
    if usage.get(sent_key) is None or _are_missing(usage, output_key, "total_tokens"):
        return None
    sent, output = _count(usage, sent_key), _count(usage, output_key)
    details = _details(usage, f"{sent_key}_details")
    reasoning = _count(_details(usage, f"{output_key}_details"), "reasoning_tokens")
    read = _first(details, "cached_tokens") or _first(
        usage, "cache_read_input_tokens", "prompt_cache_hit_tokens"
    )
    write = _first(details, "cache_write_tokens", "cache_creation_tokens")
    write = write or _first(usage, "cache_creation_input_tokens")
    if sent_key == "input_tokens" and usage.get("input_tokens_details") is None:
        # In the messages shape the input does not include cached tokens.
        sent += read + write
    if usage.get("total_tokens") is not None:
        total = _count(usage, "total_tokens")
        if total == sent + output + reasoning:
            output = total - sent
        elif total != sent + output:
            unpriced.append(f"a total of {total} tokens, but {sent} sent and {output} received")
    if reasoning > output:
        unpriced.append(f"{reasoning} reasoning tokens, but {output} output tokens")
    lasting = _details(usage, "cache_creation") or _details(details, "cache_creation_token_details")
    if lasting and sum(_count(lasting, key) for key in lasting) != write:
        unpriced.append(f"cache writes that do not add up to {write}")
    long = min(_count(lasting, "ephemeral_1h_input_tokens"), write)
    return _tokens(sent, read, write - long, long, output)


def _unpriced_usage(usage: Mapping[str, Any]) -> Iterator[str]:
    """Yield the items of a usage that are billed outside its tokens, or not at the model's price."""
    for kind in ("audio", "image", "video"):
        for key in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
            if _count(_details(usage, f"{key}_details"), f"{kind}_tokens"):
                yield f"{kind} tokens"
    for key in ("num_search_queries", "num_sources_used", "num_server_side_tools_used"):
        if _count(usage, key):
            yield "the provider's tools"
    tools = _details(usage, "server_tool_use")
    if any(_count(tools, key) for key in tools):
        yield "the provider's tools"
    if (place := text_of(usage, "inference_geo")) not in _ANYWHERE:
        yield f"inference in {place}"
    if any(item.get("type") != "message" for item in _objects(usage, "iterations")):
        yield "iterations besides the answer"


def _gemini_tokens(usage: Mapping[str, Any], unpriced: list[str]) -> Tokens | None:
    if _are_missing(usage, "candidatesTokenCount", "totalTokenCount"):
        return None
    sent = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    output = _count(usage, "candidatesTokenCount") + _count(usage, "thoughtsTokenCount")
    if (
        usage.get("totalTokenCount") is not None
        and (total := _count(usage, "totalTokenCount")) != sent + output
    ):
        unpriced.append(f"a total of {total} tokens, but {sent} sent and {output} received")
    for key in ("promptTokensDetails", "toolUsePromptTokensDetails", "cacheTokensDetails"):
        unpriced += ["audio tokens" for part in _objects(usage, key) if part.get("modality") == "AUDIO"]
    modalities = {part.get("modality") for part in _objects(usage, "candidatesTokensDetails")} - {"TEXT"}
    unpriced += [f"{str(kind).lower()} tokens" for kind in modalities]
    return _tokens(sent, _count(usage, "cachedContentTokenCount"), 0, 0, output)


def _tokens(sent: int, read: int, write: int, write_1h: int, output: int) -> Tokens:
    """Return the tokens of a call that sent `sent` in all. Raises InvalidReply if more were cached."""
    cached = read + write + write_1h
    if cached > sent:
        raise InvalidReply(f"{cached} cached tokens, but {sent} tokens sent")
    return Tokens(sent - cached, read, write, write_1h, output)


def _are_missing(usage: Mapping[str, Any], *keys: str) -> bool:
    """Return whether all keys are missing: one missing count is zero only if another one is present."""
    return all(usage.get(key) is None for key in keys)


def _objects(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the objects in the list under a key; empty if there is no list."""
    items = found.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _details(usage: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = usage.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidReply(f"usage.{key} is not an object")
    return value


def _first(found: Mapping[str, Any], *keys: str) -> int:
    return next((_count(found, key) for key in keys if found.get(key) is not None), 0)


def _count(found: Mapping[str, Any], key: str) -> int:
    """Return a number of tokens; 0 if it is null or missing. Raises InvalidReply."""
    value = found.get(key)
    if value is None:
        return 0
    if not isinstance(value, Decimal) or not 0 <= value <= _MOST_TOKENS or value != value.to_integral_value():
        raise InvalidReply(f"{key} is not a number of tokens")
    return int(value)
