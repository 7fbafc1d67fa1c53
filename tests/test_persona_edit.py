"""`set` changes the keys that it names in the budget table, and not one byte around them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import SAMPLES, Cli

OPERATOR = (SAMPLES / "personas" / "operator.toml").read_bytes().decode()

Changes = Mapping[str, Decimal | bool | None]


def lay(home: Home, text: str) -> Path:
    """Make `text` the persona `operator`, byte for byte; its file."""
    path = home.persona_file("operator")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


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


SET: Changes = {"daily_usd": Decimal(6)}
ADD: Changes = {"weekly_usd": Decimal(7)}
DROP: Changes = {"daily_usd": None}

# Each layout as a diff: what begins with `-` stands there before, what begins with `+` after.
TOP = ' [persona]\n id = "operator"\n'
BUDGET = " [persona.budget]\n"
TO_SIX = "-daily_usd = 5\n+daily_usd = 6.0\n"
INLINE = 'persona = { id = "operator", budget = { daily_usd = 5 } , a = 1 }\n'
SEVEN = "+weekly_usd = 7.0\n"
LAYOUTS: dict[str, tuple[Changes, str]] = {
    "quoted keys": (SET, TOP + ' [ persona . "budget" ]\n-"daily_usd"=5\n+"daily_usd"=6.0\n'),
    "tabs": (ADD, TOP + " \t[persona.budget]\n \t\tdaily_usd\t=\t5\t# c\n+\t\tweekly_usd = 7.0\n"),
    "number with underscores": (SET, TOP + BUDGET + "-daily_usd=1_0.5e1#c\n+daily_usd=6.0#c\n"),
    "first": (SET, BUDGET + TO_SIX + " # c\n" + TOP),
    "middle": (ADD, TOP + BUDGET + " daily_usd = 5\n" + SEVEN + "\n # tools\n [persona.tools]\n"),
    "between other tables": (
        DROP,
        " [x]\n [persona.tools]\n [y]\n" + BUDGET + "-daily_usd = 5\n # c\n" + TOP,
    ),
    "comment on the header": (ADD, TOP + " [persona.budget] # caps\n" + SEVEN + "\n # tools\n [z]\n"),
    "blank lines of spaces": (SET, TOP + BUDGET + "   \n" + TO_SIX + " \t\n [z]\n"),
    "empty": (ADD, TOP + BUDGET + SEVEN + " [z]\n"),
    "emptied": (DROP, TOP + BUDGET + "-daily_usd = 5\n [z]\n"),
    "no table": (ADD, TOP + " [z]\n a = 1\n+\n+[persona.budget]\n" + SEVEN),
    "no table but a prompt": (
        SET,
        TOP + ' p = """\n [persona.budget]\n daily_usd = 9\n """\n+\n+[persona.budget]\n+daily_usd = 6.0\n',
    ),
    "prompt before the table": (
        SET,
        TOP + " p = '''\n [persona.budget]\n daily_usd = 5\n '''\n" + BUDGET + TO_SIX,
    ),
    "the key in other tables": (
        SET,
        " daily_usd = 5\n" + TOP + " daily_usd = 5\n [budget]\n daily_usd = 5\n" + BUDGET + TO_SIX,
    ),
    "the key in comments": (
        SET,
        TOP + BUDGET + " # daily_usd = 5\n-daily_usd = 5 # daily_usd = 5\n+daily_usd = 6.0 # daily_usd = 5\n",
    ),
    "table within": (ADD, TOP + BUDGET + SEVEN + " [persona.budget.new]\n a = 1\n"),
    "tables within": (ADD, TOP + BUDGET + " b = 1\n" + SEVEN + "\n [[persona.budget.new]]\n a = 1\n"),
    "dotted key within": (ADD, TOP + BUDGET + SEVEN + " new.a = 1\n"),
    "inline": (
        SET,
        TOP + "-budget = { daily_usd = 5 , b = true } # c\n+budget = { daily_usd = 6.0 , b = true } # c\n",
    ),
    "inline, added": (
        ADD,
        TOP + "-budget = {daily_usd = 5} # c\n+budget = {daily_usd = 5, weekly_usd = 7.0} # c\n",
    ),
    "inline, emptied": (DROP, TOP + "-budget = {daily_usd = 5} # c\n+budget = {} # c\n a = 1\n"),
    "persona inline": (
        SET,
        "-" + INLINE + "+" + INLINE.replace("5", "6.0"),
    ),
    "dotted at the top": (
        SET,
        ' persona.id = "operator"\n-persona.budget.daily_usd = 5 # c\n+persona.budget.daily_usd = 6.0 # c\n',
    ),
    "dotted at the top, emptied": (
        DROP,
        ' persona.id = "operator"\n-persona.budget.daily_usd = 5 # c\n [z]\n',
    ),
    "dotted in persona": (SET, TOP + "-budget.daily_usd = 5 # c\n+budget.daily_usd = 6.0 # c\n [z]\n"),
    "line separator in a comment": (
        DROP,
        TOP + " [persona.budget] # \u2028daily_usd = 5\x85\n-daily_usd = 5 # a\u2028b\n # c\n",
    ),
}


def sides(diff: str) -> tuple[str, str]:
    """The two texts that a diff of whole files tells of."""
    lines = diff.split("\n")[:-1]
    before, after = ("".join(line[1:] + "\n" for line in lines if line[:1] != sign) for sign in "+-")
    return before, after


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
