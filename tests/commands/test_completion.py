"""Shells complete commands, options and persona names, and no completion can stand for a verdict."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, init
from hal0_budget.cli.app import COMMANDS
from hal0_budget.cli.candidates import candidates
from tests.conftest import COMMAND, Cli

BIN = f"{COMMAND.parent}:{os.environ['PATH']}"


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def of(*typed: str) -> list[str]:
    """The words that the last one typed may become."""
    found = candidates(typed)
    assert found.kind == "words"
    return [word for word, _ in found.words]


@pytest.fixture(autouse=True)
def agent(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the agent with the personas hermes and coder."""
    monkeypatch.setenv("HAL0_BUDGET_ROOT", str(home.root))


WORDS = {
    "commands": ((), list(COMMANDS)),
    "a command": (("ch",), ["check", "charge"]),
    "options before the command": (("--ro",), ["--root"]),
    "a command after options": (("-q", "--agent", "hermes", "simu"), ["simulate"]),
    "options of the command": (("check", "hermes", "--"), [
        "--estimate", "--model", "--input-tokens", "--output-tokens", "--prices", "--warn-ok", "--format",
        "--root", "--personas-dir", "--agent", "--json", "--quiet", "--help",
    ]),
    "options that were not given yet": (("set", "hermes", "--daily", "5", "--d"), ["--dry-run"]),
    "either name of a switch": (("set", "hermes", "--wa"), ["--warn-only", "--warn-at"]),
    "short options": (("show", "-"), [
        "--color", "--root", "--personas-dir", "--agent", "--json", "--quiet", "-q", "-h", "--help",
    ]),
    "a choice": (("show", "--color", ""), ["auto", "always", "never"]),
    "a choice in one word": (("show", "--color=a"), ["--color=auto", "--color=always"]),
    "a choice as bash cuts it": (("show", "--color", "=", "al"), ["always"]),
    "an argument of choices": (("completion", ""), ["bash", "zsh", "fish"]),
    "a persona": (("check", ""), ["coder", "hermes"]),
    "a persona after options": (("check", "--estimate", "0.1", "h"), ["hermes"]),
    "a persona after --": (("check", "--", "h"), ["hermes"]),
    "one of several personas": (("init", "hermes", "c"), ["coder"]),
    "no second persona where one is taken": (("check", "hermes", ""), []),
    "nothing for an amount": (("check", "hermes", "--estimate", ""), []),
    "no options after --": (("check", "--", "--"), []),
    "no such command": (("chek", ""), []),
    "no such option": (("check", "--nope=x"), []),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "words"), WORDS.values(), ids=WORDS)
def test_words_that_may_come_next(typed: tuple[str, ...], words: list[str]) -> None:
    assert sorted(of(*typed)) == sorted(words)


PATHS = {
    "--batch": (("charge", "hermes", "--batch", ""), "files"),
    "--cost-file in one word": (("run", "hermes", "--cost-file=x"), "files"),
    "--root": (("check", "--root", ""), "folders"),
    "the command of run": (("run", "hermes", "--", "cu"), "files"),
}


@pytest.mark.parametrize(("typed", "kind"), PATHS.values(), ids=PATHS)
def test_paths_are_left_to_the_shell(typed: tuple[str, ...], kind: str) -> None:
    assert candidates(typed) == (kind, ())


ELSEWHERE = {
    "before the command": ("--root", "{root}", "check", ""),
    "after the command": ("check", "--root={root}", ""),
    "as bash cuts it": ("check", "--root", "=", "{root}", ""),
    "in quotes": ("check", "--root", "'{root}'", ""),
    "from home": ("check", "--root", "~/other", ""),
    "by a variable": ("check", "--root", "$HOME/other", ""),
    "another agent": ("--root", "{root}", "--agent", "zeus", "check", ""),
    "another folder": ("check", "--personas-dir", "{root}/hermes/personas", ""),
}


@pytest.mark.parametrize("typed", ELSEWHERE.values(), ids=ELSEWHERE)
def test_personas_are_those_of_the_line(
    typed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "other"
    init(Home(root), ["scout"])
    init(Home(root, "zeus"), ["thunder"])
    monkeypatch.setenv("HOME", str(tmp_path))
    found = of(*(word.format(root=root) for word in typed))
    assert found == (["thunder"] if "zeus" in typed else ["scout"])


@pytest.mark.parametrize(
    "typed", [("check", ""), ("--root=", "check", ""), ("--agent", "no one", "check", "")]
)
def test_nothing_is_printed_where_personas_cannot_be_told(cli: Cli, typed: tuple[str, ...]) -> None:
    done = cli("completion", "bash", "--", *typed, env={"HAL0_BUDGET_ROOT": "/nonexistent"})
    assert done.returncode >= 64
    assert done.stdout == ""


VARIABLES = {
    f"{name}={value}": {name: value}
    for name in ("_HAL0_BUDGET_COMPLETE", "_HAL0-BUDGET_COMPLETE")
    for value in ("complete_bash", "source_bash", "complete_zsh", "1")
}


@pytest.mark.parametrize("variables", VARIABLES.values(), ids=VARIABLES)
def test_no_variable_makes_a_check_end_without_a_verdict(
    home: Home, cli: Cli, variables: dict[str, str]
) -> None:
    """Typer's own completion answers such variables with exit code 0, whatever the command line."""
    Account(home, "hermes").set_budget({"daily_usd": Decimal(0)})
    asked = {"COMP_WORDS": "hal0-budget ch", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "hal0-budget ch"}
    done = cli("check", "hermes", "--estimate", "1", env={**asked, **variables})
    assert done.returncode == 20
    assert done.stdout.startswith("block: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_text_that_its_shell_can_read(cli: Cli, shell: str) -> None:
    done = cli("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hal0-budget completion" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, env={"PATH": BIN})


BASH = {
    "a command": (["ch"], ["charge", "check"]),
    "an option": (["check", "--es"], ["--estimate"]),
    "a persona": (["check", "--estimate", "0.1", ""], ["coder", "hermes"]),
    "a choice behind =": (["show", "--color", "=", "a"], ["always", "auto"]),
    "nothing": (["chek", ""], []),
}


@pytest.mark.parametrize(("words", "reply"), BASH.values(), ids=BASH)
def test_bash_function_replies_with_what_fits(cli: Cli, words: list[str], reply: list[str]) -> None:
    script = """
eval "$(hal0-budget completion bash)"
complete -p hal0-budget
COMP_WORDS=(hal0-budget "$@"); COMP_CWORD=$#
_hal0_budget hal0-budget "${!#}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=cli.environment(PATH=BIN),
        capture_output=True,
        text=True,
        check=True,
    )
    registered, *found = done.stdout.splitlines()
    assert (registered, done.stderr) == ("complete -F _hal0_budget hal0-budget", "")
    assert sorted(filter(None, found)) == reply


FISH = {
    "hal0-budget ch": {"check": "Ask whether", "charge": "Record the"},
    "hal0-budget check --fo": {"--format": "Text, JSON"},
    "hal0-budget check h": {"hermes": ""},
    "hal0-budget show --color=al": {"--color=always": ""},
    "hal0-budget --root=/et": {"--root=/etc/": ""},
    "hal0-budget --root /et": {"/etc/": ""},
    "hal0-budget charge hermes --batch /etc/passw": {"/etc/passwd": ""},
}


@needs("fish")
@pytest.mark.parametrize("line", FISH)
def test_fish_completes(cli: Cli, tmp_path: Path, line: str) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"hal0-budget completion fish | source; complete -C {line!r}"],
        env=cli.environment(PATH=BIN, HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = [found.split("\t") for found in done.stdout.splitlines()]
    found = {value: "".join(what) for value, *what in pairs if not value.endswith("-")}
    assert found.keys() == FISH[line].keys()
    assert all(found[value].startswith(what) for value, what in FISH[line].items())


def typed_into(shell: list[str], keys: str, until: str, env: dict[str, str]) -> str:
    """What a terminal shows once `keys` were typed into an interactive shell, up to the pattern `until`."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(shell[0], shell, env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    os.write(terminal, keys.encode())
    seen = ""
    end = time.monotonic() + 60
    while not re.search(until, seen) and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)
    return seen


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; "),
}


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in SHELLS])
def test_tab_completes_a_command_line_that_then_runs(cli: Cli, tmp_path: Path, shell: str) -> None:
    command, before = SHELLS[shell]
    keys = f'{before}eval "$(hal0-budget completion {shell})"\nhal0-budget che\therm\t--form\tnag\t\n'
    environment = cli.environment(PATH=BIN, HOME=str(tmp_path), TERM="xterm", PS1="$ ")
    assert "BUDGET OK - allow: hermes" in typed_into(command, keys, "BUDGET [A-Z]+ - .*\n", environment)
