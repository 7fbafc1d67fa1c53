"""Files that an earlier version wrote are read as they were meant, guarded, and brought up to date."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home
from hal0_budget.stores.files.audit import audit
from tests.conftest import NOON, SAMPLES

FILES = ("spend.jsonl", "spend.holds", "spend.checkpoint")


@pytest.fixture
def account(home: Home, ledger: Path) -> Account:
    """A persona with 29 charges, a void, and holds that were settled, released, booked and are open ($3)."""
    account = Account(home, "hermes", clock=lambda: NOON)
    account.set_budget({"lifetime_usd": Decimal(100)})
    for name in FILES:
        shutil.copy(SAMPLES / "earlier" / name, ledger.with_name(name))
    return account


def spent_and_held(account: Account) -> tuple[Decimal | None, Decimal]:
    statement = Account(account.home, "hermes", clock=lambda: NOON).show()
    assert statement.warnings == ()
    return statement.of("lifetime").spent, statement.held


def test_sums_and_holds_are_what_they_were(account: Account) -> None:
    assert audit(account.home, "hermes", NOON).findings == ()
    for _ in ("counted once", "from the new checkpoint"):
        assert spent_and_held(account) == (Decimal("8.125"), Decimal(3))


def test_write_brings_the_files_up_to_date(account: Account, ledger: Path) -> None:
    assert account.charge(Decimal("0.25"), model="m", surface="openrouter", request_id="r5").was_recorded
    account.charge(Decimal("2.5"), model="m", hold_id="open", request_id="o1")
    assert spent_and_held(account) == (Decimal("10.625"), Decimal(0))
    with pytest.raises(BudgetError) as caught:
        account.charge(Decimal(1), model="m", hold_id="settled")
    assert caught.value.code == "conflict"
    assert ledger.with_name("spend.holds").read_text().startswith('{"journal":')
    assert audit(account.home, "hermes", NOON).findings == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "spend.holds").unlink(),
        lambda folder: (folder / "spend.holds").write_bytes(b""),
        lambda folder: (folder / "spend.jsonl").unlink(),
        lambda folder: (folder / "spend.jsonl").write_bytes((folder / "spend.jsonl").read_bytes()[:-200]),
        lambda folder: (folder / "spend.jsonl").write_bytes(
            (folder / "spend.jsonl").read_bytes().replace(b'"cost_usd":0.25', b'"cost_usd":0.24', 1)
        ),
    ],
    ids=["no journal", "an empty journal", "no ledger", "a shorter ledger", "another amount"],
)
def test_damage_is_seen_before_anything_is_brought_up_to_date(
    damage: Callable[[Path], object], account: Account, ledger: Path
) -> None:
    damage(ledger.parent)
    with pytest.raises(BudgetError) as caught:
        account.check(Decimal("0.01"))
    assert caught.value.code == "ledger.damaged"
