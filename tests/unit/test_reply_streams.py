"""Streamed replies: the last count holds, and a stream that was cut never passes for a smaller call."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal0_budget.errors import BudgetError, InvalidReply, ProviderError
from hal0_budget.model.tokens import Tokens
from hal0_budget.providers.response import Response
from hal0_budget.providers.response_stream import read_response
from tests.conftest import SAMPLES

DONE = "[DONE]"


def sse(*events: Any, end: str = "\n") -> bytes:
    lines = (event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in events)
    return "".join(f"data: {line}{end}{end}" for line in lines).encode()


def chunk(
    text: str | None = None, *, reason: str | None = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    """A chunk of a chat."""
    choices = [{"index": index, "delta": {"content": text}, "finish_reason": reason}]
    return {"id": "c1", "model": "m", "choices": choices, **more}


def two(sent: int, output: int, **more: Any) -> dict[str, Any]:
    return {
        "usage": {"prompt_tokens": sent, "completion_tokens": output, "total_tokens": sent + output, **more}
    }


def last(sent: int, output: int, **more: Any) -> dict[str, Any]:
    """The chunk of usage that follows a chat's last choice."""
    return {"id": "c1", "model": "m", "choices": [], **two(sent, output, **more)}


def part(output: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of Gemini's."""
    usage = {"promptTokenCount": 5, "candidatesTokenCount": output, "totalTokenCount": 5 + output}
    candidate = {
        "content": {"parts": [{"text": "é"}]},
        **({"finishReason": reason} if reason else {}),
        **more,
    }
    return {"responseId": "g1", "modelVersion": "m", "candidates": [candidate], "usageMetadata": usage}


GEMINI = [part(1), part(4), part(9, "STOP")]

STREAMS = {
    **{path.name: path.read_bytes() for path in sorted((SAMPLES / "responses").glob("*.sse"))},
    "vLLM, usage in every chunk": sse(
        chunk("a", **two(5, 1)), chunk("b", **two(5, 2)), chunk(reason="stop", **two(5, 3)), last(5, 3), DONE
    ),
    "vLLM, two choices": sse(
        chunk("a", **two(5, 1)), chunk("b", index=1, **two(5, 2)), chunk(reason="stop", **two(5, 3)),
        chunk("c", index=1, **two(5, 4)), chunk(reason="stop", index=1, **two(5, 5)), last(5, 5), DONE,
    ),
    "two choices, usage at the end": sse(
        chunk("a"), chunk("b", index=1), chunk(reason="stop"), chunk(reason="stop", index=1), last(5, 5), DONE
    ),
    "Azure": sse({"id": "", "model": "", "choices": []}, chunk("a"), last(5, 5), DONE),
    "letters of several bytes": sse(chunk("naïve 🙂"), last(5, 5), DONE),
    "CRLF": sse(chunk("a"), last(5, 5), DONE, end="\r\n"),
    "CR": sse(chunk("a"), last(5, 5), DONE, end="\r"),
    "a byte order mark and comments": b"\xef\xbb\xbf: hi\n\nretry: 5\n\n" + sse(chunk("a"), last(5, 5), DONE),
    "data in several lines": b'event: x\ndata: {"id":"c1",\ndata: "choices":[],\nid: 7\n'
    b'data: "usage":{"prompt_tokens":5,"completion_tokens":5}}\n\ndata:[DONE]\n\n',
    "Gemini": sse(*GEMINI),
    "Gemini as a list": json.dumps(GEMINI, indent=1).encode(),
}  # fmt: skip


def outcome(data: bytes) -> Response | None:
    """What is read of it; None where it is refused."""
    try:
        return read_response(data)
    except BudgetError:
        return None


@pytest.mark.parametrize("name", STREAMS)
def test_stream_cut_at_any_byte_is_whole_or_cut_or_refused(name: str) -> None:
    data = STREAMS[name]
    whole = read_response(data)
    for size in range(len(data)):
        reply = outcome(data[:size])
        if reply is not None and reply != whole:
            assert reply.is_cut, (size, data[:size][-80:])
            assert (reply.cost, reply.tokens) == (None, None)


@pytest.mark.parametrize("name", [name for name in STREAMS if "aborted" not in name])
def test_whole_stream_has_its_last_counts(name: str) -> None:
    reply = read_response(STREAMS[name])
    assert not reply.is_cut
    assert reply.tokens is not None
    assert reply.unpriced is None
    if name.startswith("vLLM, usage"):
        assert reply.tokens == Tokens(input=5, output=3)
    elif name.startswith("Gemini"):
        assert reply.tokens == Tokens(input=5, output=9)
    elif not name.endswith(".sse"):
        assert reply.tokens == Tokens(input=5, output=5)


@given(st.integers(1, 50), st.integers(0, 10**6), st.integers(0, 10**6), st.data())
def test_chat_streams_of_any_length_cut_anywhere(
    chunks: int, sent: int, output: int, data: st.DataObject
) -> None:
    events = [chunk("x", **two(sent, min(number, output))) for number in range(chunks)]
    text = sse(*events, chunk(reason="stop", **two(sent, output)), last(sent, output, cost=0.5), DONE)
    reply = outcome(text[: data.draw(st.integers(0, len(text)))])
    assert reply is None or reply.is_cut or reply == read_response(text)


ABOUT = {"id": "msg_1", "model": "m", "content": []}
START = {
    "type": "message_start",
    "message": {**ABOUT, "usage": {"input_tokens": 10, "cache_read_input_tokens": 7, "output_tokens": 1}},
}


def delta(output: int, reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    usage = {"output_tokens": output, **more}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


@pytest.mark.parametrize(
    ("deltas", "tokens"),
    [
        ([delta(3, None), delta(9)], Tokens(10, 7, output=9)),
        ([delta(9, input_tokens=50)], Tokens(50, 7, output=9)),
        ([delta(9, cache_read_input_tokens=None)], Tokens(10, 7, output=9)),
        ([delta(9, input_tokens=10, cache_read_input_tokens=8)], Tokens(10, 8, output=9)),
    ],
)
def test_counts_of_messages_are_cumulative(deltas: list[Any], tokens: Tokens) -> None:
    assert read_response(sse(START, *deltas, {"type": "message_stop"})).tokens == tokens


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_responses_stream_ends_with_its_usage(kind: str) -> None:
    usage = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
    opened = {"type": "response.created", "response": {"id": "r1", "model": "m", "service_tier": "auto"}}
    ended = {"type": kind, "response": {"id": "r1", "service_tier": "default", "usage": usage}}
    reply = read_response(sse(opened, ended))
    assert (reply.tokens, reply.tier, reply.model) == (Tokens(input=5, output=5), None, "m")
    assert read_response(sse(opened)).is_cut


USED = {"input_tokens": 5, "output_tokens": 5}

# What was billed beside the tokens shows in one event, and the usage comes in another.
APART = {
    "grounding": sse(part(1, groundingMetadata={}), part(9, "STOP")),
    "citations": sse(
        {"id": "c1", "choices": [{"delta": {"annotations": [{"type": "url_citation"}]}}]}, last(5, 5), DONE
    ),
    "a search": sse(
        {"type": "response.output_item.done", "item": {"type": "web_search_call"}},
        {"type": "response.completed", "response": {"usage": USED}},
    ),
    "tools": sse(START, delta(9, server_tool_use={"web_search_requests": 2})),
    "counts that fall": sse(chunk("a", **two(90, 10)), last(50, 5), DONE),
    "messages' counts that fall": sse(START, delta(9, input_tokens=3)),
}


@pytest.mark.parametrize("case", APART)
def test_stream_that_was_billed_for_more_than_its_tokens_says_so(case: str) -> None:
    assert read_response(APART[case]).unpriced


ONE = sse(chunk("a"), last(5, 5), DONE)

JOINED = {
    "chats": ONE + ONE.replace(b"c1", b"c2"),
    "chats of one id": ONE + ONE,
    "chats without ids": (ONE + ONE).replace(b'"id": "c1", ', b""),
    "chats without an end": ONE.replace(b"data: [DONE]\n\n", b"") + ONE.replace(b"c1", b"c2"),
    "messages": sse(START, delta(9), START, delta(2)),
    "responses": b"".join(
        sse({"type": "response.completed", "response": {"id": name, "usage": USED}}) for name in ("r1", "r2")
    ),
    "kinds": sse(START, delta(9)) + ONE,
    "Gemini's": sse(*GEMINI) + sse(*GEMINI).replace(b"g1", b"g2"),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_streams_one_after_another_are_refused(case: str) -> None:
    with pytest.raises(InvalidReply, match="more than one response"):
        read_response(JOINED[case])


@pytest.mark.parametrize(
    "event",
    ["{", "5", "[1]", '{"a":1,"a":2}', '{"usage":{"cost":NaN}}', '{"a":' * 10_000, "<html>"],
)
def test_event_that_is_none_is_refused(event: str) -> None:
    with pytest.raises(InvalidReply):
        read_response(sse(chunk("a"), event, last(5, 5), DONE))


def test_error_first_is_the_providers_and_error_on_the_way_is_a_cut() -> None:
    error = {"error": {"message": "overloaded", "code": 529}}
    with pytest.raises(ProviderError):
        read_response(sse(error, DONE))
    with pytest.raises(ProviderError):
        read_response(json.dumps([error]).encode())
    assert read_response(sse(chunk("a"), error)).is_cut
    assert read_response(sse(START, {"type": "error", **error})).is_cut
    assert read_response(json.dumps([part(1), error]).encode()).is_cut


def test_stream_without_usage_is_cut_however_it_ends() -> None:
    assert read_response(sse(chunk("a"), chunk(reason="stop"), DONE)).is_cut


def test_headers_of_a_stream_that_were_sent_too_early_say_nothing() -> None:
    zero, some = b"x-litellm-response-cost: 0.0\n", b"x-litellm-response-cost: 0.5\n"
    assert read_response(ONE, zero).cost is None
    assert read_response(ONE, some).cost == Decimal("0.5")
    assert read_response(sse(chunk("a")), zero).is_cut
