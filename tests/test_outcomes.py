"""No crash reads as a verdict: whatever is raised, wherever, the exit code is not 0, 10 or 20."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli

pytestmark = pytest.mark.promise(15)

VERDICTS = {0, 10, 20}
BLOCKED = ("check", "hermes", "--estimate", "9")

# Runs the program once for each error, in a process of its own, where one function or one import
# raises it; prints for each error its repr, the exit code, and what stood on stdout and stderr.
SABOTEUR = """
import importlib, json, os, sys, tempfile
from hal0_budget.__main__ import main

def classes(base):
    for kind in base.__subclasses__():
        if kind.__module__ in ("builtins", "decimal", "hal0_budget.errors", "hal0_budget.store.rows"):
            yield kind
        yield from classes(kind)

def made(kind):
    arguments = [(5, "text")] if issubclass(kind, OSError) else [
        ("text",), ("text", [ValueError()]),
        ("utf-8", b"", 0, 1, "text"), ("utf-8", "", 0, 1, "text"), ("", 0, 1, "text"),
    ]
    for args in arguments:
        try:
            return kind(*args)
        except TypeError:
            pass
    raise AssertionError(kind)

class Unprintable(Exception):
    def __str__(self):
        raise SystemExit(0)

class Unreadable(SystemExit):
    @property
    def code(self):
        raise KeyboardInterrupt

def errors():
    found = [made(kind) for kind in {BaseException, *classes(BaseException)}]
    return [*found, Unprintable(), Unreadable(), *map(SystemExit, (None, False, True, 0, 10, 20, "text"))]

class Finder:
    def __init__(self, name, error):
        self.name, self.error = name, error
    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise self.error

def sabotage(module, name, error):
    def fail(*args, **kwargs):
        raise error
    if name is None:
        sys.meta_path.insert(0, Finder(module, error))
    else:
        setattr(importlib.import_module(module), name, fail)

def outcome(argv, module, name, error):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sabotage(module, name, error)
            sys.argv = ["hal0-budget", *argv]
            main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        return repr(error), code, out.read().decode(), err.read().decode()

argv, module, name, expression, preload = json.loads(sys.argv[1])
for each in preload:
    importlib.import_module(each)
print(json.dumps([outcome(argv, module, name, error) for error in eval(expression)]))
"""


class Outcome(NamedTuple):
    """How the program ended that met an error."""

    error: str
    code: int
    out: str
    err: str


def sabotaged(
    home: Home, module: str, name: str | None, errors: str, command: tuple[str, ...] = BLOCKED
) -> list[Outcome]:
    """Run the program once for each of the errors, where `name` of `module`, or its import, raises it."""
    preload = [] if name is None else ["hal0_budget.cli.app", "hal0_budget.cli.check"]
    done = subprocess.run(
        [sys.executable, "-c", SABOTEUR, json.dumps([command, module, name, errors, preload])],
        env={"PATH": os.environ["PATH"], "HAL0_BUDGET_ROOT": str(home.root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [Outcome(*found) for found in json.loads(done.stdout)]


@pytest.fixture
def capped(home: Home) -> Home:
    """An agent whose persona hermes may spend 1 USD a day, and has spent some."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal("0.1"), model="m")
    return home


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
    "while the ledger is opened": ("hal0_budget.store.ledger", "opened"),
    "in the renderer": ("hal0_budget.cli.render", "printable"),
    "before the command line is read": ("hal0_budget.cli.app", "invoke"),
}


@pytest.mark.parametrize(("module", "name"), STEPS.values(), ids=STEPS)
def test_exception_of_any_class_at_any_step_of_a_check_is_no_verdict(
    capped: Home, module: str, name: str
) -> None:
    found = sabotaged(capped, module, name, "errors()")
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


IMPORTS = {
    "typer": BLOCKED,
    "decimal": BLOCKED,
    "tomli": BLOCKED,
    "hal0_budget.errors": BLOCKED,
    "hal0_budget.cli.check": BLOCKED,
    "hal0_budget.cli.render": BLOCKED,
    "tomlkit": ("set", "hermes", "--daily", "2"),
    "tomli_w": ("init",),
    "rich.table": ("show", "--color", "always"),
}


@pytest.mark.parametrize(("module", "command"), IMPORTS.items(), ids=IMPORTS)
def test_exception_at_import_is_no_verdict(capped: Home, module: str, command: tuple[str, ...]) -> None:
    errors = "[ImportError('no'), SystemExit(0), SystemExit(10), MemoryError(), KeyboardInterrupt()]"
    found = sabotaged(capped, module, None, errors, command)
    assert_failures(found)
    assert [outcome.code for outcome in found] == [70, 70, 70, 70, 130]


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


@pytest.mark.parametrize(("limit", "values"), LIMITS.values(), ids=LIMITS)
def test_process_that_runs_out_of_something_never_allows(capped: Home, limit: int, values: list[int]) -> None:
    cli = Cli(capped.root)
    codes = set()
    for value in values:
        done = cli(*BLOCKED, preexec_fn=lambda value=value: resource.setrlimit(limit, (value, value)))
        codes.add(done.returncode)
        assert done.returncode not in {0, 10}
        assert (done.returncode == 20) == done.stdout.startswith("block: ")
    assert len(codes) > 1, "no limit was low enough to fail, or none high enough to pass"
