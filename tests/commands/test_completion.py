"""Shells complete commands, options, names and ids, and completion never stands for a verdict."""

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
import sys
import termios
import time
from decimal import Decimal
from pathlib import Path

import pytest

import hal0_budget
from hal0_budget import Account, Home, init
from hal0_budget.cli.app import COMMANDS, invoke
from hal0_budget.cli.options import Output
from hal0_budget.cli.render.emit import Result
from hal0_budget.errors import UsageError
from tests.conftest import COMMAND, Cli

SCRIPTS = Path(hal0_budget.__file__).parent / "cli" / "shells"
BIN = f"{COMMAND.parent}:{os.environ['PATH']}"


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def asked(*typed: str) -> dict[str, str]:
    """The variables with which a shell asks how the last of these words, as typed, may be completed."""
    line = " ".join(["hal0-budget", *typed])
    return {"_HAL0_BUDGET_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}


def answer(*typed: str) -> list[str]:
    """The answer to a shell, line by line."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in asked(*typed).items():
            patch.setenv(name, value)
        found = invoke([], Output())
    assert isinstance(found, Result)
    return [*found.lines]


def of(*typed: str) -> list[str]:
    """The words that the last one typed may become."""
    kind, *lines = answer(*typed)
    assert kind == "words"
    return [line.partition(" ")[0] for line in lines]


@pytest.fixture(autouse=True)
def agent(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the agent with the personas hermes and coder."""
    monkeypatch.setenv("HAL0_BUDGET_ROOT", str(home.root))


WORDS = {
    "commands": (("",), list(COMMANDS)),
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
    "a command to help with": (("help", "ch"), ["check", "charge"]),
    "an agent": (("--agent", ""), ["hermes"]),
    "what to group by": (("report", "--by", "mo"), ["model", "month"]),
    "what else to group by": (("report", "--by", "model,day,m"), ["model,day,month"]),
    "a time zone": (("report", "--timezone", "Europe/Ber"), ["Europe/Berlin"]),
    "no hold of a persona that is not named yet": (("charge", "--hold", ""), []),
    "no such option": (("check", "--nope=x"), []),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "words"), WORDS.values(), ids=WORDS)
def test_words_that_may_come_next(typed: tuple[str, ...], words: list[str]) -> None:
    assert sorted(of(*typed)) == sorted(words)


def test_nothing_comes_after_a_command_that_does_not_exist() -> None:
    with pytest.raises(UsageError):
        of("chek", "")


def test_open_holds_are_offered_with_their_amounts(home: Home) -> None:
    account = Account(home, "hermes")
    for name in ("h1", "h2", "gone"):
        account.reserve(Decimal("0.25"), hold_id=name)
    account.release("gone")
    assert of("release", "hermes", "") == of("charge", "hermes", "--hold", "") == ["h1", "h2"]
    assert answer("release", "hermes", "h2")[1].startswith("h2 $0.2500, expires ")


def test_request_ids_of_charges_that_are_not_voided_are_offered(home: Home) -> None:
    account = Account(home, "hermes")
    for name in ("gen-1", "gen-2", "wrong", "$(reboot)", "a b", "`x`", "c\\", "d'", "-q", "gen:3"):
        account.charge(Decimal("0.5"), model="m", request_id=name)
    account.void("wrong", "twice")
    assert of("void", "hermes", "") == ["gen-1", "gen-2"]
    assert answer("void", "hermes", "gen-2")[1].startswith("gen-2 $0.5000, ")


def test_agents_are_the_folders_below_the_root_that_hold_personas(home: Home) -> None:
    init(Home(home.root, "zeus"), ["thunder"])
    (home.root / "no-agent").mkdir()
    (home.root / "file").touch()
    assert of("check", "--agent", "") == ["hermes", "zeus"]


PATHS = {
    "--batch": (("charge", "hermes", "--batch", ""), "files"),
    "--cost-file in one word": (("run", "hermes", "--cost-file=x"), "files"),
    "--root": (("check", "--root", ""), "folders"),
    "the command of run": (("run", "hermes", "--", "cu"), "files"),
}


@pytest.mark.parametrize(("typed", "kind"), PATHS.values(), ids=PATHS)
def test_paths_are_left_to_the_shell(typed: tuple[str, ...], kind: str) -> None:
    assert answer(*typed) == [kind]


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
    "typed", [("check", ""), ("--root=", "check", ""), ("--agent", "'no one'", "check", ""), ("chek", "")]
)
def test_nothing_is_printed_where_personas_cannot_be_told(cli: Cli, typed: tuple[str, ...]) -> None:
    done = cli(env={**asked(*typed), "HAL0_BUDGET_ROOT": "/nonexistent"})
    assert done.returncode >= 64
    assert done.stdout == ""


VARIABLES = {
    f"{name}={value}": {name: value}
    for name in ("_HAL0_BUDGET_COMPLETE", "_HAL0-BUDGET_COMPLETE")
    for value in ("complete_bash", "source_bash", "complete_zsh", "1")
}


TYPED = {"COMP_WORDS": "hal0-budget ch", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "hal0-budget ch"}


@pytest.mark.parametrize("variables", VARIABLES.values(), ids=VARIABLES)
def test_no_variable_makes_a_check_end_without_a_verdict(
    home: Home, cli: Cli, variables: dict[str, str]
) -> None:
    """Typer's own completion answers such variables with exit code 0, whatever the command line."""
    Account(home, "hermes").set_budget({"daily_usd": Decimal(0)})
    done = cli("check", "hermes", "--estimate", "1", env={**TYPED, **variables})
    assert done.returncode == 20
    assert done.stdout.startswith("block: ")


@pytest.mark.parametrize("variables", VARIABLES.values(), ids=VARIABLES)
@pytest.mark.parametrize("words", [("",), ("-q",), ("--json",), ("check",), ("--", "check")])
def test_no_variable_is_heard_beside_a_word(
    cli: Cli, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = cli(*words, env={**TYPED, **variables})
    plain = cli(*words)
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
    assert done.returncode == 64


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_variable_alone_is_answered(cli: Cli, shell: str) -> None:
    done = cli(env={**TYPED, "_HAL0_BUDGET_COMPLETE": f"complete_{shell}"})
    words = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    assert (done.returncode, words) == (0, ["words", "check", "charge"])


@pytest.mark.parametrize(
    "variables",
    [{"_HAL0_BUDGET_COMPLETE": value} for value in ("", "x", "source_bash", "complete_bash")]
    + [{"_HAL0_BUDGET_COMPLETE": "complete_bash", "COMP_WORDS": "hal0-budget ch", "COMP_CWORD": "x"}],
)
def test_variable_that_no_script_sets_is_a_usage_error(cli: Cli, variables: dict[str, str]) -> None:
    done = cli(env=variables)
    assert (done.returncode, done.stdout) == (64, "")


DEAR = ("rich", "pydantic", "asyncio", "hal0_budget.providers")
OURS = ("hal0_budget.account", "hal0_budget.reporting")
LOADED = {
    "a word of help": (("help", "ch"), (*DEAR, *OURS)),
    "an option": (("check", "--es"), DEAR),
    "a persona": (("check", "h"), DEAR),
    "a hold": (("release", "hermes", ""), DEAR),
    "all commands": (("",), ("pydantic", "asyncio")),
}


@pytest.mark.parametrize(("typed", "dear"), LOADED.values(), ids=LOADED)
def test_tab_imports_nothing_dear(cli: Cli, typed: tuple[str, ...], dear: tuple[str, ...]) -> None:
    script = (
        "import os, sys; end = os._exit; "
        "os._exit = lambda code: (print(*sys.modules, flush=True), end(code)); "
    )
    done = subprocess.run(
        [sys.executable, "-c", script + "from hal0_budget.__main__ import main; main()"],
        env=cli.environment(**asked(*typed)),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = done.stdout.splitlines()[-1].split()
    assert "hal0_budget.cli.completion" in imported
    assert not [name for name in imported if any(f"{name}.".startswith(f"{banned}.") for banned in dear)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_text_that_its_shell_can_read(cli: Cli, shell: str) -> None:
    done = cli("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_HAL0_BUDGET_COMPLETE=complete_{shell} hal0-budget" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, env={"PATH": BIN})


BASH = {
    "a command": (["ch"], ["charge", "check"]),
    "an option": (["check", "--es"], ["--estimate"]),
    "a persona": (["check", "--estimate", "0.1", ""], ["coder", "hermes"]),
    "a choice behind =": (["show", "--color", "=", "a"], ["always", "auto"]),
    "a hold": (["release", "hermes", "h"], ["h1"]),
    "nothing": (["chek", ""], []),
}


@pytest.mark.parametrize(("words", "reply"), BASH.values(), ids=BASH)
def test_bash_function_replies_with_what_fits(
    home: Home, cli: Cli, words: list[str], reply: list[str]
) -> None:
    Account(home, "hermes").reserve(Decimal("0.25"), hold_id="h1")
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
    "hal0-budget release hermes h": {"h1": "$0.2500, expires"},
    "hal0-budget show --color=al": {"--color=always": ""},
    "hal0-budget --root=/et": {"--root=/etc/": ""},
    "hal0-budget --root /et": {"/etc/": ""},
    "hal0-budget charge hermes --batch /etc/passw": {"/etc/passwd": ""},
}


@needs("fish")
@pytest.mark.parametrize("line", FISH)
def test_fish_completes(home: Home, cli: Cli, tmp_path: Path, line: str) -> None:
    Account(home, "hermes").reserve(Decimal("0.25"), hold_id="h1")
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


@needs("zsh")
def test_zsh_loads_the_installed_script(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "completion.zsh", tmp_path / "_hal0-budget")
    keys = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D\nhal0-budget che\therm\t\n"
    environment = cli.environment(PATH=BIN, HOME=str(tmp_path), TERM="xterm", PS1="$ ")
    assert "allow: hermes" in typed_into(["zsh", "-f", "-i"], keys, "allow: .*\n", environment)


@needs("fish")
def test_fish_loads_the_installed_script(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "fish" / "vendor_completions.d"
    folder.mkdir(parents=True)
    shutil.copy(SCRIPTS / "completion.fish", folder / "hal0-budget.fish")
    done = subprocess.run(
        ["fish", "-c", "complete -C 'hal0-budget check h'"],
        env=cli.environment(PATH=BIN, HOME=str(tmp_path), XDG_DATA_DIRS=f"{tmp_path}:/usr/share"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "hermes\n"


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in SHELLS])
def test_tab_completes_a_command_line_that_then_runs(cli: Cli, tmp_path: Path, shell: str) -> None:
    command, before = SHELLS[shell]
    keys = f'{before}eval "$(hal0-budget completion {shell})"\nhal0-budget che\therm\t--form\tnag\t\n'
    environment = cli.environment(PATH=BIN, HOME=str(tmp_path), TERM="xterm", PS1="$ ")
    assert "BUDGET OK - allow: hermes" in typed_into(command, keys, "BUDGET [A-Z]+ - .*\n", environment)
