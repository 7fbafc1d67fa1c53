"""`set` changes the keys that it names in the budget table, and not one byte around them."""

from __future__ import annotations

import pytest

from hal0_budget import Account, Home
from tests.conftest import SAMPLES, Cli
from tests.support.persona_edits import (
    ADD,
    BUDGET,
    LAYOUTS,
    SET,
    SEVEN,
    TO_SIX,
    TOP,
    Changes,
    lay,
    sides,
)

OPERATOR = (SAMPLES / "personas" / "operator.toml").read_bytes().decode()


# The options, the text of operator.toml that they change, and what stands there afterwards.
EDITS = {
    "per call": ("--per-call 0.25", "usd = 0.5 ", "usd = 0.25 "),
    "daily": ("--daily 7.5", "= 5      # an", "= 7.5      # an"),
    "lifetime": ("--lifetime 1", "= 200.00\n", "= 1.0\n"),
    "warn only": ("--warn-only", "= true   # block", "= false   # block"),
    "hourly is added": ("--hourly 1", "reads this one\n", "reads this one\n  hourly_usd = 1.0\n"),
    "weekly is added": ("--weekly 20", "reads this one\n", "reads this one\n  weekly_usd = 20.0\n"),
    "monthly is added beside the one that is switched off": (
        "--monthly 50",
        "reads this one\n",
        "reads this one\n  monthly_usd = 50.0\n",
    ),
    "warn at": ("--warn-at 0.8", "reads this one\n", "reads this one\n  warn_at = 0.8\n"),
    "daily is removed": ("--daily none", "  daily_usd        = 5      # an integer is fine\n", ""),
    "what is not set is removed": ("--monthly none", "", ""),
    "the same value": ("--daily 5 --lifetime 200.0 --hard-cap", "", ""),
}


@pytest.mark.parametrize(("options", "old", "new"), EDITS.values(), ids=EDITS)
def test_set_changes_one_line_of_a_file_kept_by_hand(
    home: Home, cli: Cli, options: str, old: str, new: str
) -> None:
    path = lay(home, OPERATOR)
    assert not old or OPERATOR.count(old) == 1
    assert cli("set", "operator", *options.split()).returncode == 0
    assert path.read_bytes().decode() == (OPERATOR.replace(old, new) if old else OPERATOR)


def test_replace_drops_our_keys_that_are_not_named_and_keeps_unknown_ones(home: Home, cli: Cli) -> None:
    path = lay(home, OPERATOR)
    assert cli("set", "operator", "--replace", "--daily", "7").returncode == 0
    lines = [
        line.replace("= 5 ", "= 7.0 ")
        for line in OPERATOR.splitlines(keepends=True)
        if not line.startswith(("  per_call_max_usd", "  lifetime_usd", "  hard_cap"))
    ]
    assert path.read_bytes().decode() == "".join(lines)


def test_dry_run_shows_the_change_and_writes_nothing(home: Home, cli: Cli) -> None:
    path = lay(home, OPERATOR)
    answer = cli.json("set", "operator", "--daily", "7", "--dry-run")
    assert answer["changes"] == [{"key": "daily_usd", "from": 5, "to": 7}]
    assert path.read_bytes().decode() == OPERATOR


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("changes", "diff"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_changes_in_the_budget_alone(
    home: Home, changes: Changes, diff: str, newline: str
) -> None:
    before, after = (text.replace("\n", newline) for text in sides(diff))
    path = lay(home, before)
    Account(home, "operator").set_budget(changes)
    assert path.read_bytes().decode() == after


NO_FINAL_NEWLINE = {
    "value": (SET, TOP + BUDGET + TO_SIX, ""),
    "comment": (SET, TOP + BUDGET + TO_SIX + " # end\n", ""),
    "added": (ADD, TOP + BUDGET + " daily_usd = 5 # c\n" + SEVEN, "\n"),
    "added behind a space": (ADD, TOP + BUDGET + " a = [\n ] \n" + SEVEN, "\n"),
    "added to an empty table": (ADD, TOP + BUDGET + SEVEN, "\n"),
    "no table": (ADD, TOP + "+\n+[persona.budget]\n" + SEVEN, "\n"),
}


@pytest.mark.parametrize(("changes", "diff", "end"), NO_FINAL_NEWLINE.values(), ids=NO_FINAL_NEWLINE)
def test_file_without_a_final_newline_gets_one_only_behind_a_new_line(
    home: Home, changes: Changes, diff: str, end: str
) -> None:
    before, after = sides(diff)
    path = lay(home, before.removesuffix("\n"))
    Account(home, "operator").set_budget(changes)
    assert path.read_bytes().decode() == after.removesuffix("\n") + end
