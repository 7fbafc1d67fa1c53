"""Calls in parallel never spend more than the cap: the recipes of the docs, and bare reserves."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import COMMAND, Cli

SHELL_PAGE = Path(__file__).parents[2] / "docs" / "shell.md"
# Writes its cost into the file it is given, and says that it ran.
CALL = '#!/bin/sh\nsleep 0.05\necho 0.09 > "$1"\necho "$2" >> calls\n'


def recipe(name: str) -> str:
    """The script of docs/shell.md that begins with the comment `# NAME:`."""
    for block in re.findall(r"^```bash\n(.*?)^```", SHELL_PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if block.startswith(f"# {name}:"):
            return str(block)
    raise AssertionError(f"no recipe {name}")


@pytest.mark.promise(4)
@pytest.mark.parametrize("name", ["parallel.sh", "parallel-by-hand.sh"])
def test_recipe_runs_only_the_calls_that_fit_the_cap(
    name: str, cli: Cli, tmp_path: Path, ledger: Path
) -> None:
    cli("set", "hermes", "--daily", "1")
    (tmp_path / name).write_text(recipe(name))
    (tmp_path / "call.sh").write_text(CALL)
    (tmp_path / "call.sh").chmod(0o755)
    done = subprocess.run(
        ["bash", name],
        cwd=tmp_path,
        env=cli.environment(PATH=f"{COMMAND.parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in ledger.read_text().splitlines()]
    assert [row["cost_usd"] for row in rows] == [Decimal("0.09")] * len(calls)
    # Ten fit while ten are held; an eleventh fits once a few have settled at less than was held.
    assert len(calls) in (10, 11)
    assert sum(row["cost_usd"] for row in rows) <= 1
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == 0


@pytest.mark.promise(4)
def test_parallel_reserves_of_processes_grant_exactly_what_fits(cli: Cli, home: Home) -> None:
    cli("set", "hermes", "--daily", "1")
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: cli("reserve", "hermes", "--estimate", "0.1").returncode, range(24)))
    assert sorted(codes) == [0] * 10 + [20] * 14
    assert Account(home, "hermes").show().held == 1
