"""What a provider's reply says of its call: its id, its model, its tokens, its cost.

Knows the bodies of OpenRouter, OpenAI (chat and responses), Anthropic (messages) and Gemini, and
what proxies make of them. Reads numbers as they stand and guesses none: a reply that contradicts
itself raises InvalidReply. Where providers count cached tokens differently, `Tokens` has each once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from hal0_budget.errors import InvalidReply, ProviderError
from hal0_budget.money import add, checked_usd, plain
from hal0_budget.tokens import Tokens

_MOST_TOKENS = 10**12

# Service tiers that cost what a model's price says.
_STANDARD = (None, "default", "standard", "auto")

# Output of the responses shape that is billed by the call, beside its tokens.
_BILLED_CALLS = ("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call")


class Reply(NamedTuple):
    """What a reply says; None where it does not. The cost is USD, as the provider states it.

    `tier` is the service tier where it is not the standard one. `beside` names what is billed
    beside the tokens, or cannot be told by them. `is_cut` is a stream that ended before its usage.
    """

    request_id: str | None
    model: str | None
    cost: Decimal | None = None
    tokens: Tokens | None = None
    tier: str | None = None
    beside: str | None = None
    is_cut: bool = False


def reply_of(body: Mapping[str, Any]) -> Reply:
    """What the body of a reply says. Raises InvalidReply, ProviderError."""
    if isinstance(body.get("usageMetadata"), dict):
        return _of_gemini(body)
    usage = body.get("usage")
    if not isinstance(usage, dict):
        refuse_error(body)
        if usage is not None or not any(
            key in body for key in ("choices", "output", "content", "candidates")
        ):
            raise InvalidReply("no reply of a provider: it says nothing of usage")
        return Reply(text_of(body, "id", "responseId"), text_of(body, "model", "modelVersion"))
    tokens, besides = _counted(body, usage)
    cost = _cost(body, usage)
    if cost is None and usage.get("cost") is not None:
        besides.append("the router's own fee")
    tier = text_of(body, "service_tier") or text_of(usage, "service_tier")
    return Reply(
        text_of(body, "id"),
        text_of(body, "model"),
        cost,
        tokens,
        None if tier in _STANDARD else tier,
        ", ".join(besides) or None,
    )


def refuse_error(body: Mapping[str, Any]) -> None:
    """Raise ProviderError where a body is an error of the provider's."""
    error = body.get("error")
    if not error:
        return
    message = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    what = f" {code}" if isinstance(code, (str, Decimal)) else ""
    raise ProviderError(f"the provider answered with an error{what}, which is no charge: {message}")


def text_of(found: Mapping[str, Any], *keys: str) -> str | None:
    """The first of the keys that says something. Raises InvalidReply where it is no text."""
    for key in keys:
        value = found.get(key)
        if value is not None and not isinstance(value, str):
            raise InvalidReply(f"{key} is not a text")
        if value:
            return value
    return None


def cost_of(value: object, name: str) -> Decimal | None:
    """The cost that a reply states, None for null. Raises InvalidReply for what is no cost."""
    if value is None:
        return None
    try:
        if not isinstance(value, Decimal):
            raise ValueError("not a number")
        return checked_usd(value)
    except ValueError as error:
        raise InvalidReply(f"{name} is no cost: {error}") from None


def one_cost(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    """The cost that two places state. Raises InvalidReply where they differ."""
    if first is not None and second is not None and first != second:
        raise InvalidReply(f"the reply states two costs, {plain(first)} and {plain(second)}")
    return first if second is None else second


def _cost(body: Mapping[str, Any], usage: Mapping[str, Any]) -> Decimal | None:
    """The cost of the whole call; None where the reply does not state all of it."""
    cost = cost_of(usage.get("cost"), "usage.cost")
    if cost is None:
        return None
    one_cost(cost, cost_of(body.get("cost"), "cost"))
    is_byok = usage.get("is_byok") or False
    if not isinstance(is_byok, bool):
        raise InvalidReply("usage.is_byok is neither true nor false")
    if not is_byok:
        return cost
    # The provider bills the operator's own key for this, beside what the router bills.
    upstream = cost_of(
        _details(usage, "cost_details").get("upstream_inference_cost"), "upstream_inference_cost"
    )
    return None if upstream is None else add(cost, upstream)


def _counted(body: Mapping[str, Any], usage: Mapping[str, Any]) -> tuple[Tokens | None, list[str]]:
    """The tokens of every shape but Gemini's, and what is billed beside them."""
    besides = _besides(body, usage)
    if "prompt_tokens" in usage:
        sent, output = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        details = _details(usage, "prompt_tokens_details")
        read = _first(details, "cached_tokens") or _first(usage, "cache_read_input_tokens")
        write = _first(details, "cache_write_tokens", "cache_creation_tokens")
        write = write or _first(usage, "cache_creation_input_tokens")
        reasoning = _count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    elif "input_tokens" in usage:
        sent, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        details = _details(usage, "input_tokens_details")
        read, write = _first(details, "cached_tokens"), _first(details, "cache_write_tokens")
        reasoning = _count(_details(usage, "output_tokens_details"), "reasoning_tokens")
        if "input_tokens_details" not in usage:
            # The messages shape counts what was cached beside the input, not as a part of it.
            read, write = (
                _first(usage, "cache_read_input_tokens"),
                _first(usage, "cache_creation_input_tokens"),
            )
            sent += read + write
    else:
        return None, besides
    total = _count(usage, "total_tokens") or sent + output
    if total == sent + output + reasoning:
        output = total - sent
    elif total != sent + output:
        besides.append(f"{total} tokens in all, which {sent} and {output} are not")
    long = min(_count(_details(usage, "cache_creation"), "ephemeral_1h_input_tokens"), write)
    if read + write > sent:
        raise InvalidReply(f"{read + write} cached tokens, but {sent} tokens sent")
    return Tokens(sent - read - write, read, write - long, long, output), besides


def _besides(body: Mapping[str, Any], usage: Mapping[str, Any]) -> list[str]:
    details = (
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
    )
    found = [
        f"{kind} tokens"
        for kind in ("audio", "image", "video")
        if any(_count(_details(usage, key), f"{kind}_tokens") for key in details)
    ]
    tools = _details(usage, "server_tool_use")
    if any(_count(tools, key) for key in tools) or _count(usage, "num_search_queries"):
        found.append("tools of the provider's")
    output = body.get("output")
    items = output if isinstance(output, list) else []
    found += sorted(
        {item["type"] for item in items if isinstance(item, dict) and item.get("type") in _BILLED_CALLS}
    )
    return found


def _of_gemini(body: Mapping[str, Any]) -> Reply:
    usage = body["usageMetadata"]
    sent = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    output = _count(usage, "candidatesTokenCount") + _count(usage, "thoughtsTokenCount")
    read = _count(usage, "cachedContentTokenCount")
    if read > sent:
        raise InvalidReply(f"{read} cached tokens, but {sent} tokens sent")
    besides = []
    if (total := _count(usage, "totalTokenCount") or sent + output) != sent + output:
        besides.append(f"{total} tokens in all, which {sent} and {output} are not")
    for key in ("promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails"):
        parts = usage.get(key)
        for part in parts if isinstance(parts, list) else []:
            kind = part.get("modality") if isinstance(part, dict) else None
            if kind == "AUDIO" or (kind == "IMAGE" and key == "candidatesTokensDetails"):
                besides.append(f"{kind.lower()} tokens")
    candidates = body.get("candidates")
    if isinstance(candidates, list) and any(
        isinstance(item, dict) and "groundingMetadata" in item for item in candidates
    ):
        besides.append("grounding")
    tokens = Tokens(sent - read, read, 0, 0, output)
    return Reply(
        text_of(body, "responseId"),
        text_of(body, "modelVersion"),
        None,
        tokens,
        None,
        ", ".join(besides) or None,
    )


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
    """A number of tokens; what is null or left out is none. Raises InvalidReply."""
    value = found.get(key)
    if value is None:
        return 0
    if not isinstance(value, Decimal) or not 0 <= value <= _MOST_TOKENS or value != value.to_integral_value():
        raise InvalidReply(f"{key} is not a number of tokens")
    return int(value)
