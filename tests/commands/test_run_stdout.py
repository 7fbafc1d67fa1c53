"""`run --from-stdout`: the output passes as if `run` were not there, and its reply is what is charged."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMAND, SAMPLES, Cli, kill_group

RESPONSES = SAMPLES / "responses"
CHAT = str(RESPONSES / "openrouter-chat.json")
MEMORY = 180_000_000  # bytes of addresses, with all libraries
RUN = ("run", "hermes", "--estimate", "0.05", "--from-stdout")


@pytest.fixture(autouse=True)
def _cap(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "1")


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in ledger.read_text().splitlines()]


def run(cli: Cli, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return cli(*RUN, "--", *command, **options)


def shell(cli: Cli, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(cli, "sh", "-c", script, **options)


@contextmanager
def running(cli: Cli, script: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`run` of a shell script, its stdout a pipe."""
    command = [str(COMMAND), *RUN, "--", "sh", "-c", script]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, **more}
    with subprocess.Popen(command, env=cli.environment(), process_group=0, **streams) as process:
        try:
            yield process
        finally:
            kill_group(process.pid)


def held(cli: Cli) -> Decimal:
    found: Decimal = cli.json("show", "hermes")["windows"][1]["held_usd"]
    return found


@pytest.mark.parametrize("sample", ["openrouter-chat.json", "openrouter-stream.sse", "anthropic-stream.sse"])
def test_reply_passes_through_and_is_what_is_charged(cli: Cli, ledger: Path, sample: str) -> None:
    done = run(cli, "cat", str(RESPONSES / sample))
    assert (done.returncode, done.stdout) == (0, (RESPONSES / sample).read_text())
    (row,) = rows_of(ledger)
    assert row["request_id"] in done.stdout
    assert row["cost_usd"] == Decimal("0.0156" if "chat" in sample else "0.0003")
    assert row["cost_source"] == ("priced" if "anthropic" in sample else "reported")
    assert row["hold_id"].startswith("hold_")
    assert f"request {row['request_id']}" in done.stderr
    assert held(cli) == 0


def test_cost_over_the_hold_is_said(cli: Cli) -> None:
    done = cli(*RUN[:3], "0.01", "--from-stdout", "--", "cat", CHAT)
    assert "overrun: the call cost $0.0056 more than was held" in done.stderr


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", "the response is empty"),
        ("printf hello", "neither JSON nor events"),
        ("echo '<html>502</html>'; exit 22", "an HTML page"),
        (f"head -c 300 {CHAT}", "the response is cut or damaged"),
        (f"cat {CHAT} {CHAT}", "the response is cut or damaged"),
        (f"cat {RESPONSES}/openrouter-stream-aborted.sse", "the stream ended"),
        (f"cat {RESPONSES}/unknown-model.json", "no price for acme/unpriced-9000"),
        ("head -c 40000000 /dev/zero", "longer than 33554432 bytes"),
        (f"cat {CHAT}; kill -9 $$", None),
        (f"head -c 400 {CHAT}; kill -9 $$", "the response is cut or damaged"),
    ],
)
def test_what_does_not_tell_its_cost_books_the_estimate_and_says_why(
    cli: Cli, ledger: Path, script: str, why: str | None
) -> None:
    plain = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    done: Any = shell(cli, script, text=False)
    code = plain.returncode if plain.returncode >= 0 else 128 - plain.returncode
    assert (done.returncode, done.stdout) == (code, plain.stdout)
    (row,) = rows_of(ledger)
    if why is None:
        assert row["cost_usd"] == Decimal("0.0156")
        return
    assert (row["cost_usd"], row["cost_source"]) == (Decimal("0.05"), "estimated")
    assert why in str(done.stderr)
    assert "estimate is booked" in str(done.stderr)
    assert held(cli) == 0


def test_error_of_the_provider_gives_the_hold_back(cli: Cli, ledger: Path) -> None:
    done = shell(cli, f"cat {RESPONSES}/provider-error.json; exit 22")
    assert (done.returncode, done.stdout) == (22, (RESPONSES / "provider-error.json").read_text())
    assert "the provider answered with an error 429" in done.stderr
    assert "the hold is released" in done.stderr
    assert not ledger.exists()
    assert held(cli) == 0


def test_hold_that_cannot_be_given_back_is_said_and_the_exit_code_stays(cli: Cli, ledger: Path) -> None:
    script = f"rm -rf {ledger.parent}; touch {ledger.parent}; cat {RESPONSES}/provider-error.json; exit 22"
    done = shell(cli, script)
    assert done.returncode == 22
    assert "was not released" in done.stderr


def test_output_of_any_bytes_and_size_is_untouched_in_flat_memory(
    cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    script = (
        "import os, hashlib\n"
        "for n in range(1600): os.write(1, hashlib.sha256(b'%d' % n).digest() * 2048)\n"
        "os.write(1, b'no newline')"
    )
    command = (sys.executable, "-c", script)
    wanted = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert len(wanted) > 100_000_000
    out = tmp_path / "out"
    with out.open("wb") as file:
        options = {"capture_output": False, "stdout": file, "prefix": ("prlimit", f"--as={MEMORY}")}
        assert run(cli, *command, **options).returncode == 0
    assert out.read_bytes() == wanted
    assert rows_of(ledger)[0]["cost_source"] == "estimated"


def test_output_that_does_not_wait_for_its_reader_is_whole(cli: Cli, ledger: Path) -> None:
    """A shell's or a server's pipe may be one whose writers are told to come again when it is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with running(cli, f"cat {CHAT}; head -c 300000 /dev/zero", stdout=writer) as process:
        os.close(writer)
        time.sleep(0.5)
        with open(reader, "rb") as passed:
            assert len(passed.read()) == Path(CHAT).stat().st_size + 300_000
        assert process.wait(30) == 0
    assert len(rows_of(ledger)) == 1


def test_pieces_arrive_as_they_come(cli: Cli) -> None:
    with running(cli, "for n in 1 2 3; do printf $n; read _; done", stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        for piece in (b"1", b"2", b"3"):
            assert select.select([process.stdout], [], [], 30)[0], "the piece waits for more"
            assert os.read(process.stdout.fileno(), 10) == piece
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_is_forwarded_while_a_reply_streams(cli: Cli, ledger: Path, number: signal.Signals) -> None:
    script = f"trap 'cat {CHAT}; exit 5' {number.name[3:]}; echo; while :; do sleep 0.05; done"
    with running(cli, script) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        process.send_signal(number)
        assert process.wait(30) == 5
        assert process.stdout.read() == Path(CHAT).read_bytes()
    assert [row["cost_usd"] for row in rows_of(ledger)] == [Decimal("0.0156")]


def test_reader_that_goes_away_ends_the_command_as_without_us(cli: Cli, ledger: Path) -> None:
    with running(cli, "trap '' TERM; while :; do echo x; done") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
    (row,) = rows_of(ledger)
    assert (row["cost_usd"], row["cost_source"]) == (Decimal("0.05"), "estimated")


def test_what_the_command_left_in_the_background_still_writes(cli: Cli, ledger: Path) -> None:
    done = shell(cli, f"(sleep 0.5; tail -c +201 {CHAT}) & head -c 200 {CHAT}; exit 3")
    assert (done.returncode, done.stdout) == (3, Path(CHAT).read_text())
    assert rows_of(ledger)[0]["cost_usd"] == Decimal("0.0156")


def test_signal_ends_the_wait_for_what_was_left_in_the_background(cli: Cli, ledger: Path) -> None:
    with running(cli, f"sleep 300 & echo $! $$; cat {CHAT}") as process:
        assert process.stdout
        left, child = map(int, process.stdout.readline().split())
        try:
            wait_for_the_end_of(child)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            os.kill(left, signal.SIGKILL)
    assert len(rows_of(ledger)) == 1


def test_killed_run_leaves_its_hold_and_the_command_without_a_reader(cli: Cli, ledger: Path) -> None:
    with running(cli, "echo $$; while sleep 0.05; do echo x; done") as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        wait_for_the_end_of(child)
    assert held(cli) == Decimal("0.05")
    assert not ledger.exists()


def wait_for_the_end_of(pid: int) -> None:
    """Wait until a process is gone, or waits for nobody but its parent."""
    deadline = time.monotonic() + 30
    with suppress(FileNotFoundError, ProcessLookupError):
        while ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.02)


def test_streams_are_not_passed_to_anybody_else(cli: Cli) -> None:
    done = shell(cli, "ls /proc/self/fd | wc -l; ls -l /proc/self/fd >&2")
    assert done.stdout.strip() == str(4), done.stderr


@pytest.mark.parametrize("full", [True, False], ids=["full", "closed"])
def test_output_that_cannot_be_written_is_still_accounted_for(cli: Cli, ledger: Path, full: bool) -> None:
    tail = ">/dev/full" if full else ">&-"
    command = " ".join([str(COMMAND), *RUN, "--", "cat", CHAT])
    subprocess.run(["sh", "-c", f"{command} {tail}"], env=cli.environment(), check=False, timeout=60)
    (row,) = rows_of(ledger)
    assert row["cost_usd"] == Decimal("0.0156")


def test_the_two_places_that_tell_a_cost_exclude_each_other(cli: Cli) -> None:
    done = cli(*RUN, "--cost-file", "x", "--", "true")
    assert done.returncode == 64
    assert "leave one out" in done.stderr


def test_blocked_command_is_not_started(cli: Cli, tmp_path: Path) -> None:
    done = cli(*RUN[:3], "1.01", "--from-stdout", "--", "touch", str(tmp_path / "started"))
    assert (done.returncode, done.stdout) == (20, "")
    assert not (tmp_path / "started").exists()


def test_command_that_cannot_be_started_gives_the_hold_back(cli: Cli) -> None:
    assert run(cli, "/nowhere/x").returncode == 127
    assert held(cli) == 0
