"""No crash reads as a verdict: whichever call or import of whichever command is the one that fails."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import cycle

import pytest

from hal0_budget import Account, Home
from hal0_budget.cli.app import COMMANDS
from tests.conftest import NOON, SAMPLES, Proof
from tests.support.saboteur import VERDICTS, Outcome, Run, errors, sabotaged

pytestmark = pytest.mark.promise(15)

LINES = (
    *("check hermes --estimate 9", "check hermes --estimate 0.5 --json", "check coder --estimate 1"),
    "charge hermes --cost 0.1 --model m --request-id r1 --hold h0",
    f"charge hermes --batch {SAMPLES / 'batch.jsonl'}",
    *(
        "reserve hermes --estimate 9 --json",
        "reserve hermes --estimate 0.1 --hold-id h1",
        "release hermes h0",
    ),
    *("void hermes r0 --reason x", "run hermes --estimate 0.1 -- echo ran", "set hermes --weekly 3"),
    *("verify", "show", "show hermes --color always", "log hermes", "report", "simulate hermes --daily 0.05"),
    *("init", "help check"),
)
# What a failure ends in: the codes of the table.
FAILED = {64, 65, 66, 70, 74, 75, 76, 77, 130, 143}
LOADED = (
    *("hal0_budget.cli.app", "hal0_budget.cli.terminal.table", "hal0_budget.cli.commands.batch"),
    *(f"hal0_budget.cli.commands.{name}" for name in COMMANDS),
)
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\dZ")


@pytest.fixture
def capped(home: Home) -> Home:
    """An agent whose hermes may spend 1 USD a day, has spent some and holds some; coder is only warned."""
    account = Account(home, "hermes", clock=lambda: NOON)
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal("0.1"), model="m", request_id="r0")
    account.reserve(Decimal("0.1"), hold_id="h0")
    Account(home, "coder").set_budget({"daily_usd": Decimal(0), "hard_cap": False})
    return home


def undisturbed(home: Home, line: str, modules: tuple[str, ...] = ()) -> Outcome:
    (good,) = sabotaged(home.root, line.split(), [("none", "", "")], modules)
    assert good.code in VERDICTS, good
    return good


def assert_no_verdict(found: list[Outcome], good: Outcome) -> None:
    """Each ended in a failure, or said all that is said where nothing fails."""
    for outcome in found:
        if outcome.code == 10 and outcome.out.startswith("notice: "):
            continue  # `verify` names what it could not use
        if outcome.code in VERDICTS:
            assert (outcome.code, TIME.sub("", outcome.out)) == (good.code, TIME.sub("", good.out)), outcome
        else:
            assert outcome.code in FAILED, outcome
            assert "Traceback" not in outcome.err, outcome


@pytest.mark.parametrize("line", LINES)
def test_error_at_any_call_is_no_verdict(line: str, capped: Home, proof: Proof) -> None:
    good = undisturbed(capped, line, LOADED)
    kinds = cycle(errors())
    # The first call is that of `main` itself, within which all others are.
    calls = [str(call) for call in range(2, good.calls + 1, proof.size(good.calls // 3, 1))]
    runs: list[Run] = [("call", call, next(kinds)) for call in calls]
    found = sabotaged(capped.root, line.split(), runs, LOADED)
    assert_no_verdict(found, good)
    proof.counted(len(found), "errors at every call of every command, of all classes in turn, no verdict")
