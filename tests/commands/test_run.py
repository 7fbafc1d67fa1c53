"""`run`: the child is untouched, its exit code passed on, its money accounted for whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import COMMAND, Cli, kill_group


@pytest.fixture(autouse=True)
def _cap(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "1")


def rows_of(ledger: Path) -> list[dict[str, object]]:
    return [json.loads(line, parse_float=Decimal) for line in ledger.read_text().splitlines()]


def run(cli: Cli, *args: str, estimate: str = "0.4") -> subprocess.CompletedProcess[str]:
    return cli("run", "hermes", "--estimate", estimate, *args)


def test_streams_and_exit_code_of_the_child_pass_through(cli: Cli, ledger: Path) -> None:
    done = cli(
        "run",
        "hermes",
        "--estimate",
        "0.4",
        "-q",
        "--",
        "sh",
        "-c",
        "cat; echo err >&2; exit 7",
        input="in\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")
    (row,) = rows_of(ledger)
    assert (row["cost_usd"], row["cost_source"]) == (Decimal("0.4"), "estimated")


def test_cost_file_says_what_the_call_did_cost(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    cost = tmp_path / "cost"
    done = run(cli, "--cost-file", str(cost), "--model", "gpt", "--", "sh", "-c", f"echo 0.55 > {cost}")
    assert done.returncode == 0
    assert "overrun: the call cost $0.1500 more than was held" in done.stderr
    (row,) = rows_of(ledger)
    assert (row["cost_usd"], row["model"]) == (Decimal("0.55"), "gpt")
    assert "cost_source" not in row


@pytest.mark.parametrize("written", [None, "", "nonsense", "-1", "nan", "stale"])
def test_cost_file_without_a_fresh_number_books_the_estimate_and_says_so(
    cli: Cli, ledger: Path, tmp_path: Path, written: str | None
) -> None:
    cost = tmp_path / "cost"
    if written == "stale":
        cost.write_text("0.01")
    script = "true" if written in (None, "stale") else f"printf '%s' '{written}' > {cost}"
    done = run(cli, "--cost-file", str(cost), "--quiet", "--", "sh", "-c", script)
    assert done.returncode == 0
    assert "the estimate of $0.4000 is booked" in done.stderr
    (row,) = rows_of(ledger)
    assert (row["cost_usd"], row["cost_source"]) == (Decimal("0.4"), "estimated")


def test_blocked_command_is_never_started(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    done = run(cli, "--", "touch", str(tmp_path / "started"), estimate="1.01")
    assert (done.returncode, done.stdout) == (20, "")
    assert done.stderr.startswith("block: daily cap $1.0000 would be exceeded")
    assert not (tmp_path / "started").exists()
    assert not ledger.exists()


@pytest.mark.parametrize(("command", "code"), [("/nonexistent/x", 127), ("/etc/passwd", 126), ("/", 126)])
def test_command_that_cannot_be_started_gives_the_hold_back(cli: Cli, command: str, code: int) -> None:
    done = run(cli, "--", command)
    assert done.returncode == code
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == 0


def test_child_ended_by_a_signal_reads_as_shells_have_it(cli: Cli, ledger: Path) -> None:
    assert run(cli, "--", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert len(rows_of(ledger)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signal_is_forwarded_and_the_call_still_settled(
    cli: Cli, ledger: Path, number: signal.Signals
) -> None:
    script = f"trap 'echo got; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [COMMAND, "run", "hermes", "--estimate", "0.4", "-q", "--", "sh", "-c", script],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.wait(20) == 5
            assert process.stdout.read() == "got\n"
        finally:
            kill_group(process.pid)
    assert [row["cost_usd"] for row in rows_of(ledger)] == [Decimal("0.4")]


def test_money_of_a_killed_run_stays_held_and_is_then_booked(cli: Cli) -> None:
    with subprocess.Popen(
        [
            COMMAND,
            "run",
            "hermes",
            "--estimate",
            "0.4",
            "--ttl",
            "2s",
            "--",
            "sh",
            "-c",
            "echo ready; sleep 1",
        ],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == Decimal("0.4")
    assert cli("verify", "hermes").returncode == 0
    deadline = time.monotonic() + 20
    while cli("verify", "hermes").returncode != 10:
        assert time.monotonic() < deadline
    assert "has expired" in cli("verify", "hermes").stdout
    cli("reserve", "hermes", "--estimate", "0")
    shown = cli.json("show", "hermes")
    assert (shown["unconfirmed_usd"], shown["spend"]["today_usd"]) == (Decimal("0.4"), Decimal("0.4"))
    assert "unconfirmed: $0.4000" in cli("show", "hermes").stdout


def test_settlement_that_fails_leaves_the_hold_and_says_so(cli: Cli, ledger: Path) -> None:
    script = f"rm -f {ledger}; mkdir {ledger}"
    done = run(cli, "--", "sh", "-c", script)
    assert done.returncode == 65
    assert "is not settled" in done.stderr
    os.rmdir(ledger)
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == Decimal("0.4")
