"""Edits of every layout that TOML allows for a budget, each as a diff of the whole file."""

from __future__ import annotations

from decimal import Decimal

from tests.support.persona_edits import ADD, BUDGET, DROP, SET, TOP, Changes

BOTH: Changes = {"daily_usd": Decimal(6), "weekly_usd": Decimal(7)}


SWAP: Changes = {"daily_usd": None, "weekly_usd": Decimal(7)}


# Each layout as a diff, as in the tests of the layouts that people write.
LAYOUTS: dict[str, tuple[Changes, str]] = {
    "added among dotted keys": (
        ADD,
        (
            ' persona.id = "operator"\n'
            " persona.budget.daily_usd = 5 # c\n"
            "+persona.budget.weekly_usd = 7.0\n"
            " [z]\n"
        ),
    ),
    "added beside a dotted key that goes": (
        SWAP,
        TOP + ('-  "budget" . daily_usd = 5 # c\n+  "budget" . weekly_usd = 7.0\n [z]\n'),
    ),
    "several dotted keys": (
        SET,
        TOP + ("-budget.daily_usd = 5\n+budget.daily_usd = 6.0\n budget.hard_cap = true\n"),
    ),
    "added to several dotted keys": (
        ADD,
        TOP + (" budget.daily_usd = 5\n budget.a.b = 1\n+budget.weekly_usd = 7.0\n x = 1\n"),
    ),
    "dotted keys apart": (
        ADD,
        TOP
        + (" budget.daily_usd = 5\n x = 1\n \tbudget.hard_cap = true\n+\tbudget.weekly_usd = 7.0\n y = 1\n"),
    ),
    "only a dotted table within": (
        ADD,
        TOP + (" budget.new.a = 1\n+budget.weekly_usd = 7.0\n"),
    ),
    "dotted at the top, and a table of persona": (
        SET,
        (
            ' persona.id = "operator"\n'
            "-persona.budget.daily_usd = 5\n"
            "+persona.budget.daily_usd = 6.0\n"
            " [persona.tools]\n"
            " a = 1\n"
        ),
    ),
    "dotted at the top without a budget": (
        ADD,
        (' persona.id = "operator"\n [z]\n a = 1\n+\n+[persona.budget]\n+weekly_usd = 7.0\n'),
    ),
    "dotted, the budget inline": (
        ADD,
        (
            ' persona.id = "operator"\n'
            "-persona.budget = { daily_usd = 5 }\n"
            "+persona.budget = { daily_usd = 5, weekly_usd = 7.0 }\n"
        ),
    ),
    "dotted within the persona inline": (
        BOTH,
        (
            '-persona = { id = "operator", budget.daily_usd = 5, a = 1 }\n'
            '+persona = { id = "operator", budget.daily_usd = 6.0, a = 1, budget.weekly_usd = 7.0 }\n'
        ),
    ),
    "persona inline without a budget": (
        BOTH,
        (
            '-persona = { id = "operator" } # c\n'
            '+persona = { id = "operator", budget = { daily_usd = 6.0, weekly_usd = 7.0 } } # c\n'
            " z = 1\n"
        ),
    ),
    "inline, all replaced": (
        SWAP,
        TOP + ("-budget = { daily_usd = 5 } # c\n+budget = { weekly_usd = 7.0 } # c\n"),
    ),
    "inline, the first removed": (
        DROP,
        TOP + ("-budget = { daily_usd = 5 , b = 1 }\n+budget = { b = 1 }\n"),
    ),
    "inline, the last removed": (
        DROP,
        TOP + ("-budget = { b = 1 , daily_usd = 5 }\n+budget = { b = 1 }\n"),
    ),
    "inline and empty": (
        ADD,
        TOP + ("-budget = {}\n+budget = {weekly_usd = 7.0}\n"),
    ),
    "inline and blank": (
        ADD,
        TOP + ("-budget = { }\n+budget = { weekly_usd = 7.0 }\n"),
    ),
    "inline on several lines": (
        {"daily_usd": None, "hourly_usd": None, "weekly_usd": Decimal(7)},
        TOP
        + (
            " budget = { # c\n"
            "   # an hour\n"
            "-  hourly_usd = 5, # c\n"
            "   # a\n"
            "-  a = 1, # a\n"
            "+  a = 1, weekly_usd = 7.0, # a\n"
            "   # a day\n"
            "-  daily_usd = 5 # c\n"
            " }\n"
        ),
    ),
    "budget only as the parent of a table": (
        ADD,
        TOP + (" [persona.budget.new]\n a = 1\n+\n+[persona.budget]\n+weekly_usd = 7.0\n"),
    ),
    "budget in two places": (
        BOTH,
        (
            " [persona.budget.new]\n"
            " daily_usd = 5\n"
            " [persona]\n"
            ' id = "operator"\n'
            " [persona.budget]\n"
            "-daily_usd = 5\n"
            "+daily_usd = 6.0\n"
            "+weekly_usd = 7.0\n"
            " [persona.z]\n"
        ),
    ),
    "budget in three places": (
        ADD,
        (
            " [persona.budget.a]\n"
            " [persona.budget]\n"
            "+weekly_usd = 7.0\n"
            " [[persona.budget.b]]\n"
            " [persona.budget.b.c]\n"
            " weekly_usd = 1\n"
            " [persona]\n"
            ' id = "operator"\n'
        ),
    ),
    "key written in escapes": (
        SET,
        TOP + BUDGET + ('-"daily\\u005fusd" = 5\n+"daily\\u005fusd" = 6.0\n'),
    ),
    "tables written in escapes": (
        SET,
        TOP + (' ["p\\u0065rsona"."\\U00000062udget"]\n-daily_usd = 5\n+daily_usd = 6.0\n'),
    ),
    "deep nesting before": (
        SET,
        TOP + (f" a = {'[' * 150}{']' * 150}\n [persona.budget]\n-daily_usd = 5\n+daily_usd = 6.0\n"),
    ),
    "key with a table for its value": (
        SET,
        TOP + BUDGET + (" b = 1\n+daily_usd = 6.0\n-[persona.budget.daily_usd]\n-usd = 5 # c\n # d\n [z]\n"),
    ),
    "key with tables for its value": (
        SET,
        TOP
        + BUDGET
        + (
            "+daily_usd = 6.0\n-[[persona.budget.daily_usd]]\n-usd = 5\n-[persona.budget.daily_usd.x]\n [z]\n"
        ),
    ),
    "key with a dotted table for its value": (
        SET,
        TOP + BUDGET + ("-daily_usd.usd = 5\n b = 1\n+daily_usd = 6.0\n"),
    ),
    "key with a dotted table inline": (
        SET,
        TOP + ("-budget = { daily_usd.usd = 5, b = 1 }\n+budget = { b = 1, daily_usd = 6.0 }\n"),
    ),
    "key with an inline table for its value": (
        SET,
        TOP + BUDGET + ("-daily_usd = { daily_usd = 5 } # c\n+daily_usd = 6.0 # c\n"),
    ),
    "strings that end in quotes": (
        SET,
        TOP
        + (
            ' a = """\n'
            ' x\\"""\n'
            " daily_usd = 1\n"
            '"""""\n'
            " b = ''''''''\n"
            " [persona.budget]\n"
            "-daily_usd = 5\n"
            "+daily_usd = 6.0\n"
        ),
    ),
    "values of every kind before": (
        SET,
        TOP
        + (
            " a = 1979-05-27 07:32:00 # d\n"
            ' b = [ "]", \'}\', { c = "}" }, # ]\n'
            " ]\n"
            " c = { d = [ { budget.daily_usd = 1 } ] }\n"
            " [persona.budget]\n"
            "-daily_usd = 5\n"
            "+daily_usd = 6.0\n"
        ),
    ),
}
