"""An exit code is a verdict only where the verdict was delivered, whatever surrounds the program."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import COMMAND, Cli
from tests.support.processes import open_files, wait_until

pytestmark = pytest.mark.promise(15)


@pytest.fixture
def capped(home: Home) -> Cli:
    """The command on an agent whose persona hermes may spend 1 USD a day, and has spent 0.1."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal("0.1"), model="m")
    return Cli(home.root)


# Each command, and the exit code that it ends in where it can speak.
COMMANDS = {
    "check --estimate 0.5 hermes": 0,
    "check --estimate 9 hermes": 20,
    "check --estimate 9 hermes --json": 20,
    "charge hermes --cost 0.1 --model m": 0,
    "show": 0,
    "show hermes --color always": 0,
    "init": 0,
    "set hermes --weekly 3": 0,
    "simulate hermes --daily 0.05": 0,
    "completion bash": 0,
    "check nobody": 66,
    "bogus": 64,
    "--help": 0,
    "help check": 0,
    "show --help": 0,
    "--version": 0,
}

DEAF_STDOUT = {"full disk": ">/dev/full", "reader that is gone": ">&5", "closed": ">&-"}


@pytest.mark.parametrize("redirection", DEAF_STDOUT.values(), ids=DEAF_STDOUT)
@pytest.mark.parametrize(("command", "code"), COMMANDS.items(), ids=COMMANDS)
def test_answer_that_nobody_can_read_is_a_failure(
    capped: Cli, command: str, code: int, redirection: str
) -> None:
    found, err = in_shell(capped, f'"$0" "$@" {redirection}; echo $? >&3', *command.split())
    assert found == (code if code >= 64 else 74)
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert err.startswith("hal0-budget: ")


@pytest.mark.parametrize(("command", "code"), COMMANDS.items(), ids=COMMANDS)
def test_answer_needs_neither_stdin_nor_stderr(capped: Cli, command: str, code: int) -> None:
    found, _ = in_shell(capped, '"$0" "$@" <&- 2>&-; echo $? >&3', *command.split())
    assert found == code


@pytest.mark.parametrize("command", ["check --estimate 9 hermes", "check nobody", "bogus", "--help"])
def test_full_disk_behind_stderr_changes_no_exit_code(capped: Cli, command: str) -> None:
    found, _ = in_shell(capped, '"$0" "$@" 2>/dev/full; echo $? >&3', *command.split())
    assert found == COMMANDS[command]


def in_shell(cli: Cli, script: str, *args: str) -> tuple[int, str]:
    """Run a script whose `$0` is the command; the number that it writes to 3, and its stderr.

    Its 5 is a pipe that nobody reads.
    """
    reader, answer = os.pipe()
    gone, unread = os.pipe()
    os.close(gone)
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&{answer} 5>&{unread}; {script}", str(COMMAND), *args],
        env=cli.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[answer, unread],
        timeout=60,
        text=True,
        check=False,
    )
    os.close(answer)
    os.close(unread)
    with open(reader) as file:
        return int(file.read()), done.stderr


def test_charge_whose_answer_nobody_reads_is_on_the_disk_once(capped: Cli, ledger: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = capped(
            *("charge", "hermes", "--cost", "0.2", "--model", "m", "--request-id", "once"),
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 74
    assert ledger.read_bytes().count(b'"once"') == 1


def test_ledger_is_never_opened_in_the_place_of_a_standard_stream(
    capped: Cli, ledger: Path, tmp_path: Path
) -> None:
    """Whoever writes to a closed stderr would write into what was opened in its place."""
    trace = tmp_path / "trace"
    script = f'strace -f -e trace=openat -o "{trace}" "$0" "$@" <&- >&- 2>&-; echo $? >&3'
    code, _ = in_shell(capped, script, "charge", "hermes", "--cost", "0.1", "--model", "m")
    assert code == 74
    opened = re.findall(rf'"{ledger}".* = (\d+)$', trace.read_text(), re.MULTILINE)
    assert opened
    assert min(map(int, opened)) > 2


def test_quiet_check_needs_no_stdout(capped: Cli) -> None:
    for estimate, code in (("0.5", 0), ("9", 20)):
        script = '"$0" check hermes -q --estimate "$1" >&-; echo $? >&3'
        found, err = in_shell(capped, script, estimate)
        assert (found, err) == (code, "")


SIGNALS = {"interrupted": (signal.SIGINT, 130), "terminated": (signal.SIGTERM, 143)}


@pytest.mark.parametrize(("number", "code"), SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("command", ["charge hermes --cost 1 --model m", "set hermes --daily 5", "init"])
def test_command_that_waits_for_a_lock_can_be_ended(
    capped: Cli, home: Home, ledger: Path, command: str, number: signal.Signals, code: int
) -> None:
    lock = home.spend_dir("hermes") / "spend.lock"
    before = (ledger.read_bytes(), home.persona_file("hermes").read_bytes())
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [COMMAND, *command.split(), "--lock-timeout", "60"],
            env=capped.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: str(lock) in open_files(waiting.pid))
        waiting.send_signal(number)
        out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == code
    assert (out, err) == (b"", b"")
    assert (ledger.read_bytes(), home.persona_file("hermes").read_bytes()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signal_at_any_moment_is_no_verdict_that_was_not_delivered(
    capped: Cli, number: signal.Signals
) -> None:
    moments = random.Random(number)
    for _ in range(8):
        check = subprocess.Popen(
            [COMMAND, "check", "hermes", "--estimate", "9"],
            env=capped.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(0, 0.12))
        check.send_signal(number)
        out, _ = check.communicate(timeout=30)
        assert check.returncode not in {0, 10}
        assert check.returncode != 20 or out.startswith(b"block: ")


# What Python, Typer, Rich, a terminal or a shell's completion take from the environment.
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "completion for bash": {
        "_HAL0_BUDGET_COMPLETE": "complete_bash",
        "COMP_WORDS": "hal0-budget ",
        "COMP_CWORD": "1",
    },
    "completion for zsh": {"_HAL0_BUDGET_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hal0-budget "},
    "completion script": {"_HAL0_BUDGET_COMPLETE": "source_bash", "_hal0_budget_COMPLETE": "bash_source"},
    "completion of the module": {"_PYTHON__M_HAL0_BUDGET_COMPLETE": "complete_bash"},
    "completion unknown": {"_HAL0_BUDGET_COMPLETE": "x"},
    "typer": {"TYPER_USE_RICH": "1", "TYPER_STANDARD_TRACEBACK": "1", "_TYPER_STANDARD_TRACEBACK": "1"},
    "no columns": {"COLUMNS": "0", "LINES": "0", "TERMINAL_WIDTH": "0"},
    "odd columns": {"COLUMNS": "-x", "LINES": "9" * 5000, "TERMINAL_WIDTH": "1e9"},
    "colour": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm"},
    "unknown terminal": {"TERM": "\x1b[31m", "COLORTERM": "truecolor"},
    "warnings are errors": {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    "ASCII": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    "strict Latin 1": {"PYTHONIOENCODING": "latin-1:strict"},
    "unknown locale": {"LC_ALL": "xx_XX.nothing", "LANG": "\udcff", "LANGUAGE": "?"},
    "time zone": {"TZ": "Mars/Olympus"},
    "optimized": {"PYTHONOPTIMIZE": "2"},
    "inspected": {"PYTHONINSPECT": "1", "PYTHONSTARTUP": "/dev/full"},
    "unbuffered": {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"},
    "short integers": {"PYTHONINTMAXSTRDIGITS": "640"},
    "home": {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "\n", "USERPROFILE": ""},
}


@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_environment_does_not_change_a_verdict(capped: Cli, variables: dict[str, str]) -> None:
    done = capped("check", "hermes", "--estimate", "9", env=variables)
    assert done.returncode == 20
    assert done.stdout.startswith(
        "block: daily cap $1.0000 would be exceeded: spent $0.1000, estimate $9.0000"
    )


GATES = {
    "and": 'hal0-budget check "$1" --estimate "$2" && echo CALL',
    "if": 'if hal0-budget check "$1" --estimate "$2"; then echo CALL; fi',
    "errexit": 'hal0-budget check "$1" --estimate "$2"; echo CALL',
    "pipe": 'hal0-budget check "$1" --estimate "$2" --json | cat; echo CALL',
    "pipe to a reader that leaves": 'hal0-budget check "$1" --estimate "$2" | head -c 1; echo CALL',
    "substitution": 'answer=$(hal0-budget check "$1" --estimate "$2" --json); echo "$answer" CALL',
    "quiet": 'hal0-budget check -q "$1" --estimate "$2" && echo CALL',
    "xargs": 'printf "%s\\n" "$1" | xargs hal0-budget check --estimate "$2"; echo CALL',
}
CALLS = {
    "allowed": ("hermes", "0.5", True),
    "blocked": ("hermes", "9", False),
    "unknown persona": ("nobody", "0.5", False),
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize(("persona", "estimate", "calls"), CALLS.values(), ids=CALLS)
def test_script_calls_only_what_was_allowed(
    capped: Cli, gate: str, persona: str, estimate: str, calls: bool
) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; {gate}", "gate", persona, estimate],
        env={**capped.environment(), "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ("CALL" in done.stdout) == calls
