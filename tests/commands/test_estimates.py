"""`check`, `reserve` and `run` with a model and its tokens in place of an estimate."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES, Cli
from tests.support.faults import missing

OPENROUTER, LITELLM = str(SAMPLES / "prices" / "openrouter.json"), str(SAMPLES / "prices" / "litellm.json")
# 1,000 x 2 + 500 x 8 millionths of a dollar: $0.006
TOKENS = ("--input-tokens", "1", "--output-tokens", "1")
ONE = ("--model", "gpt-4.1", *TOKENS)
GPT = ("--model", "gpt-4.1", "--prices", LITELLM, "--input-tokens", "1000", "--output-tokens", "500")


def check(cli: Cli, *options: str, code: int = 0) -> dict[str, Any]:
    return cli.json("check", "hermes", *options, code=code)


def test_tokens_are_what_the_call_is_judged_by(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "0.006", "--monthly", "5")
    answer = check(cli, *GPT)
    assert (answer["verdict"], answer["estimate_usd"], answer["max_output_tokens"]) == (
        "allow",
        Decimal("0.006"),
        500,
    )
    assert answer["price"] == "input 2, output 8 USD/Mtok; litellm.json"
    cli("charge", "hermes", "--cost", "0.000001", "--model", "m")
    answer = check(cli, *GPT, code=20)
    assert (answer["max_output_tokens"], answer["estimate_usd"]) == (499, Decimal("0.006"))
    assert answer["reason"].startswith("daily cap $0.0060 would be exceeded")


@pytest.mark.parametrize("source", [("--prices", LITELLM), ()], ids=["document", "installed"])
def test_most_output_that_fits_is_allowed_and_a_token_more_is_not(cli: Cli, source: tuple[str, ...]) -> None:
    cli("set", "hermes", "--per-call", "0.0123457")
    model = ("--model", "gpt-4.1", *source, "--input-tokens", "1000")
    most = check(cli, *model, "--output-tokens", "0")["max_output_tokens"]
    assert most == 1293  # (12,345.7 - 2,000) / 8 = 1,293.2
    assert check(cli, *model, "--output-tokens", str(most))["verdict"] == "allow"
    assert check(cli, *model, "--output-tokens", str(most + 1), code=20)["max_output_tokens"] == most


@pytest.mark.parametrize(
    ("caps", "tokens", "most", "code"),
    [
        ((), ("1000", "500"), None, 0),
        (("--daily", "0"), ("1000", "500"), 0, 20),
        (("--daily", "0.001"), ("1000", "500"), 0, 20),
        (("--daily", "0.002"), ("1000", "0"), 0, 0),
        (("--daily", "1", "--warn-only"), ("1000", "500000"), 124750, 10),
        (("--daily", "1", "--warn-at", "0.5"), ("1000", "70000"), 124750, 10),
        (("--hourly", "5", "--daily", "1", "--per-call", "0.01"), ("1000", "1"), 1000, 0),
    ],
)
def test_most_output_is_what_the_tightest_cap_leaves(
    cli: Cli, caps: tuple[str, ...], tokens: tuple[str, str], most: int | None, code: int
) -> None:
    if caps:
        cli("set", "hermes", *caps)
    model = ("--model", "gpt-4.1", "--prices", LITELLM)
    answer = check(cli, *model, "--input-tokens", tokens[0], "--output-tokens", tokens[1], code=code)
    assert answer["max_output_tokens"] == most


def test_free_output_has_no_most_where_the_input_fits(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "1")
    model = ("--model", "text-embedding-3-small", "--prices", LITELLM, "--output-tokens", "0")
    assert check(cli, *model, "--input-tokens", "1000")["max_output_tokens"] is None
    assert check(cli, *model, "--input-tokens", "1000000000", code=20)["max_output_tokens"] == 0


def test_long_prompt_is_judged_by_its_own_price(cli: Cli) -> None:
    model = ("--model", "anthropic/claude-sonnet-4.5", "--prices", OPENROUTER, "--output-tokens", "1000")
    assert check(cli, *model, "--input-tokens", "200000")["estimate_usd"] == Decimal("0.615")
    assert check(cli, *model, "--input-tokens", "200001")["estimate_usd"] == Decimal("1.222506")


def test_person_reads_the_estimate_and_what_fits_on_stderr(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "1")
    done = cli("check", "hermes", *GPT)
    assert done.stdout == "allow: remaining: daily $1.0000\n"
    assert done.stderr == (
        "estimate $0.0060 (input 2, output 8 USD/Mtok; litellm.json): at most 124750 output tokens fit\n"
    )
    assert cli("check", "hermes", *GPT, "-q").stderr == ""


def test_reserve_sets_the_priced_estimate_aside(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "0.01")
    answer = cli.json("reserve", "hermes", *GPT)
    assert (answer["hold"]["usd"], answer["max_output_tokens"]) == (Decimal("0.006"), 1000)
    assert cli.json("reserve", "hermes", *GPT, code=20)["max_output_tokens"] == 250


def test_reserve_that_fails_leaves_no_hold(cli: Cli) -> None:
    """Embeddings have no price of output: what fits is none, and is no failure once the hold is there."""
    cli("set", "hermes", "--daily", "1")
    model = ("--model", "openai/text-embedding-3-small", "--input-tokens", "1000000", "--output-tokens")
    assert cli.json("reserve", "hermes", *model, "0")["max_output_tokens"] == 0
    assert cli.json("reserve", "hermes", *model, "1", code=65)["error"]["code"] == "price.unknown"
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == Decimal("0.02")


def test_run_books_the_priced_estimate_where_nothing_tells(cli: Cli, ledger: Path) -> None:
    assert cli("run", "hermes", *GPT, "--", "true").returncode == 0
    text = ledger.read_text()
    assert '"cost_usd":0.006,' in text
    assert '"model":"gpt-4.1"' in text
    assert '"cost_source":"estimated","hold_id"' in text
    assert '"price":"input 2, output 8 USD/Mtok; litellm.json"' in text
    assert cli("run", "hermes", *GPT, "--from-stdout", "--", "true").returncode == 0
    assert ledger.read_text().count('"price":"input 2, output 8 USD/Mtok; litellm.json"') == 2


def test_run_that_is_blocked_says_what_would_fit(cli: Cli, ledger: Path) -> None:
    cli("set", "hermes", "--daily", "0.004")
    done = cli("run", "hermes", *GPT, "--json", "--", "echo", "started")
    answer = json.loads(done.stdout)
    assert done.returncode == 20
    assert (answer["verdict"], answer["max_output_tokens"]) == ("block", 250)
    done = cli("run", "hermes", *GPT, "--", "echo", "started")
    assert (done.returncode, done.stdout) == (20, "")
    assert "at most 250 output tokens fit" in done.stderr
    assert not ledger.exists()


def test_run_prices_the_reply_by_the_document_that_is_named(bare: Cli, ledger: Path) -> None:
    reply = str(SAMPLES / "responses" / "openai-chat.json")
    options = ("--estimate", "0.05", "--model", "gpt-4.1", "--from-stdout", "--prices", LITELLM)
    done = bare("run", "hermes", *options, "--", "cat", reply)
    assert done.returncode == 0, done.stderr
    assert '"cost_source":"priced"' in ledger.read_text()


@pytest.mark.parametrize(
    "command", [("check",), ("reserve",), ("run", "--", "touch", "started")], ids=lambda c: c[0]
)
def test_unknown_price_is_no_verdict(
    cli: Cli, ledger: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *rest = command
    done = cli(name, "hermes", "--prices", LITELLM, "--model", "acme/x", *TOKENS, *rest, cwd=tmp_path)
    assert done.returncode == 65
    assert "no price for acme/x" in done.stderr
    assert LITELLM in done.stderr
    assert not ledger.exists()
    assert not (tmp_path / "started").exists()


NO_ESTIMATE = "an estimate is missing: add --estimate USD, or --model, --input-tokens and --output-tokens"
BOTH = "--estimate already is the cost of the call"

BAD = {
    "no tokens": (("--model", "gpt-4.1"), NO_ESTIMATE),
    "no output": (("--model", "gpt-4.1", "--input-tokens", "1"), NO_ESTIMATE),
    "no input": (("--model", "gpt-4.1", "--output-tokens", "1"), NO_ESTIMATE),
    "no model": (TOKENS, NO_ESTIMATE),
    "prices alone": (("--prices", LITELLM), NO_ESTIMATE),
    "estimate and tokens": (("--estimate", "1", "--model", "m", *TOKENS), BOTH),
    "estimate and prices": (("--estimate", "1", "--prices", LITELLM), BOTH),
    "negative tokens": (("--model", "m", "--input-tokens", "-1", "--output-tokens", "1"), "'--input-tokens'"),
    "half a token": (("--model", "m", "--input-tokens", "1", "--output-tokens", "1.5"), "'--output-tokens'"),
    "too many tokens": (("--model", "m", *TOKENS[:3], "9" * 13), "'--output-tokens'"),
    "no document": ((*GPT[:2], "--prices", "/nowhere", *GPT[4:]), "--prices /nowhere: No such file"),
    "an empty document": ((*GPT[:2], "--prices", "", *GPT[4:]), "--prices"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_options_that_do_not_make_an_estimate_are_a_usage_error(cli: Cli, case: str) -> None:
    options, message = BAD[case]
    done = cli("check", "hermes", *options)
    assert done.returncode == 64
    assert message in done.stderr


@pytest.mark.parametrize("command", [("reserve",), ("run", "--", "true")], ids=lambda command: command[0])
@pytest.mark.parametrize("options", [(), ("--estimate", "1", "--input-tokens", "1"), ("--model", "gpt-4.1")])
def test_reserve_and_run_need_an_estimate_too(
    cli: Cli, command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    name, *rest = command
    assert cli(name, "hermes", *options, *rest).returncode == 64


def test_estimate_with_a_model_is_an_estimate(cli: Cli) -> None:
    assert "max_output_tokens" not in check(cli, "--estimate", "1", "--model", "whatever")


def test_bundled_prices_are_read_without_the_network(cli: Cli, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        missing("strace")
    log = tmp_path / "strace.log"
    strace = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=%network")
    assert cli("check", "hermes", *ONE, prefix=strace).returncode == 0
    assert not re.findall(r"AF_INET|sendto", log.read_text())


@pytest.fixture
def bare(cli: Cli, tmp_path: Path) -> Cli:
    """The command where the extra is not installed."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['genai_prices'] = None\n")

    class Bare(Cli):
        def environment(self, **extra: str) -> dict[str, str]:
            return super().environment(PYTHONPATH=str(tmp_path), **extra)

    return Bare(cli.root)


INSTALL = "pip install 'hal0-budget[prices]', or give a price list with --prices FILE"


def test_without_prices_the_line_that_installs_them_is_said(bare: Cli, ledger: Path) -> None:
    for command in (("check", "hermes"), ("reserve", "hermes"), ("run", "hermes")):
        done: subprocess.CompletedProcess[str] = bare(
            *command, *ONE, *(["--", "true"] if "run" in command else [])
        )
        assert (done.returncode, done.stdout) == (64, "")
        assert INSTALL in done.stderr
    assert bare("check", "hermes", *ONE, "--prices", LITELLM).returncode == 0
    assert bare("check", "hermes", "--estimate", "1").returncode == 0
    assert not ledger.exists()


def test_without_prices_a_reply_is_charged_what_it_states_or_refused(bare: Cli, ledger: Path) -> None:
    replies = SAMPLES / "responses"
    done = bare("charge", "hermes", "--from-response", str(replies / "openai-chat.json"))
    assert done.returncode == 65
    assert INSTALL in done.stderr
    assert "openai-chat.json" in done.stderr
    assert "(model gpt-4.1" in done.stderr
    assert not ledger.exists()
    assert bare("charge", "hermes", "--from-response", str(replies / "openrouter-chat.json")).returncode == 0


def test_document_of_any_name_gives_a_row_that_every_reader_reads(
    cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    document = bytes(tmp_path) + b'/\xff"\n.json'
    name = document.decode(errors="surrogateescape")
    Path(name).write_bytes(Path(LITELLM).read_bytes())
    reply = str(SAMPLES / "responses" / "openai-responses.json")
    done = cli("charge", "hermes", "--from-response", reply, "--prices", name)
    assert done.returncode == 0, done.stderr
    jq = subprocess.run(["jq", "-r", ".price"], input=ledger.read_bytes(), capture_output=True, check=True)
    assert jq.stdout.decode() == 'input 1.25, output 10 USD/Mtok; \ufffd"\n.json\n'
