"""The commands that write, with what is done before each of them and the file that it writes to."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from hal0_budget import Account, BudgetError, Home
from hal0_budget.cli.app import invoke
from hal0_budget.cli.options import Output
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.conftest import SAMPLES
from tests.support.faults import tear

LEDGER, HOLDS, PERSONA = "spend.jsonl", "spend.holds", "hermes.toml"


R0 = "charge hermes --cost 0.25 --model m --request-id r0"


H0 = "reserve hermes --estimate 0.25 --hold-id h0"


class Case(NamedTuple):
    """A command that writes, what was done before, and the file that says that it is done."""

    line: str
    file: str
    before: tuple[str, ...] = (R0, H0)
    is_torn: bool = False


CASES = {
    "first charge": Case("charge hermes --cost 0.25 --model m --request-id r1", LEDGER, ()),
    "charge": Case("charge hermes --cost 0.25 --model m --request-id r1", LEDGER),
    "charge after a tear": Case("charge hermes --cost 0.25 --model m --request-id r1", LEDGER, is_torn=True),
    "first reserve": Case("reserve hermes --estimate 0.5 --hold-id h1", HOLDS, ()),
    "reserve": Case("reserve hermes --estimate 0.5 --hold-id h1", HOLDS),
    "release": Case("release hermes h0", HOLDS),
    "charge of a hold": Case("charge hermes --cost 0.3 --model m --request-id r1 --hold h0", LEDGER),
    "batch": Case(f"charge hermes --batch {SAMPLES / 'batch.jsonl'}", LEDGER),
    "void": Case("void hermes r0 --reason wrong", LEDGER),
    "set": Case("set hermes --daily 5", PERSONA, ()),
}


State = tuple[Decimal | None, Decimal, Decimal | None]


def state_of(home: Home) -> State:
    """What is spent, what is held and what the daily cap is, by who looks now; nothing is damaged."""
    assert not [found for found in audit(home, "hermes", utc_now()).findings if found.severity == "damage"]
    statement = Account(home, "hermes").show()
    return statement.of("lifetime").spent, statement.held, statement.of("daily").cap


def ask(home: Home, line: str) -> int:
    """Run a command line in this process; its exit code."""
    try:
        result = invoke(["--root", str(home.root), *line.split()], Output())
    except BudgetError as error:
        return error.exit_code
    assert not isinstance(result, int)
    return result.exit_code


def laid(home: Home, case: Case) -> Path:
    """Do what is done before; the file that the case's command writes to."""
    for line in case.before:
        assert ask(home, line) == 0
    if case.is_torn:
        tear(home.spend_dir("hermes") / LEDGER)
    return (home.personas if case.file == PERSONA else home.spend_dir("hermes")) / case.file
