"""What a provider's reply says of its call: its id, its model, its tokens, its cost.

Knows the bodies of OpenRouter, OpenAI (chat and responses), Anthropic (messages), Gemini and xAI, and
what proxies make of them. Reads numbers as they stand and guesses none: counts that contradict each
other leave the reply without a price. Where providers count cached tokens differently, `Tokens` has
each once.
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

# What providers call the tier that costs what a model's price says.
_STANDARD = ("default", "standard", "on_demand")
_ANYWHERE = (None, "global", "not_available")

# What an answer stands in.
_ANSWERS = ("choices", "output", "content", "candidates")

# Output of the responses shape that costs its tokens alone. Whatever else there is may be billed by the call.
_BILLED_BY_TOKENS = (
    "message", "reasoning", "function_call", "custom_tool_call", "computer_call", "local_shell_call",
    "apply_patch_call", "mcp_call", "mcp_list_tools", "mcp_approval_request", "compaction",
)  # fmt: skip

_TICKS = 10  # decimal places of a dollar that xAI counts in


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


def reply_of(body: Mapping[str, Any], apart: Collection[str] = ()) -> Reply:
    """What the body of a reply says; `apart` is what else is known to be billed beside its tokens.

    Raises InvalidReply, ProviderError.
    """
    is_gemini = isinstance(body.get("usageMetadata"), dict)
    usage = body["usageMetadata"] if is_gemini else body.get("usage")
    request_id, model = text_of(body, "id", "responseId"), text_of(body, "model", "modelVersion")
    if not isinstance(usage, dict):
        if not any(body.get(key) for key in _ANSWERS):
            refuse_error(body)
        if usage is not None or not any(key in body for key in _ANSWERS):
            raise InvalidReply("no reply of a provider: it says nothing of usage")
        return Reply(request_id, model)
    besides = [*apart, *billed_apart(body)]
    cost = _cost(body, usage, besides)
    try:
        tokens = (_of_gemini if is_gemini else _counted)(usage, besides)
    except InvalidReply as error:
        # A cost that is stated holds, whatever the counts beside it are.
        tokens = None
        besides.append(error.message)
    told = ", ".join(dict.fromkeys(besides))
    return Reply(request_id, model, cost, tokens, _tier(body, usage), told or None)


def billed_apart(found: Mapping[str, Any]) -> list[str]:
    """What a body or an event of a stream shows that is billed beside its tokens."""
    apart = ["grounding" for item in _objects(found, "candidates") if "groundingMetadata" in item]
    for choice in _objects(found, "choices"):
        for message in (choice.get("message"), choice.get("delta")):
            cited = _objects(message, "annotations") if isinstance(message, dict) else ()
            apart += ["searches" for item in cited if item.get("type") == "url_citation"]
    items = [*_objects(found, "output"), *_objects({"item": [found.get("item")]}, "item")]
    apart += [str(item.get("type")) for item in items if item.get("type") not in _BILLED_BY_TOKENS]
    return apart


def refuse_error(body: Mapping[str, Any]) -> None:
    """Raise ProviderError where a body is an error of the provider's."""
    error = body.get("error")
    if not error:
        return
    message = error.get("message") if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    what = f" {code}" if isinstance(code, (str, Decimal)) else ""
    told = str(message)[:_LONGEST_MESSAGE]
    raise ProviderError(f"the provider answered with an error{what}, which is no charge: {told}")


def text_of(found: Mapping[str, Any], *keys: str) -> str | None:
    """The first of the keys that says something in words; None where none does."""
    said = (found.get(key) for key in keys)
    return next((value for value in said if value and isinstance(value, str)), None)


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


def _cost(body: Mapping[str, Any], usage: Mapping[str, Any], besides: list[str]) -> Decimal | None:
    """The cost of the whole call; None where the reply does not state all of it."""
    cost = one_cost(cost_of(usage.get("cost"), "usage.cost"), cost_of(body.get("cost"), "cost"))
    is_byok = usage.get("is_byok") or False
    if not isinstance(is_byok, bool):
        raise InvalidReply("usage.is_byok is neither true nor false")
    if is_byok:
        # The provider bills the operator's own key for this, beside what the router bills.
        details = _details(usage, "cost_details")
        upstream = cost_of(details.get("upstream_inference_cost"), "upstream_inference_cost")
        if cost is None or upstream is None:
            besides.append("the router's own fee")
            return None
        return add(cost, upstream)
    if usage.get("cost_in_usd_ticks") is None:
        return cost
    return one_cost(cost, Decimal(_count(usage, "cost_in_usd_ticks")).scaleb(-_TICKS))


def _tier(body: Mapping[str, Any], usage: Mapping[str, Any]) -> str | None:
    """The service tier; None for the standard one."""
    told = [text_of(body, "service_tier")]
    told += [text_of(usage, key) for key in ("service_tier", "serviceTier", "trafficType", "speed")]
    tiers = {tier.lower() for tier in told if tier} - set(_STANDARD)
    return "+".join(sorted(tiers)) or None


def _counted(usage: Mapping[str, Any], besides: list[str]) -> Tokens | None:
    """The tokens of every shape but Gemini's; what they do not tell goes to `besides`."""
    besides += _billed_beside(usage)
    sent_key, output_key = "prompt_tokens", "completion_tokens"
    if usage.get(sent_key) is None:
        sent_key, output_key = "input_tokens", "output_tokens"
    if usage.get(sent_key) is None or _is_left_out(usage, output_key, "total_tokens"):
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
        # The messages shape counts what was cached beside the input, not as a part of it.
        sent += read + write
    if usage.get("total_tokens") is not None:
        total = _count(usage, "total_tokens")
        if total == sent + output + reasoning:
            output = total - sent
        elif total != sent + output:
            besides.append(f"{total} tokens in all, which {sent} and {output} are not")
    if reasoning > output:
        besides.append(f"{reasoning} tokens of reasoning, but {output} of output")
    lasting = _details(usage, "cache_creation") or _details(details, "cache_creation_token_details")
    if lasting and sum(_count(lasting, key) for key in lasting) != write:
        besides.append(f"cache writes that are not {write} in all")
    long = min(_count(lasting, "ephemeral_1h_input_tokens"), write)
    return _tokens(sent, read, write - long, long, output)


def _billed_beside(usage: Mapping[str, Any]) -> Iterator[str]:
    """What a usage says was billed beside its tokens, or at another price than the model's."""
    for kind in ("audio", "image", "video"):
        for key in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
            if _count(_details(usage, f"{key}_details"), f"{kind}_tokens"):
                yield f"{kind} tokens"
    for key in ("num_search_queries", "num_sources_used", "num_server_side_tools_used"):
        if _count(usage, key):
            yield "tools of the provider's"
    tools = _details(usage, "server_tool_use")
    if any(_count(tools, key) for key in tools):
        yield "tools of the provider's"
    if (place := text_of(usage, "inference_geo")) not in _ANYWHERE:
        yield f"inference in {place}"
    if any(item.get("type") != "message" for item in _objects(usage, "iterations")):
        yield "iterations beside the answer's"


def _of_gemini(usage: Mapping[str, Any], besides: list[str]) -> Tokens | None:
    if _is_left_out(usage, "candidatesTokenCount", "totalTokenCount"):
        return None
    sent = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    output = _count(usage, "candidatesTokenCount") + _count(usage, "thoughtsTokenCount")
    if (
        usage.get("totalTokenCount") is not None
        and (total := _count(usage, "totalTokenCount")) != sent + output
    ):
        besides.append(f"{total} tokens in all, which {sent} and {output} are not")
    for key in ("promptTokensDetails", "toolUsePromptTokensDetails", "cacheTokensDetails"):
        besides += ["audio tokens" for part in _objects(usage, key) if part.get("modality") == "AUDIO"]
    made = {part.get("modality") for part in _objects(usage, "candidatesTokensDetails")} - {"TEXT"}
    besides += [f"{str(kind).lower()} tokens" for kind in made]
    return _tokens(sent, _count(usage, "cachedContentTokenCount"), 0, 0, output)


def _tokens(sent: int, read: int, write: int, write_1h: int, output: int) -> Tokens:
    """The tokens of a call that sent so many in all. Raises InvalidReply where they contradict it."""
    cached = read + write + write_1h
    if cached > sent:
        raise InvalidReply(f"{cached} cached tokens, but {sent} tokens sent")
    return Tokens(sent - cached, read, write, write_1h, output)


def _is_left_out(usage: Mapping[str, Any], *keys: str) -> bool:
    """Whether nothing is said of any of the keys: a count that is left out is zero only by another."""
    return all(usage.get(key) is None for key in keys)


def _objects(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects in a list; none where there is no list."""
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
    """A number of tokens; what is null or left out is none. Raises InvalidReply."""
    value = found.get(key)
    if value is None:
        return 0
    if not isinstance(value, Decimal) or not 0 <= value <= _MOST_TOKENS or value != value.to_integral_value():
        raise InvalidReply(f"{key} is not a number of tokens")
    return int(value)
