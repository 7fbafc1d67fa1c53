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
    "hal0_budget.model.tokens", "hal0_budget.stores.base", "hal0_budget.stores.memory",
    "hal0_budget.stores.files.calls", "hal0_budget.stores.files.day_sums",
    "hal0_budget.stores.files.salvage", "hal0_budget.stores.files.scaffold",
    "hal0_budget.inputs", "hal0_budget.stores.files.sums", "hal0_budget.stores.files.tail",
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
    *("errors", *MODEL, "providers.prices", "providers.response"),
    *("reporting.dates", "reporting.forecast", "reporting.replay"),
)

# The floors of the house from the ground up: a module imports those of its own floor and below.
FLOORS = {
    **dict.fromkeys(PURE, 0),
    "strict_json": 0,
    "clock": 1,
    "durable": 1,
    "inputs": 1,
    "stores": 1,
    "cli.process": 2,
    "providers": 2,
    "reporting": 2,
    "bookkeeping": 3,
    "providers.costing": 3,
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
    "strict_json": set[str](),
    "durable": set[str](),
    "inputs": {"errors"},
    "model": {"errors"},
    "stores": {*RULES, "durable", "strict_json"},
    "bookkeeping": {*RULES, "stores"},
    "providers": {*RULES, "inputs", "strict_json"},
    "reporting": {*RULES, "stores", "clock"},
    "account": {*RULES, "stores", "clock", "bookkeeping"},
    "__init__": {*RULES, "stores", "account", "reporting"},
    "cli": {
        *RULES,
        "stores",
        "clock",
        "durable",
        "inputs",
        "strict_json",
        "account",
        "reporting",
        "providers",
    },
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
            *("cli.terminal.text", "cli.terminal.table", "cli.terminal.report_table"),
            *("cli.terminal.watch_page", "cli.terminal.progress"),
        },
        "tomli_w": {"stores.files.scaffold"},
    }
    for package, home in homes.items():
        importing = {m for m in MODULES if package in {name.partition(".")[0] for name in imports_of(m)}}
        assert importing == home


def backend(module: str) -> str | None:
    """The store that a module belongs to, such as `files`; None for the interface and all outside."""
    if not module.startswith("stores.") or module in {"stores.base", "stores.open"}:
        return None
    return module.split(".")[1]


def test_only_the_opener_of_stores_imports_a_backend() -> None:
    importing = {(m, backend(name)) for m in MODULES for name in ours(m) if backend(name) != backend(m)}
    # The package offers the store in memory to the tests of its users.
    assert {(m, store) for m, store in importing if store} == {
        ("stores.open", "files"),
        ("__init__", "memory"),
    }
    assert {backend(home) for home in hal0_budget._HOMES.values()} == {None, "memory"}


def calls_of(module: str) -> Iterator[tuple[str, str]]:
    """Each function that a module calls, and the name before the last dot, empty if there is none."""
    for node in ast.walk(ast.parse(MODULES[module].read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield node.func.attr, owner.id if isinstance(owner, ast.Name) else ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, ""


def test_only_the_file_store_opens_data_files() -> None:
    opening = {"open", "opened", "fdopen", "read_bytes", "read_text", "write_bytes", "write_text", "touch"}
    others = {
        "durable",  # opens what its callers name
        "inputs",  # a file, a pipe or stdin that is named on the command line
        "cli.process.runner",  # the file in which the child of `run` reports its cost
        "cli.commands.completion",  # a script of this package
        "__main__",  # /dev/null
    }
    found = {m for m in MODULES if {name for name, _ in calls_of(m)} & opening}
    assert {m for m in found if backend(m) != "files"} == others
    durable = {m for m in MODULES if "durable" in ours(m) and backend(m) != "files"}
    # `report --output` writes a file that no store reads.
    assert durable == {"cli.commands.report"}


def test_only_the_clock_reads_the_time() -> None:
    reading = {("now", "datetime"), ("utcnow", "datetime"), ("today", "date"), ("time", "time")}
    assert {m for m in MODULES if reading & set(calls_of(m))} == {"clock"}
