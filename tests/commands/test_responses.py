"""`charge --from-response`: every sample of a provider's reply, with the row that it must give."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES, Cli

RESPONSES = SAMPLES / "responses"


def row(
    request_id: str, model: str, cost: str, source: str, counts: str = "", price: str = ""
) -> dict[str, Any]:
    """The keys of a row but for `ts`; `counts` are input, read from a cache, written to one, output."""
    found: dict[str, Any] = {
        "persona_id": "hermes",
        "surface": "cli",
        "model": model,
        "cost_usd": Decimal(cost),
        "request_id": request_id,
        "cost_source": source,
    }
    if price:
        found["price"] = f"{price} USD/Mtok; genai-prices "
    names = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    return found | dict(zip(names, map(Decimal, counts.split()), strict=bool(counts)))


SONNET, GPT = "claude-3-7-sonnet-20250219", "gpt-4.1-2025-04-14"

# Costs by hand, at the provider's prices a million tokens.
ROWS = {
    # 50 x 3 + 8,000 x 0.30 + 1,000 x 3.75 + 400 x 15
    "anthropic-messages.json": row(
        "msg_01XFD", SONNET, "0.0123", "priced", "50 8000 1000 400",
        "input 3, cache read 0.3, cache write 3.75, output 15",
    ),
    # 25 x 3 + 15 x 15: the counts are cumulative, and the last is 15
    "anthropic-stream.sse": row("msg_01STR", SONNET, "0.0003", "priced", "25 0 0 15", "input 3, output 15"),
    # 1,200 x 1.25 + (800 + 50 of thoughts) x 10
    "gemini.json": row("gmn-1", "gemini-2.5-pro", "0.01", "priced", "1200 0 0 850", "input 1.25, output 10"),
    # (2,006 - 1,920) x 2 + 1,920 x 0.50 + 300 x 8
    "openai-chat.json": row(
        "chatcmpl-Bx1", GPT, "0.003532", "priced", "86 1920 0 300", "input 2, cache read 0.5, output 8"
    ),
    # 60 x 1.25 + 20 x 10
    "openai-responses-stream.sse": row(
        "resp_s1", "gpt-5", "0.000275", "priced", "60 0 0 20", "input 1.25, output 10"
    ),
    # 1,200 x 1.25 + 800 x 10, reasoning among them
    "openai-responses.json": row(
        "resp_67cb", "gpt-5", "0.0095", "priced", "1200 0 0 800", "input 1.25, output 10"
    ),
    # 100 x 2 + 10 x 8
    "openai-stream.sse": row("chatcmpl-S1", GPT, "0.00028", "priced", "100 0 0 10", "input 2, output 8"),
    # what the router bills and what the provider bills for the operator's own key
    "openrouter-byok.json": row("gen-1764001002-ByK", "openai/gpt-4.1", "0.00189", "reported", "500 0 0 100"),
    "openrouter-chat.json": row(
        "gen-1764001001-AbC", "anthropic/claude-3.7-sonnet", "0.0156", "reported", "1200 0 0 800"
    ),
    # 500 x 2 + 100 x 8: a cost of null is none
    "openrouter-cost-null.json": row(
        "gen-1764001003-Nul", "openai/gpt-4.1", "0.0018", "priced", "500 0 0 100", "input 2, output 8"
    ),
    "openrouter-stream.sse": row(
        "gen-1764001010-Str", "anthropic/claude-3.7-sonnet", "0.0003", "reported", "40 0 0 12"
    ),
}  # fmt: skip

REFUSED = {
    "anthropic-stream-aborted.sse": ("price.unknown", "the stream ended before its usage"),
    "openrouter-stream-aborted.sse": ("price.unknown", "the stream ended before its usage"),
    "provider-error.json": (
        "reply.error", "the provider answered with an error 429, so nothing is charged: Rate limit exceeded"
    ),
    "unknown-model.json": ("price.unknown", "no price for acme/unpriced-9000"),
}  # fmt: skip

HEADERS = {"litellm.headers"}


def written(ledger: Path) -> list[dict[str, Any]]:
    """The rows of a ledger without their times."""
    rows = [
        json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in ledger.read_text().splitlines()
    ]
    for found in rows:
        del found["ts"]
        if "price" in found:
            found["price"] = re.sub(r"[0-9.]+$", "", found["price"])
    return rows


def charge(cli: Cli, sample: str | Path, *options: str, code: int = 0) -> dict[str, Any]:
    return cli.json("charge", "hermes", "--from-response", str(RESPONSES / sample), *options, code=code)


def test_no_sample_is_left_out() -> None:
    assert {path.name for path in RESPONSES.iterdir()} == {*ROWS, *REFUSED, *HEADERS}


@pytest.mark.parametrize("sample", ROWS)
def test_reply_gives_exactly_this_row_once(cli: Cli, ledger: Path, sample: str) -> None:
    answer = charge(cli, sample)
    assert written(ledger) == [ROWS[sample]]
    answered = {key: value for key, value in answer["row"].items() if key not in ("ts", "price")}
    assert answered.items() <= ROWS[sample].items()
    assert answer["spend"]["lifetime_usd"] == ROWS[sample]["cost_usd"]
    assert not answer["was_recorded"]
    assert charge(cli, sample)["was_recorded"]
    assert written(ledger) == [ROWS[sample]]


@pytest.mark.parametrize("sample", REFUSED)
def test_reply_without_a_charge_is_refused_and_nothing_written(cli: Cli, ledger: Path, sample: str) -> None:
    code, message = REFUSED[sample]
    error = charge(cli, sample, code=65)["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert error["message"].startswith(str(RESPONSES / sample))
    assert not ledger.exists()


@pytest.mark.parametrize("sample", [name for name in REFUSED if name != "provider-error.json"])
@pytest.mark.parametrize(("option", "source"), [("--estimate", "estimated"), ("--cost", None)])
def test_what_to_book_can_be_said_where_the_reply_does_not_tell(
    cli: Cli, ledger: Path, sample: str, option: str, source: str | None
) -> None:
    done = cli("charge", "hermes", "--from-response", str(RESPONSES / sample), option, "0.05")
    assert done.returncode == 0
    assert "is booked" in done.stderr
    (found,) = written(ledger)
    assert (found["cost_usd"], found.get("cost_source")) == (Decimal("0.05"), source)
    assert found["request_id"] in (RESPONSES / sample).read_text()


def test_error_of_the_provider_is_no_charge_whatever_the_fallback(cli: Cli, ledger: Path) -> None:
    charge(cli, "provider-error.json", "--estimate", "0.05", "--cost", "0.05", code=65)
    assert not ledger.exists()


@pytest.mark.parametrize("sample", ["openrouter-chat.json", "openai-chat.json"])
def test_fallback_is_not_asked_where_the_reply_tells(cli: Cli, ledger: Path, sample: str) -> None:
    charge(cli, sample, "--estimate", "7", "--cost", "8")
    assert written(ledger) == [ROWS[sample]]


def test_cost_given_goes_before_an_estimate(cli: Cli, ledger: Path) -> None:
    charge(cli, "unknown-model.json", "--estimate", "7", "--cost", "8")
    assert written(ledger)[0]["cost_usd"] == 8


def test_reply_without_an_id_is_known_by_its_bytes(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.json"
    for cost in ("0.1", "0.1", "0.2"):
        reply.write_text(f'{{"model":"m","choices":[],"usage":{{"cost":{cost}}}}}')
        charge(cli, reply)
    assert [found["cost_usd"] for found in written(ledger)] == [Decimal("0.1"), Decimal("0.2")]


@pytest.mark.parametrize("name", [5, None, [], "", "x" * 1025, "\ud800"], ids=repr)
def test_cost_is_charged_whatever_the_reply_calls_itself(
    cli: Cli, ledger: Path, tmp_path: Path, name: object
) -> None:
    reply = tmp_path / "reply.json"
    reply.write_text(json.dumps({"id": name, "model": name, "choices": [], "usage": {"cost": 0.5}}))
    charge(cli, reply)
    (found,) = written(ledger)
    assert (found["cost_usd"], found["model"]) == (Decimal("0.5"), "unknown")
    assert found["request_id"].startswith("reply-")


def test_reply_comes_from_stdin(cli: Cli, ledger: Path) -> None:
    with (RESPONSES / "openrouter-stream.sse").open() as stdin:
        assert cli("charge", "hermes", "--from-response", "-", stdin=stdin).returncode == 0
    assert written(ledger) == [ROWS["openrouter-stream.sse"]]


def test_headers_of_a_proxy_say_the_cost(cli: Cli, ledger: Path) -> None:
    charge(cli, "openai-chat.json", "--headers", str(RESPONSES / "litellm.headers"))
    (found,) = written(ledger)
    assert (found["cost_usd"], found["cost_source"]) == (Decimal("0.00021"), "reported")
    assert found["request_id"] == "chatcmpl-Bx1"


def test_proxy_names_the_call_where_the_reply_does_not(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.json"
    reply.write_text('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    charge(cli, reply, "--headers", str(RESPONSES / "litellm.headers"), "--model", "acme/x")
    (found,) = written(ledger)
    assert (found["request_id"], found["model"], found["cost_usd"]) == (
        "8a2c-77",
        "acme/x",
        Decimal("0.00021"),
    )


def test_two_costs_that_differ_are_refused(cli: Cli, ledger: Path) -> None:
    headers = ("--headers", str(RESPONSES / "litellm.headers"))
    error = charge(cli, "openrouter-chat.json", *headers, "--estimate", "1", code=65)["error"]
    assert error["code"] == "reply.invalid"
    assert "states two costs, 0.0156 and 0.00021" in error["message"]
    assert not ledger.exists()


@pytest.mark.parametrize(("cost", "booked"), [("0", "0"), ("0.0", "0"), ("null", "0.0018")])
def test_cost_of_zero_is_zero_and_null_is_unknown(
    cli: Cli, ledger: Path, tmp_path: Path, cost: str, booked: str
) -> None:
    reply = tmp_path / "reply.json"
    text = (RESPONSES / "openrouter-cost-null.json").read_text()
    reply.write_text(text.replace('"cost": null', f'"cost": {cost}'))
    charge(cli, reply)
    assert written(ledger)[0]["cost_usd"] == Decimal(booked)


@pytest.mark.parametrize("cost", ["-0.1", "NaN", "1e400", '"0.1"'])
def test_cost_that_is_none_is_refused_and_nothing_written(
    cli: Cli, ledger: Path, tmp_path: Path, cost: str
) -> None:
    reply = tmp_path / "reply.json"
    text = (RESPONSES / "openrouter-cost-null.json").read_text()
    reply.write_text(text.replace('"cost": null', f'"cost": {cost}'))
    assert charge(cli, reply, "--estimate", "1", code=65)["error"]["code"] == "reply.invalid"
    assert not ledger.exists()


def test_reply_without_an_end_is_refused_in_little_memory(cli: Cli, ledger: Path) -> None:
    command = ("charge", "hermes", "--from-response", "-", "--estimate", "1")
    with open("/dev/zero") as endless:
        done = cli(*command, prefix=("prlimit", "--as=250000000"), stdin=endless)
    assert done.returncode == 65
    assert "-: the response is longer than 33554432 bytes" in done.stderr
    assert not ledger.exists()


def test_reply_settles_a_hold_and_says_what_went_over(cli: Cli, ledger: Path) -> None:
    cli("set", "hermes", "--daily", "1")
    cli("reserve", "hermes", "--estimate", "0.01", "--hold-id", "h1")
    answer = charge(cli, "openrouter-chat.json", "--hold", "h1", "--surface", "openrouter")
    assert (answer["overrun_usd"], answer["row"]["hold_id"]) == (Decimal("0.0056"), "h1")
    assert answer["windows"][1]["held_usd"] == 0
    assert written(ledger) == [ROWS["openrouter-chat.json"] | {"hold_id": "h1", "surface": "openrouter"}]


def test_model_that_the_operator_names_is_what_is_priced(cli: Cli, ledger: Path) -> None:
    charge(cli, "unknown-model.json", "--model", "gpt-4.1")
    (found,) = written(ledger)
    assert (found["model"], found["cost_usd"]) == ("gpt-4.1", Decimal("0.00006"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from-response", "/nowhere/x"), "No such file"),
        (("--from-response", "/"), "a folder"),
        (("--from-response", "-", "--headers", "-"), "cannot both be stdin"),
        (("--from-response", "x", "--batch", "y"), "--batch must be the only charge"),
        (("--cost", "1", "--model", "m", "--headers", "x"), "need --from-response"),
        (("--cost", "1", "--model", "m", "--estimate", "1"), "need --from-response"),
        (("--cost", "1", "--model", "m", "--prices", "x"), "need --from-response"),
        (("--from-response", "-", "--estimate", "nan"), "--estimate 'nan' is not an amount"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_a_usage_error(
    cli: Cli, ledger: Path, options: tuple[str, ...], message: str
) -> None:
    done = cli("charge", "hermes", *options, input="")
    assert done.returncode == 64
    assert message in done.stderr
    assert not ledger.exists()
