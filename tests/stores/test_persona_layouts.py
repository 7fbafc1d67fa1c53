"""`set` edits every layout that TOML allows for the budget, and says what to write where a file is full."""

from __future__ import annotations

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli
from tests.support.persona_edits import BUDGET, TOP, Changes, lay, sides
from tests.support.persona_layouts import LAYOUTS


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("changes", "diff"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_changes_in_the_budget_alone(
    home: Home, changes: Changes, diff: str, newline: str
) -> None:
    before, after = (text.replace("\n", newline) for text in sides(diff))
    path = lay(home, before)
    Account(home, "operator").set_budget(changes)
    assert path.read_bytes().decode() == after


@pytest.mark.parametrize(
    "text", [f"\ufeff{TOP}{BUDGET} daily_usd = 5\n", f"\ufeff{BUDGET} daily_usd = 5\n{TOP}"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_mark_is_kept_and_every_command_reads_behind_it(
    home: Home, cli: Cli, text: str, newline: str
) -> None:
    before = text.replace("\n ", "\n").replace("\ufeff ", "\ufeff").replace("\n", newline)
    path = lay(home, before)
    assert cli("set", "operator", "--daily", "6", "--weekly", "7").returncode == 0
    after = before.replace("daily_usd = 5", f"daily_usd = 6.0{newline}weekly_usd = 7.0")
    assert path.read_bytes().decode() == after
    assert cli("check", "operator", "--estimate", "6").returncode == 0
    assert cli("check", "operator", "--estimate", "6.5").returncode == 20
    assert cli.json("show", "operator")["budget"] == {"daily_usd": 6, "weekly_usd": 7, "hard_cap": True}
    assert cli("set", "operator", "--daily", "none", "--weekly", "none").returncode == 0
    assert path.read_bytes().decode() == before.replace(f"daily_usd = 5{newline}", "")
