"""No crash reads as a verdict: whatever is raised, wherever, the exit code is not 0, 10 or 20."""

from __future__ import annotations

import resource
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli, Proof
from tests.support.saboteur import Outcome, errors, sabotaged

pytestmark = pytest.mark.promise(15)

BLOCKED = ("check", "hermes", "--estimate", "9")


@pytest.fixture
def capped(home: Home) -> Home:
    """An agent whose persona hermes may spend 1 USD a day, and has spent some."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal("0.1"), model="m")
    return home


LOADED = ("hal0_budget.cli.app", "hal0_budget.cli.commands.check", "hal0_budget.strict_json")
FAILURES = "errors of every class, at calls and at imports, none of which read as a verdict"
# Those that there are before anything is imported.
OF_PYTHON = tuple(
    name
    for name, error in errors().items()
    if type(error).__module__ in {"builtins", "tests.support.saboteur"}
)

# An interrupt needs no words, and of what cannot be looked at nothing can be said.
SILENT = {("KeyboardInterrupt('text')", 130), ("KeyboardInterrupt()", 130), ("Unreadable()", 70)}


def assert_failures(found: list[Outcome]) -> None:
    assert not [outcome for outcome in found if outcome.code < 64]
    assert not [outcome for outcome in found if outcome.out or "Traceback" in outcome.err]
    silent = [outcome for outcome in found if not outcome.err.startswith("hal0-budget: ")]
    assert {(outcome.error, outcome.code) for outcome in silent} <= SILENT


# What a check goes through from its first step to its last.
STEPS = {
    "in the parser of TOML": ("tomli", "loads"),
    "while the ledger is opened": ("hal0_budget.stores.files.ledger", "opened"),
    "in the renderer": ("hal0_budget.cli.render.emit", "printable"),
    "before the command line is read": ("hal0_budget.cli.app", "invoke"),
}


@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_exception_of_any_class_at_any_step_of_a_check_is_no_verdict(
    capped: Home, module: str, name: str, proof: Proof
) -> None:
    where = f"{module}:{name}"
    found = sabotaged(capped.root, BLOCKED, [("function", where, error) for error in errors()], LOADED)
    if name == "printable":
        # Messages need it too; where it fails nothing can be said, and still the code tells.
        assert not [outcome for outcome in found if outcome.code < 64 or "Traceback" in outcome.err]
    else:
        assert_failures(found)
    codes = {outcome.error: outcome.code for outcome in found}
    assert len(codes) > 80
    assert codes["KeyboardInterrupt('text')"] == 130
    for error in ("SystemExit(0)", "SystemExit(20)", "MemoryError('text')", "GeneratorExit('text')"):
        assert codes[error] == 70
    assert codes["RecursionError('text')"] == (65 if name == "loads" else 70)
    proof.counted(len(found), FAILURES)


IMPORTS = {
    "typer": BLOCKED,
    "decimal": BLOCKED,
    "tomli": BLOCKED,
    "hal0_budget.errors": BLOCKED,
    "hal0_budget.cli.commands.check": BLOCKED,
    "hal0_budget.cli.render.emit": BLOCKED,
    "hal0_budget.stores.files.table_edit": ("set", "hermes", "--daily", "2"),
    "tomli_w": ("init",),
    "rich.table": ("show", "--color", "always"),
}


@pytest.mark.parametrize(("module", "command"), IMPORTS.items(), ids=IMPORTS)
def test_exception_at_import_is_no_verdict(
    capped: Home, module: str, command: tuple[str, ...], proof: Proof
) -> None:
    some = ("ImportError('text')", "SystemExit(0)", "SystemExit(10)", "MemoryError('text')")
    kinds = OF_PYTHON if proof.is_full else (*some, "KeyboardInterrupt('text')")
    found = sabotaged(capped.root, command, [("import", module, error) for error in kinds])
    assert_failures(found)
    # What the operating system refuses is a failure of its own there, too.
    assert {70, 130} <= {outcome.code for outcome in found} <= {70, 74, 77, 130}
    proof.counted(len(found), FAILURES)


@pytest.mark.parametrize("module", ["typer", "tomli", "decimal"])
@pytest.mark.parametrize("source", ["raise SystemExit(0)", "raise SystemExit(10)", "def"])
def test_package_that_does_not_import_is_no_verdict(
    capped: Home, tmp_path: Path, module: str, source: str
) -> None:
    (tmp_path / f"{module}.py").write_text(source)
    done = Cli(capped.root)(*BLOCKED, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 70
    assert done.stdout == ""
    assert done.stderr.startswith("hal0-budget: bug: ")
    assert done.stderr.count("\n") == 1


def test_recursion_without_end_is_no_verdict(capped: Home) -> None:
    deep = "[persona]\nid = 'hermes'\n[persona.budget]\ndaily_usd = 1\nx = " + "[" * 100_000
    capped.persona_file("hermes").write_text(deep)
    done = Cli(capped.root)(*BLOCKED)
    assert done.returncode == 65
    assert "nested too deep" in done.stderr


LIMITS = {
    "open files": (resource.RLIMIT_NOFILE, [*range(3, 9), 64]),
    "memory": (resource.RLIMIT_AS, [megabytes << 20 for megabytes in (8, 16, 20, 24, 28, 40, 4096)]),
}


def python_starts(memory: int) -> bool:
    """Whether Python alone starts within so many bytes. With less it may end, or run in circles, before it
    comes to the first line of any program.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", "pass"],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
            capture_output=True,
            timeout=5,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@pytest.mark.parametrize(("limit", "values"), LIMITS.values(), ids=LIMITS)
def test_process_that_runs_out_of_something_never_allows(
    capped: Home, limit: int, values: list[int], proof: Proof
) -> None:
    cli = Cli(capped.root)
    codes = set()
    if proof.is_full:
        values = [*range(3, 65)] if limit == resource.RLIMIT_NOFILE else [n << 19 for n in range(8, 129)]
    if limit == resource.RLIMIT_AS:
        values = [value for value in values if python_starts(value - (2 << 20))]
    for value in values:
        done = cli(*BLOCKED, preexec_fn=lambda value=value: resource.setrlimit(limit, (value, value)))
        codes.add(done.returncode)
        assert done.returncode not in {0, 10}
        assert (done.returncode == 20) == done.stdout.startswith("block: ")
    assert len(codes) > 1, "no limit was low enough to fail, or none high enough to pass"
    proof.counted(len(values), "limits of memory and open files, none of which let a call through")
