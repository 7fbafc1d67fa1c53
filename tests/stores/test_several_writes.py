"""A row that lacks its newline is never hidden by what is appended to it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError
from tests.conftest import Cli

HALF = b'{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surf'


@pytest.fixture
def spoilt(account: Account, ledger: Path) -> Account:
    """An account of $3, whose last row ($2) lost its newline before half a row was appended."""
    account.set_budget({"lifetime_usd": Decimal(4)})
    account.charge(Decimal(1), model="m", request_id="r1")
    row = account.charge(Decimal(2), model="m", request_id="r2").row.line()
    with ledger.open("r+b") as file:
        file.truncate(ledger.stat().st_size - len(row))
    for name in ("spend.checkpoint", "spend.lock", ".spend.lock.link"):
        ledger.with_name(name).unlink()
    Account(account.home, "hermes", clock=account.clock).show()
    with ledger.open("ab") as file:
        file.write(row.rstrip(b"\n"))
    assert account.show().of("lifetime").spent == 3
    with ledger.open("ab") as file:
        file.write(HALF)
    return account


def refuses(account: Account) -> bool:
    try:
        return Account(account.home, "hermes", clock=account.clock).check(Decimal(2)).verdict.level == "block"
    except BudgetError as error:
        return error.code == "ledger.damaged"


def test_gate_refuses_until_it_is_repaired_and_the_row_counts(
    spoilt: Account, cli: Cli, ledger: Path
) -> None:
    assert refuses(spoilt)
    assert cli("verify", "hermes").returncode == 65
    spoilt.charge(Decimal("0.5"), model="m", request_id="r3")
    assert refuses(spoilt)
    assert cli("verify", "hermes", "--repair").returncode in {0, 10}
    assert Account(spoilt.home, "hermes", clock=spoilt.clock).show().of("lifetime").spent == Decimal("3.5")
    assert refuses(spoilt)
    assert ledger.read_bytes().count(b'"request_id":"r2"') == 1
