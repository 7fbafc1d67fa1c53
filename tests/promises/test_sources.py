"""What options name as input: what is no file is refused at once, and nothing is waited for without end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hal0_budget import inputs
from hal0_budget.errors import UsageError
from tests.conftest import COMMAND, SAMPLES, Cli

pytestmark = pytest.mark.promise(14)

CHAT = SAMPLES / "responses" / "openrouter-chat.json"
BATCH = SAMPLES / "batch.jsonl"
PRICES = SAMPLES / "prices" / "openrouter.json"

# Every option that names input, with the name in the place of {}.
OPTIONS = {
    "--batch": "charge hermes --batch {}",
    "--from-response": "charge hermes --from-response {} --estimate 1",
    "--headers": f"charge hermes --from-response {CHAT} --headers {{}}",
    "--prices of charge": f"charge hermes --from-response {SAMPLES}/responses/openai-chat.json --prices {{}}",
    "--prices of check": "check hermes --model m --input-tokens 1 --output-tokens 1 --prices {}",
    "--prices of reserve": "reserve hermes --model m --input-tokens 1 --output-tokens 1 --prices {}",
    "--prices of run": "run hermes --model m --input-tokens 1 --output-tokens 1 --prices {} -- true",
}


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is at most 107 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


THINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "a FIFO"),
    "a folder": (Path.mkdir, "a folder"),
    "a socket": (bound_socket, "a socket"),
    "/dev/zero": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "/dev/null": (lambda path: path.symlink_to("/dev/null"), "a device"),
    "a terminal": (lambda path: path.symlink_to("/dev/ptmx"), "a device"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "nothing": (lambda path: None, "No such file"),  # noqa: ARG005, nothing is made
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("thing", THINGS)
def test_what_is_no_file_is_refused_at_once(
    cli: Cli, ledger: Path, tmp_path: Path, option: str, thing: str
) -> None:
    make, said = THINGS[thing]
    path = tmp_path / "thing"
    make(path)
    begin = time.monotonic()
    done = cli(*OPTIONS[option].replace("{}", str(path)).split(), timeout=10)
    assert time.monotonic() - begin < 5
    # Prices that cannot be read are prices that are not known: there a charge may say what to book.
    assert (done.returncode, done.stdout) == (65 if option == "--prices of charge" else 64, ""), done.stderr
    assert said in done.stderr
    assert str(path) in done.stderr
    assert not ledger.exists()


def shell(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script, str(COMMAND)],
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "script",
    [
        f'"$0" charge hermes --batch <(cat {BATCH})',
        f'"$0" charge hermes --batch /dev/stdin < {BATCH}',
        f'cat {BATCH} | "$0" charge hermes --batch /dev/stdin',
        f'(sleep 0.5; cat {BATCH}) | "$0" charge hermes --batch -',
        f'"$0" charge hermes --batch <(sleep 0.5; head -c 40 {BATCH}; sleep 0.5; tail -c +41 {BATCH})',
        f'"$0" charge hermes --batch - < {BATCH}',
    ],
)
def test_pipe_that_the_shell_gives_is_read_to_its_end(cli: Cli, ledger: Path, script: str) -> None:
    done = shell(cli, script)
    assert done.returncode == 0, done.stderr
    assert ledger.read_bytes().count(b"\n") == BATCH.read_bytes().count(b"\n")


def test_pipe_that_brings_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, so that nobody waits for half a minute."""
    monkeypatch.setattr(inputs, "TIMEOUT", 0.2)
    reader, writer = os.pipe()
    with pytest.raises(UsageError, match="no data for"):
        inputs.read_source("--batch", f"/dev/fd/{reader}", 10)
    os.write(writer, b"x" * 5)
    with pytest.raises(UsageError, match="no data for"):
        inputs.read_source("--batch", f"/dev/fd/{reader}", 10)
    os.write(writer, b"x" * 20)
    assert inputs.read_source("--batch", f"/dev/fd/{reader}", 10) == b"x" * 11
    os.close(writer)
    os.close(reader)


def test_stdin_that_does_not_block_is_read_whole(cli: Cli, ledger: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = subprocess.Popen(
        [COMMAND, "charge", "hermes", "--batch", "-"],
        env=cli.environment(),
        stdin=reader,
        stdout=subprocess.DEVNULL,
    )
    for part in BATCH.read_bytes().splitlines(keepends=True):
        time.sleep(0.3)
        os.write(writer, part)
    os.close(writer)
    os.close(reader)
    assert process.wait(30) == 0
    assert ledger.read_bytes().count(b"\n") == BATCH.read_bytes().count(b"\n")


def test_closed_stdin_is_no_empty_batch(cli: Cli) -> None:
    for option in ("--batch", "--from-response"):
        done = shell(cli, f'"$0" charge hermes {option} - <&-')
        assert (done.returncode, "stdin is closed" in done.stderr) == (64, True)


ENDLESS = {
    "blank lines": "b'\\n' * 65536",
    "spaces": "b' ' * 65536",
    "lines of spaces": "b'   \\n' * 16384",
    "charges": 'b\'{"cost_usd":0,"model":"m"}\\n\' * 2000',
}


@pytest.mark.parametrize("block", ENDLESS.values(), ids=ENDLESS)
def test_batch_without_an_end_is_refused_in_bounded_memory(cli: Cli, ledger: Path, block: str) -> None:
    script = f"import os; block = {block}\nwhile True: os.write(1, block)"
    measured = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024); sys.exit(code)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as endless:
        done = subprocess.run(
            [sys.executable, "-c", measured, str(COMMAND), "charge", "hermes", "--batch", "-"],
            env=cli.environment(),
            stdin=endless.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        endless.kill()
    assert done.returncode == 64
    assert done.stderr.startswith("hal0-budget: -: ")
    assert int(done.stdout) < 400
    assert not ledger.exists()
