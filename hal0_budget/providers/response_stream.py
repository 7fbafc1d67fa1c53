"""Reads a provider's response from its bytes: one JSON body, or the events of a stream."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from hal0_budget.errors import InvalidReply, ProviderError
from hal0_budget.model.money import ZERO, parse_usd
from hal0_budget.providers.response import (
    Response,
    one_cost,
    refuse_error,
    response_of,
    text_of,
    unpriced_items,
)
from hal0_budget.strict_json import Unreadable, parse_json

# Longer than any response, pictures included. Longer data is refused before it is parsed.
MAX_RESPONSE = 32 * 1024 * 1024

_EVENT_LINE = re.compile(r"(?:data|event|id|retry)?:")
_COST_HEADER = "x-litellm-response-cost"
_ID_HEADER = "x-litellm-call-id"
_REFUSED = 400  # HTTP's first status of a call that failed
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_CHUNK = {"candidates", "usageMetadata", "promptFeedback", "error"}
_KEPT = ("id", "model", "responseId", "modelVersion", "usage", "usageMetadata", "service_tier", "error")


def read_response(data: bytes, headers: bytes | None = None) -> Response:
    """Read a response: a JSON body or server-sent events, and optionally its headers.

    Raises InvalidReply with the reason; ProviderError if the provider refused the call.
    """
    response, is_stream = _read(data)
    if headers is None:
        return response
    cost, call_id = _of_headers(headers.decode("latin-1"))
    if is_stream and cost == ZERO:
        # A proxy sends the headers of a stream before it knows the cost.
        cost = None
    return response._replace(cost=one_cost(response.cost, cost), request_id=response.request_id or call_id)


def _read(data: bytes) -> tuple[Response, bool]:
    if len(data) > MAX_RESPONSE:
        raise InvalidReply(f"the response is longer than {MAX_RESPONSE} bytes")
    text = _text(data).lstrip()
    if not text:
        raise InvalidReply("the response is empty")
    if text[0] in "{[":
        try:
            body = parse_json(text.encode())
        except Unreadable as error:
            raise InvalidReply(f"the response is cut or damaged: {error}") from None
        return (_of_events(_chunks(body)), True) if isinstance(body, list) else (response_of(body), False)
    if _EVENT_LINE.match(text):
        return _of_events(_events(text)), True
    what = "an HTML page, perhaps a proxy's error page" if text[0] == "<" else "neither JSON nor events"
    raise InvalidReply(f"not a response: {what}")


def _chunks(found: list[Any]) -> list[Any]:
    """Return the chunks of Gemini's stream, which is one list."""
    if not all(isinstance(chunk, dict) and _CHUNK & set(chunk) for chunk in found):
        raise InvalidReply("the response is a list, but not a list of Gemini's chunks")
    return found


def _text(data: bytes) -> str:
    """Return the text of a response, without an incomplete last character."""
    try:
        text, _ = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError as error:
        raise InvalidReply(
            f"the response is not UTF-8 at byte {error.start}; is it compressed or binary?"
        ) from None
    return text.removeprefix("\ufeff")


def _events(text: str) -> Iterator[Any]:
    """Yield the data of each event, None for `[DONE]`; skips the last event if it is incomplete."""
    is_cut = not text.endswith(("\n\n", "\r\n\r\n", "\r\r"))
    events = [event for event in re.split(r"\r\n\r\n|\n\n|\r\r", text) if event.strip()]
    for number, event in enumerate(events, start=1):
        lines = [line[5:].removeprefix(" ") for line in re.split(r"\r\n|\n|\r", event) if line[:5] == "data:"]
        data = "\n".join(lines)
        if data == "[DONE]":
            yield None
        elif data:
            try:
                yield parse_json(data.encode())
            except Unreadable as error:
                if is_cut and number == len(events):
                    return
                raise InvalidReply(f"event {number} of the stream: {error}") from None


def _of_events(events: Iterable[Any]) -> Response:
    """Combine the events of a stream into a response. Counts are cumulative: the last ones are final."""
    body: dict[str, Any] = {}
    unpriced: list[str] = []
    is_whole = is_done = began = False
    for event in events:
        if is_done:
            raise InvalidReply("the events belong to more than one response")
        if event is None:
            is_done = True
            continue
        if not isinstance(event, dict):
            raise InvalidReply("an event of the stream is not an object")
        before = _counts(body)
        is_whole = _add_event(body, event) or is_whole
        began = began or not event.get("error")
        unpriced += unpriced_items(event)
        after = _counts(body)
        if any(after.get(key, count) < count for key, count in before.items()):
            unpriced.append("token counts that decreased")
    if not began:
        refuse_error(body)
    if _counts(body) and (is_whole or is_done):
        return response_of(body, unpriced)
    return Response(text_of(body, "id", "responseId"), text_of(body, "model", "modelVersion"), is_cut=True)


def _counts(body: dict[str, Any]) -> dict[str, Decimal]:
    usage = body.get("usage") or body.get("usageMetadata")
    found = usage.items() if isinstance(usage, dict) else ()
    return {key: value for key, value in found if isinstance(value, Decimal)}


def _add_event(body: dict[str, Any], event: dict[str, Any]) -> bool:
    """Add an event to the body of the response; return whether it makes the usage final."""
    kind = event.get("type")
    if kind == "message_start" and isinstance(event.get("message"), dict):
        if body:
            raise InvalidReply("the events belong to more than one response")
        body.update(event["message"])
        return False
    if kind == "message_delta":
        usage = event.get("usage")
        if isinstance(usage, dict):
            known = body.get("usage")
            new = {key: value for key, value in usage.items() if value is not None}
            body["usage"] = {**(known if isinstance(known, dict) else {}), **new}
        delta = event.get("delta")
        return isinstance(delta, dict) and delta.get("stop_reason") is not None
    response = event.get("response")
    if isinstance(response, dict):
        _check_same(body, response)
        body.update({key: value for key, value in response.items() if value is not None})
        return kind in _ENDS
    _check_same(body, event)
    # Some servers send counts in every chunk; then the end of the first choice is not the end of all.
    is_first = event.get("usage") is not None and "usage" not in body
    body.update({key: event[key] for key in _KEPT if event.get(key) not in (None, "")})
    if event.get("choices") == []:
        return event.get("usage") is not None
    return (is_first and _has_ended(event, "choices", "finish_reason")) or _has_ended(
        event, "candidates", "finishReason"
    )


def _check_same(body: dict[str, Any], event: dict[str, Any]) -> None:
    """Raise InvalidReply if an event belongs to another response."""
    for key in ("id", "responseId"):
        if body.get(key) and event.get(key) and body[key] != event[key]:
            raise InvalidReply("the events belong to more than one response")


def _has_ended(chunk: dict[str, Any], key: str, reason: str) -> bool:
    """Return whether every choice, or candidate, in a chunk has a reason why it ended."""
    items = chunk.get(key)
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and item.get(reason) is not None for item in items)
    )


def _of_headers(text: str) -> tuple[Any, str | None]:
    """Return the cost and the call id in response headers; those of the last response in `text`."""
    block = re.split(r"\r?\n\r?\n", text.strip())[-1]
    lines = re.split(r"\r?\n", block)
    status = re.match(r"HTTP/\S+ ([0-9]{3})(?![0-9])", lines[0])
    if status and int(status[1]) >= _REFUSED:
        raise ProviderError(f"the provider answered with status {status[1]}, so nothing is charged")
    cost, call_id = None, None
    for line in lines:
        name, found, value = (part.strip() for part in line.partition(":"))
        if found and name.lower() == _COST_HEADER and value not in ("", "None"):
            try:
                cost = one_cost(cost, parse_usd(value))
            except ValueError as error:
                raise InvalidReply(f"{_COST_HEADER} is not a valid cost: {error}") from None
        elif found and name.lower() == _ID_HEADER:
            call_id = value or None
    return cost, call_id
