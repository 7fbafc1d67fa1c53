"""Edits of a persona file, each as a diff of the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from hal0_budget import Home

Changes = Mapping[str, Decimal | bool | None]


def lay(home: Home, text: str) -> Path:
    """Make `text` the persona `operator`, byte for byte; its file."""
    path = home.persona_file("operator")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


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
