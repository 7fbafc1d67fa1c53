"""Exit 0 means delivered, whatever stdout is made of and however little of a write it takes."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import subprocess
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hal0_budget import Account, Home
from tests.conftest import COMMAND, Cli
from tests.support.faults import Disk

pytestmark = pytest.mark.promise(15)

# Each command, and the exit code that it ends in where its answer is delivered.
COMMANDS = {
    "check hermes --estimate 0.5": 0,
    "check hermes --estimate 0.95": 10,
    "check hermes --estimate 9": 20,
    "check hermes --estimate 0.5 --json": 0,
    "check hermes --format nagios": 0,
    "reserve hermes --estimate 0.01": 0,
    "charge hermes --cost 0.01 --model m --json": 0,
    "show": 0,
    "show hermes --color always": 0,
    "log hermes": 0,
    "report": 0,
    "report --format html": 0,
    "simulate hermes --daily 1": 0,
    "verify": 0,
    "completion bash": 0,
    "help": 0,
    "help check": 0,
    "show --help": 0,
    "--help": 0,
    "--version": 0,
}
BUFFERING = {"buffered": {}, "unbuffered": {"PYTHONUNBUFFERED": "1"}}


@pytest.fixture
def capped(home: Home) -> Cli:
    """The command on an agent whose persona hermes may spend 1 USD a day."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1), "warn_at": Decimal("0.9")})
    account.charge(Decimal("0.01"), model="m", request_id="r0")
    return Cli(home.root)


def failure_of(command: str) -> int:
    """The exit code of an answer that could not be delivered: monitoring has one of its own."""
    return 3 if "nagios" in command else 74


def started(
    cli: Cli, command: str, stdout: int, env: dict[str, str], **options: Any
) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = subprocess.Popen(
        [COMMAND, *command.split()],
        env=cli.environment(**env),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    return process


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a process ends, and what it says on stderr."""
    _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
@pytest.mark.parametrize("command", COMMANDS)
def test_file_that_may_not_grow_is_a_failure(
    capped: Cli, command: str, env: dict[str, str], tmp_path: Path
) -> None:
    """The limit leaves room for the first six bytes."""
    path = tmp_path / "out"
    size = 64 * 1024
    path.write_bytes(b"x" * (size - 6))
    with path.open("ab") as out:
        process = started(
            capped,
            command,
            out.fileno(),
            env,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        ended, err = outcome(process)
    assert (ended, path.stat().st_size) == (failure_of(command), size)
    assert "could not be written" in err or "nagios" in command


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
@pytest.mark.parametrize("command", COMMANDS)
def test_full_disk_behind_stdout_is_a_failure(
    capped: Cli, command: str, env: dict[str, str], disk: Disk
) -> None:
    """The disk has room for six bytes of the last page."""
    path = disk.here / "out"
    path.write_bytes(b"x" * (4096 - 6))
    disk.fill()
    with path.open("ab") as out:
        ended, err = outcome(started(capped, command, out.fileno(), env))
    assert (ended, path.stat().st_size) == (failure_of(command), 4096)
    assert "could not be written" in err or "nagios" in command


class Pipe:
    """A pipe whose writer does not wait, filled to the last byte."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, False)
        self.filled = os.write(self.writer, b"x" * 65536)
        assert not select.select([], [self.writer], [], 0)[1]

    def read_slowly(self) -> bytes:
        """All that comes after what it was filled with, a little at a time."""
        os.close(self.writer)
        data = b""
        while block := os.read(self.reader, 700):
            data += block
            time.sleep(0.005)
        return data[self.filled :]


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
@pytest.mark.parametrize(("command", "code"), COMMANDS.items(), ids=COMMANDS)
def test_pipe_that_does_not_wait_is_given_the_whole_answer(
    capped: Cli, command: str, code: int, env: dict[str, str]
) -> None:
    pipe = Pipe()
    process = started(capped, command, pipe.writer, env)
    time.sleep(0.2)
    answer = pipe.read_slowly().decode()
    assert outcome(process)[0] == code
    assert answer.endswith("\n")
    if "reserve" in command:
        assert len(answer) == len("hold_\n") + 32
    elif "charge" not in command:
        whole = capped(*command.split()).stdout
        assert [len(line) for line in answer.splitlines()] == [len(line) for line in whole.splitlines()]


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
def test_pipe_that_nobody_reads_is_a_failure_in_a_bounded_time(capped: Cli, env: dict[str, str]) -> None:
    pipes = {command: Pipe() for command in COMMANDS}
    begin = time.monotonic()
    processes = {command: started(capped, command, pipe.writer, env) for command, pipe in pipes.items()}
    for command, process in processes.items():
        ended, err = outcome(process)
        assert ended == failure_of(command), command
        assert "the reader read nothing for 5 s" in err or "nagios" in command
    assert time.monotonic() - begin < 30


def test_full_pipe_behind_stderr_changes_no_exit_code(capped: Cli) -> None:
    pipe = Pipe()
    process = subprocess.Popen(
        [COMMAND, "check", "nobody"], env=capped.environment(PYTHONUNBUFFERED="1"), stderr=pipe.writer
    )
    assert process.wait(30) == 66


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
def test_rows_that_are_followed_reach_a_pipe_that_does_not_wait_whole(
    capped: Cli, home: Home, env: dict[str, str]
) -> None:
    pipe = Pipe()
    account = Account(home, "hermes")
    for number in range(200):
        account.charge(Decimal("0.001"), model="m", request_id=f"r-{number}")
    process = started(capped, "log hermes -n all --follow --json", pipe.writer, env)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_slowly()))
    reader.start()
    time.sleep(2)
    process.terminate()
    assert outcome(process) == (143, "")
    reader.join(30)
    lines = found[0].splitlines()
    assert len(lines) == 201
    assert all(line.startswith(b"{") and line.endswith(b"}") for line in lines)


@pytest.mark.parametrize("env", BUFFERING.values(), ids=BUFFERING)
def test_output_of_a_command_that_is_lost_is_a_failure_of_run(
    capped: Cli, env: dict[str, str], ledger: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        command = "run hermes --estimate 0.01 --from-stdout -- echo nothing"
        ended, err = outcome(started(capped, command, full.fileno(), env))
    assert ended == 74
    assert "could not be passed on" in err
    assert ledger.read_bytes().count(b"\n") == 2, "what the call cost is booked all the same"
