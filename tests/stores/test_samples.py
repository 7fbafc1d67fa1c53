"""The real shapes that hal0 leaves behind are read exactly, and nothing in them is guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError
from tests.conftest import SAMPLES, Cli, put_ledger


def test_lifetime_sum_of_hal0s_ledger_is_exact(account: Account, ledger: Path) -> None:
    put_ledger(ledger, "hal0.jsonl")
    expected = (SAMPLES / "ledgers" / "hal0.sum").read_text().split("lifetime sum ")[1].split()[0]
    for _ in ("first scan", "from the checkpoint"):
        assert account.show().of("lifetime").spent == Decimal(expected)


def test_torn_tail_is_sealed_by_the_next_charge_with_both_sides_intact(
    account: Account, ledger: Path
) -> None:
    torn = put_ledger(ledger, "torn.jsonl")
    before = account.show().of("lifetime").spent
    assert before is not None
    receipt = account.charge(Decimal("0.25"), model="m", request_id="after the tear")
    after = ledger.read_bytes()
    assert after.startswith(torn)
    assert after.endswith(b"\n" + receipt.row.line())
    assert account.show().of("lifetime").spent == before + Decimal("0.25")
    assert account.show().warnings == ()
    assert account.check(Decimal(1)).verdict.level == "allow"


def test_each_bad_line_of_the_damaged_ledger_is_named_and_none_is_summed(cli: Cli, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    expected = json.loads((SAMPLES / "ledgers" / "damaged.expected.json").read_text())
    done = cli("show", "hermes")
    named = {
        int(line.split("line ")[1].split()[0]) for line in done.stderr.splitlines() if "is unreadable" in line
    }
    assert named == {bad["line"] for bad in expected["lines"] if bad["damage"]}
    assert cli.json("show", "hermes")["spend"]["lifetime_usd"] == Decimal(expected["lifetime_usd"])


def test_damaged_ledger_blocks_under_a_hard_cap_and_warns_without(account: Account, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    account.set_budget({"lifetime_usd": Decimal(1000)})
    with pytest.raises(BudgetError) as caught:
        account.check(Decimal("0.01"))
    assert (caught.value.code, caught.value.exit_code) == ("ledger.damaged", 65)
    account.set_budget({"hard_cap": False})
    assert account.check(Decimal("0.01")).verdict.level == "warn"
