"""The gate imports little, and the arrows between the modules point down."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import hal0_budget
from hal0_budget import Account, Home

PACKAGE = Path(hal0_budget.__file__).parent

# Of no use to the gate, and each dear: the list that promises.md makes, and what else it need not know.
BANNED = {
    "rich", "pydantic", "tomlkit", "asyncio", "importlib.metadata", "tomli_w", "hypothesis",
    "click", "tempfile", "tomllib", "logging", "email", "http", "socket", "ssl",
    "multiprocessing", "concurrent", "zoneinfo", "fractions", "html", "csv", "hashlib", "genai_prices",
    "unicodedata", "hal0_budget.providers", "hal0_budget.reporting",
    "hal0_budget.model.cap_words", "hal0_budget.model.lookalikes", "hal0_budget.model.sums",
    "hal0_budget.model.tokens",
    "hal0_budget.stores.files.calls", "hal0_budget.stores.files.day_sums",
    "hal0_budget.stores.files.salvage", "hal0_budget.stores.files.scaffold",
    "hal0_budget.stores.files.source", "hal0_budget.stores.files.sums", "hal0_budget.stores.files.tail",
    "hal0_budget.cli.completion", "hal0_budget.cli.caps", "hal0_budget.cli.pricing",
    "hal0_budget.cli.response", "hal0_budget.cli.process", "hal0_budget.cli.terminal",
    "hal0_budget.cli.render.rows", "hal0_budget.cli.commands.run", "hal0_budget.cli.commands.set",
}  # fmt: skip

HOT = {
    "check with an estimate": "check hermes --estimate 0.1",
    "check": "check hermes",
    "check that blocks": "check hermes --estimate 9",
    "check as JSON": "check hermes --estimate 0.1 --json",
    "check for monitoring": "check hermes --estimate 9 --format nagios",
    "charge": "charge hermes --cost 0.1 --model m",
    "charge as JSON": "charge hermes --cost 0.1 --model m --json",
}


@pytest.fixture
def capped(home: Home) -> Home:
    """An agent whose persona hermes has a cap, a spending and a checkpoint."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1), "warn_at": Decimal("0.9")})
    account.charge(Decimal("0.1"), model="m")
    return home


# The program as its script starts it; it ends without leaving Python a chance to say anything.
LISTED = """
import os, sys
from hal0_budget.__main__ import main
end = os._exit
os._exit = lambda code: (print(*sys.modules, file=sys.stderr, flush=True), end(code))
sys.argv[0] = "hal0-budget"
main()
"""


@pytest.mark.parametrize("command", HOT.values(), ids=HOT)
def test_hot_path_imports_nothing_dear(capped: Home, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTED, *command.split()],
        env={"PATH": os.environ["PATH"], "HAL0_BUDGET_ROOT": str(capped.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in {0, 2, 20}
    imported = set(done.stderr.split())
    assert {"typer", "tomli", f"hal0_budget.cli.commands.{command.split(maxsplit=1)[0]}"} <= imported
    assert not {name for name in imported if any(f"{name}.".startswith(f"{dear}.") for dear in BANNED)}


def test_library_imports_nothing_of_the_command_line() -> None:
    script = (
        "import json, sys; from hal0_budget import *; Account, Home, Verdict, init; "
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    imported = json.loads(done.stdout)
    assert "hal0_budget.account" in imported
    assert not [name for name in imported if name.startswith(("hal0_budget.cli", "typer", "rich", "tomlkit"))]


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports_of(module: str) -> set[str]:
    """The full names of all modules that a module imports, anywhere in it, those for types too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides where its arrow points"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(module: str) -> Iterator[str]:
    for name in imports_of(module):
        inner = name.removeprefix("hal0_budget.")
        if name != inner and inner in MODULES:
            yield inner


MODEL = tuple(module for module in MODULES if module.partition(".")[0] == "model")
PURE = (
    *("errors", *MODEL, "providers.prices", "providers.reply"),
    *("reporting.dates", "reporting.forecast", "reporting.replay"),
)

# The floors of the house from the ground up: a module imports those of its own floor and below.
FLOORS = {
    **dict.fromkeys(PURE, 0),
    "clock": 1,
    "stores": 1,
    "cli.process": 2,
    "providers": 2,
    "reporting": 2,
    "bookkeeping": 3,
    "providers.settlement": 3,
    "account": 4,
    "reporting.report": 4,
    "reporting.simulation": 4,
    "__init__": 5,
    "cli": 6,
    "__main__": 7,
}

# What each package, and each module outside of one, imports of the others.
RULES = {"errors", "model"}
ARROWS = {
    "errors": set[str](),
    "clock": set[str](),
    "model": {"errors"},
    "stores": RULES,
    "bookkeeping": {*RULES, "stores"},
    "providers": {*RULES, "stores"},
    "reporting": {*RULES, "stores", "clock"},
    "account": {*RULES, "stores", "clock", "bookkeeping"},
    "__init__": {*RULES, "stores", "account", "reporting"},
    "cli": {*RULES, "stores", "clock", "account", "reporting", "providers"},
    "__main__": {"errors", "cli"},
}


def floor(module: str) -> int:
    parts = module.split(".")
    heads = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(FLOORS[head] for head in heads if head in FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    above = [name for name in ours(module) if floor(name) > floor(module)]
    assert not above
    if floor(module) == floor("account"):
        assert all(floor(name) < floor(module) for name in ours(module))


@pytest.mark.parametrize("module", MODULES)
def test_package_imports_only_the_packages_below_it(module: str) -> None:
    package = module.partition(".")[0]
    assert {name.partition(".")[0] for name in ours(module)} <= {package, *ARROWS[package]}


@pytest.mark.parametrize("module", PURE)
def test_pure_module_imports_nothing_that_reaches_outside(module: str) -> None:
    reaching = {
        "os", "io", "pathlib", "subprocess", "time", "shutil", "socket", "sys", "tempfile", "fcntl", "random",
        "typer", "tomli", "tomlkit", "tomli_w", "rich", "json", "logging", "signal", "threading",
    }  # fmt: skip
    if module == "model.records":
        reaching.remove("json")
    assert not {name.partition(".")[0] for name in imports_of(module)} & reaching


def test_click_is_never_imported() -> None:
    importing = [module for module in MODULES if "click" in {n.partition(".")[0] for n in imports_of(module)}]
    assert importing == []
    assert "typer" in {name for module in MODULES for name in imports_of(module)}


def test_only_what_draws_imports_rich_and_only_init_writes_toml() -> None:
    homes = {
        "rich": {
            *("cli.terminal.canvas", "cli.terminal.page", "cli.terminal.table", "cli.terminal.progress"),
            "cli.render.report_table",
        },
        "tomli_w": {"stores.files.scaffold"},
    }
    for package, home in homes.items():
        importing = {m for m in MODULES if package in {name.partition(".")[0] for name in imports_of(m)}}
        assert importing == home


# The public names of the file store, and helpers that are no part of it.
SHARED = {"stores.files.durable", "stores.files.source", "stores.files.row_format"}


def test_only_the_opener_of_stores_imports_one() -> None:
    outside = [module for module in MODULES if not module.startswith("stores.files")]
    importing = {
        m for m in outside for name in ours(m) if name.startswith("stores.files.") and name not in SHARED
    }
    assert importing == {"stores.open", "__init__"}
