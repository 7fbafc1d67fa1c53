"""What a reply says: the shapes of the providers' APIs, and what must never be priced."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from hal0_budget.errors import InvalidReply, ProviderError
from hal0_budget.model.tokens import Tokens
from hal0_budget.providers.response import Response
from hal0_budget.providers.response_stream import read_response


def read(body: Any) -> Response:
    return read_response(json.dumps(body).encode())


def chat(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [], "usage": usage, **more}


def messages(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "m1", "type": "message", "model": "m", "content": [], "usage": usage, **more}


def responses(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "r1", "object": "response", "model": "m", "usage": usage, **more}


def gemini(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"responseId": "g1", "modelVersion": "m", "candidates": [], "usageMetadata": usage, **more}


def two(sent: int, output: int, **more: Any) -> dict[str, Any]:
    """A usage of the chat shape."""
    return {"prompt_tokens": sent, "completion_tokens": output, "total_tokens": sent + output, **more}


def io(sent: int, output: int, **more: Any) -> dict[str, Any]:
    """A usage of the messages shape, and with details of the responses one."""
    return {"input_tokens": sent, "output_tokens": output, **more}


CACHED = {"cached_tokens": 60}
HOUR = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30}

# Each token stands in one count: input, read from a cache, written to one, written for an hour, output.
COUNTED = {
    "chat without a cache": (chat(two(100, 9)), (100, 0, 0, 0, 9)),
    "chat, cached among the input": (chat(two(100, 9, prompt_tokens_details=CACHED)), (40, 60, 0, 0, 9)),
    "chat, written among the input": (
        chat(two(100, 9, prompt_tokens_details={**CACHED, "cache_write_tokens": 30})), (10, 60, 30, 0, 9),
    ),
    "chat, reasoning among the output": (
        chat(two(100, 9, completion_tokens_details={"reasoning_tokens": 5})), (100, 0, 0, 0, 9),
    ),
    "xAI, reasoning beside the output": (
        chat({**two(100, 9), "total_tokens": 159, "completion_tokens_details": {"reasoning_tokens": 50}}),
        (100, 0, 0, 0, 59),
    ),
    "DeepSeek": (
        chat(two(100, 9, prompt_cache_hit_tokens=60, prompt_cache_miss_tokens=40)), (40, 60, 0, 0, 9),
    ),
    "DeepSeek, said twice": (
        chat(two(100, 9, prompt_cache_hit_tokens=60, prompt_tokens_details=CACHED)), (40, 60, 0, 0, 9),
    ),
    "LiteLLM of messages": (
        chat(
            two(
                100, 9, cache_read_input_tokens=60, cache_creation_input_tokens=40,
                prompt_tokens_details={
                    **CACHED, "cache_creation_tokens": 40, "cache_creation_token_details": HOUR,
                },
            )
        ),
        (0, 60, 10, 30, 9),
    ),
    "predicted output": (
        chat(two(10, 9, completion_tokens_details={"rejected_prediction_tokens": 4})), (10, 0, 0, 0, 9),
    ),
    "embeddings": ({"object": "list", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
                   (8, 0, 0, 0, 0)),
    "responses": (
        responses(io(100, 9, total_tokens=109, input_tokens_details=CACHED)), (40, 60, 0, 0, 9),
    ),
    "messages without a cache": (messages(io(100, 9)), (100, 0, 0, 0, 9)),
    "messages, cached beside the input": (
        messages(io(50, 9, cache_read_input_tokens=60, cache_creation_input_tokens=40)), (50, 60, 40, 0, 9),
    ),
    "messages, written for an hour": (
        messages(io(5, 9, cache_creation_input_tokens=40, cache_creation=HOUR)), (5, 0, 10, 30, 9),
    ),
    "messages, whose server says null where it has no details": (
        messages(io(5, 9, cache_read_input_tokens=60, input_tokens_details=None)), (5, 60, 0, 0, 9),
    ),
    "Gemini, thoughts and tools' results": (
        gemini({
            "promptTokenCount": 100, "toolUsePromptTokenCount": 20, "cachedContentTokenCount": 60,
            "candidatesTokenCount": 9, "thoughtsTokenCount": 50, "totalTokenCount": 179,
        }),
        (60, 60, 0, 0, 59),
    ),
    "Gemini that refused the prompt": (
        gemini({"promptTokenCount": 7, "totalTokenCount": 7}, promptFeedback={"blockReason": "SAFETY"}),
        (7, 0, 0, 0, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTED)
def test_each_token_is_counted_once(case: str) -> None:
    body, counts = COUNTED[case]
    reply = read(body)
    assert reply.tokens == Tokens(*counts)
    assert (reply.unpriced, reply.tier, reply.cost, reply.is_cut) == (None, None, None, False)


NINE = {"promptTokenCount": 9, "totalTokenCount": 9}
SEARCH = [{"message": {"annotations": [{"type": "url_citation"}]}}]

# What plain tokens at a model's standard price do not tell: priced as such it would be booked too low.
UNPRICEABLE = {
    "audio": chat(two(9, 9, prompt_tokens_details={"audio_tokens": 4})),
    "audio out": chat(two(9, 9, completion_tokens_details={"audio_tokens": 4})),
    "pictures": responses(io(9, 9, input_tokens_details={"image_tokens": 4})),
    "searches cited": chat(two(9, 9), choices=SEARCH),
    "Perplexity's searches": chat(two(9, 9, num_search_queries=2)),
    "xAI's sources": chat(two(9, 9, num_sources_used=3)),
    "messages' searches": messages(io(9, 9, server_tool_use={"web_search_requests": 1})),
    "messages in one country": messages(io(9, 9, inference_geo="us")),
    "messages that were compacted": messages(io(9, 9, iterations=[{"type": "compaction"}])),
    "responses' searches": responses(io(9, 9), output=[{"type": "web_search_call"}]),
    "responses' tool of tomorrow": responses(io(9, 9), output=[{"type": "teleport_call"}]),
    "Gemini's grounding": gemini(NINE, candidates=[{"groundingMetadata": {}}]),
    "Gemini's pictures": gemini(
        {"promptTokenCount": 9, "candidatesTokenCount": 9, "candidatesTokensDetails": [{"modality": "IMAGE"}]}
    ),
    "Gemini's ears": gemini({**NINE, "promptTokensDetails": [{"modality": "AUDIO"}]}),
    "a total that is not theirs": chat({**two(9, 9), "total_tokens": 99}),
    "a total of nothing": chat({**two(9, 9), "total_tokens": 0}),
    "Gemini's total": gemini({"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 99}),
    "more reasoning than output": chat(two(9, 9, completion_tokens_details={"reasoning_tokens": 50})),
    "more cached than sent": chat(two(9, 9, prompt_tokens_details={"cached_tokens": 10})),
    "Gemini, more cached than sent": gemini({**NINE, "cachedContentTokenCount": 10}),
    "an hour's writes that were not written": messages(io(9, 9, cache_creation=HOUR)),
    "a negative count": chat(two(9, -1)),
    "half a token": chat(two(9, 1) | {"completion_tokens": 1.5}),
    "a text": chat({"prompt_tokens": "9", "completion_tokens": 1}),
    "a truth": chat({"prompt_tokens": True, "completion_tokens": 1}),
    "huge": chat({"prompt_tokens": 10**400, "completion_tokens": 1}),
    "the key of the operator's own": chat(two(9, 9, cost=None, is_byok=True)),
    "a fee alone": chat(two(9, 9, cost=0.1, is_byok=True, cost_details={"upstream_inference_cost": None})),
}  # fmt: skip


@pytest.mark.parametrize("case", UNPRICEABLE)
def test_tokens_that_do_not_tell_the_cost_say_why(case: str) -> None:
    reply = read(UNPRICEABLE[case])
    assert reply.cost is None
    assert reply.unpriced


# A count that is left out is not zero.
LEFT_OUT = {
    "no output": chat({"prompt_tokens": 9}),
    "output of null": chat({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": None}),
    "input of null": chat({"prompt_tokens": None, "completion_tokens": 9, "total_tokens": 9}),
    "messages": messages({"input_tokens": 9}),
    "Gemini": gemini({"promptTokenCount": 9}),
    "Bedrock": {"output": {"message": {}}, "usage": {"inputTokens": 9, "outputTokens": 9}},
    "Cohere": {"id": "x", "usage": {"tokens": {"input_tokens": 9}}},
    "in progress": {"id": "r", "status": "in_progress", "output": [], "usage": None},
    "failed on the way": {
        "id": "c",
        "choices": [{"message": {"content": "par"}}],
        "error": {"code": 502, "message": "gone"},
    },
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_not_said_is_unknown(case: str) -> None:
    reply = read(LEFT_OUT[case])
    assert (reply.cost, reply.tokens) == (None, None)


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        (chat(two(1, 1), service_tier="default"), None),
        (chat(two(1, 1), service_tier="on_demand"), None),
        (chat(two(1, 1), service_tier="priority"), "priority"),
        (chat(two(1, 1), service_tier="flex"), "flex"),
        (chat(two(1, 1), service_tier="auto"), "auto"),
        (messages(io(1, 1, service_tier="standard", speed="standard")), None),
        (messages(io(1, 1, service_tier="batch")), "batch"),
        (messages(io(1, 1, service_tier="standard", speed="fast")), "fast"),
        (messages(io(1, 1, service_tier="priority", speed="fast")), "fast+priority"),
        (gemini({"promptTokenCount": 1, "totalTokenCount": 1, "trafficType": "ON_DEMAND"}), None),
        (
            gemini({"promptTokenCount": 1, "totalTokenCount": 1, "trafficType": "PROVISIONED_THROUGHPUT"}),
            "provisioned_throughput",
        ),
    ],
)
def test_tier_is_named_unless_it_is_the_standard_one(body: dict[str, Any], tier: str | None) -> None:
    assert read(body).tier == tier


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (chat(two(1, 1, cost=0)), "0"),
        (chat(two(1, 1, cost=0.5, is_byok=False, cost_details={"upstream_inference_cost": 0.4})), "0.5"),
        (chat(two(1, 1, cost=0.5, is_byok=True, cost_details={"upstream_inference_cost": 0.4})), "0.9"),
        (chat(two(1, 1, cost=0, is_byok=True, cost_details={"upstream_inference_cost": 0})), "0"),
        (chat(two(9, 9, cost=0.5, prompt_tokens_details={"cached_tokens": 10})), "0.5"),
        (chat(two(9, -9, cost=0.5)), "0.5"),
        (chat(two(9, 9, cost_in_usd_ticks=37756000, num_sources_used=5)), "0.0037756"),
        (messages(io(1, 1, cost=0.5)), "0.5"),
        (chat(two(1, 1), cost=0.5), "0.5"),
        (responses(io(1, 1, cost=0.5), output=[{"type": "web_search_call"}]), "0.5"),
    ],
)
def test_cost_that_the_reply_states_is_the_cost(body: dict[str, Any], cost: str) -> None:
    assert read(body).cost == Decimal(cost)


@pytest.mark.parametrize(
    "usage",
    [
        {"cost": -1}, {"cost": "1"}, {"cost": True}, {"cost": 1e12}, {"cost": {"total_cost": 1}},
        {"cost": 1, "cost_in_usd_ticks": 5}, {"cost_in_usd_ticks": -5}, {"cost": 1, "is_byok": "yes"},
        {"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": -1}},
        {"cost": 1, "is_byok": True, "cost_details": []},
    ],
)  # fmt: skip
def test_cost_that_is_none_or_is_two_is_refused(usage: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply):
        read(chat(two(1, 1, **usage)))


def test_two_places_that_state_one_cost_agree_or_are_refused() -> None:
    assert read(chat(two(1, 1, cost=0.5), cost=0.5)).cost == Decimal("0.5")
    with pytest.raises(InvalidReply, match=r"two costs, 0\.5 and 0\.6"):
        read(chat(two(1, 1, cost=0.5), cost=0.6))
    with pytest.raises(InvalidReply, match="cost is not a valid cost: negative"):
        read(chat(two(1, 1), cost=-0.5))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no", "code": 429}}, {"error": "no"}, {"type": "error", "error": {"type": "x"}},
        [{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}],
        {"id": "r", "status": "failed", "error": {"code": "x"}, "output": [], "usage": None},
    ],
)  # fmt: skip
def test_error_of_the_provider_is_told_apart(body: Any) -> None:
    with pytest.raises(ProviderError, match="so nothing is charged"):
        read(body)


def test_long_error_is_told_in_short() -> None:
    with pytest.raises(ProviderError) as caught:
        read({"error": {"message": "x" * 10**6}})
    assert len(caught.value.message) < 1000


HOSTILE = {
    "empty": b"", "blank": b" \n", "a BOM": b"\xef\xbb\xbf", "HTML": b"<html><h1>502 Bad Gateway</h1>",
    "gzip": b"\x1f\x8b\x08\x00", "binary": bytes(range(256)), "UTF-16": '{"usage":{}}'.encode("utf-16"),
    "a text": b'"x"', "a number": b"5", "null": b"null", "words": b"upstream connect error",
    "headers first": b'HTTP/1.1 200 OK\r\n\r\n{"usage":{}}', "cut": b'{"id":"x","usage":{"cost":0.0',
    "two bodies": b'{"usage":{"cost":1}}{"usage":{"cost":2}}', "lines of bodies": b'{"a":1}\n{"a":2}\n',
    "a key twice": b'{"usage":{"cost":1,"cost":2}}', "NaN": b'{"usage":{"cost":NaN}}',
    "Infinity": b'{"usage":{"cost":Infinity}}', "an exponent": b'{"usage":{"cost":1e999999999999999999999}}',
    "deep": b'{"a":' * 100_000, "deep lists": b"[" * 10**6, "no reply": b'{"hello":"world"}',
    "a list of no chunks": b"[1,2]",
    "usage that is a list": b'{"choices":[],"usage":[]}', "100 MB": b'{"a":"' + b"x" * 100_000_000,
    "100 MB of an event": b"data: " + b"x" * 100_000_000,
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_reply_is_refused(case: str) -> None:
    with pytest.raises(InvalidReply):
        read_response(HOSTILE[case])


BODY = b'{"id":"c1","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def test_body_may_begin_with_a_byte_order_mark_or_blanks() -> None:
    assert read_response(b"\xef\xbb\xbf" + BODY) == read_response(b"\r\n " + BODY) == read_response(BODY)


@pytest.mark.parametrize(
    ("headers", "cost"),
    [
        (b"x-litellm-response-cost: 0.5\n", "0.5"),
        (b"HTTP/2 200\r\nX-LiteLLM-Response-Cost: 5e-05\r\n\r\n", "0.00005"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-litellm-response-cost: 0.5\r\n\r\n", "0.5"),
        (b"HTTP/1.1 503 No\r\nx-litellm-response-cost: 9\r\n\r\nHTTP/1.1 200 OK\r\nserver: x\r\n", None),
        (b"x-litellm-response-cost: 0\n", "0"),
        (b"x-litellm-response-cost: None\nx-name: \xe9\n", None),
        (b"x-litellm-response-cost:\n", None),
        (b"", None),
    ],
)
def test_headers_of_the_last_response_state_the_cost(headers: bytes, cost: str | None) -> None:
    assert read_response(BODY, headers).cost == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize("value", ["-1", "nan", "1,5", "$1", "1\nx-litellm-response-cost: 2"])
def test_cost_in_headers_that_is_none_or_two_is_refused(value: str) -> None:
    with pytest.raises(InvalidReply):
        read_response(BODY, f"x-litellm-response-cost: {value}\n".encode())


def test_headers_of_a_refused_call_are_no_charge() -> None:
    with pytest.raises(ProviderError, match="429"):
        read_response(BODY, b"HTTP/1.1 429 Too Many Requests\r\n")
