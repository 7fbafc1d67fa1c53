"""One request id is one row: for every row ever written, whatever happened meanwhile."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Charge, Home
from hal0_budget.stores.files.writer import Writer
from tests.conftest import NOON, Cli, put_ledger
from tests.support.faults import Trace
from tests.support.ledgers import hal0_sum

COST = Decimal("0.25")


def ids_in(ledger: Path) -> list[str]:
    return [json.loads(line)["request_id"] for line in ledger.read_text().splitlines()]


def test_same_id_with_the_same_facts_is_recorded_once_and_says_so(cli: Cli, ledger: Path) -> None:
    charge = ("charge", "hermes", "--model", "m", "--request-id", "r1", "--cost")
    assert cli(*charge, "0.25").stdout.startswith("charged $0.2500")
    again = cli(*charge, "0.250")
    assert (again.returncode, again.stdout) == (0, "already recorded: $0.2500 to hermes: request r1\n")
    assert ids_in(ledger) == ["r1"]


@pytest.mark.parametrize(
    "other", [{"cost": Decimal("0.26")}, {"model": "n"}, {"surface": "x"}], ids=["cost", "model", "surface"]
)
def test_same_id_with_other_facts_is_a_conflict_and_no_row(
    account: Account, ledger: Path, other: dict[str, object]
) -> None:
    account.charge(COST, model="m", request_id="r1")
    facts = {"cost": COST, "model": "m", "request_id": "r1", **other}
    with pytest.raises(BudgetError) as caught:
        account.charge(**facts)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.exit_code) == ("conflict", 76)
    assert ids_in(ledger) == ["r1"]


def test_every_id_of_hal0s_ledger_is_known(account: Account, ledger: Path) -> None:
    put_ledger(ledger, "hal0.jsonl")
    rows = [json.loads(line, parse_float=Decimal) for line in ledger.read_text().splitlines()]
    for row in rows[::50]:
        receipt = account.charge(
            row["cost_usd"], model=row["model"], surface=row["surface"], request_id=row["request_id"]
        )
        assert receipt.was_recorded
    assert len(ids_in(ledger)) == len(rows)


def test_row_that_lacks_its_newline_alone_is_on_record(account: Account, ledger: Path) -> None:
    """A disk that was full to the byte: whoever charges again must not charge twice."""
    for number in range(2):
        account.charge(COST, model="m", request_id=f"r{number}")
    ledger.write_bytes(ledger.read_bytes()[:-1])
    ledger.with_name("spend.checkpoint").unlink()
    assert account.charge(COST, model="m", request_id="r1").was_recorded
    assert ledger.read_bytes().endswith(b"\n"), "hal0's next row would merge with one that is acknowledged"
    account.void("r1", "wrong")
    with pytest.raises(BudgetError) as caught:
        account.void("r1", "wrong")
    assert caught.value.exit_code == 76
    assert account.show().of("lifetime").spent == COST


def test_row_that_is_on_record_in_a_ledger_that_is_gone_meanwhile_is_not_acknowledged(
    account: Account, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.charge(COST, model="m", request_id="r0")
    sync = Writer.confirm_rows

    def replaced_before(writer: Writer) -> None:
        ledger.rename(ledger.with_name("orphan"))
        ledger.write_bytes(b"")
        sync(writer)

    monkeypatch.setattr(Writer, "confirm_rows", replaced_before)
    with pytest.raises(BudgetError, match="replaced while a row was looked for") as caught:
        account.charge(COST, model="m", request_id="r0")
    assert caught.value.exit_code == 74


def test_ids_are_found_in_a_damaged_ledger_too(account: Account, ledger: Path) -> None:
    for number in range(5):
        account.charge(COST, model="m", request_id=f"r{number}")
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert account.charge(COST, model="m", request_id="r4").was_recorded
    assert not account.charge(COST, model="m", request_id="r2").was_recorded


@pytest.mark.parametrize("request_id", ["a b", "ü", "\u202e", 'q"\\', "\x00", "x" * 1024, "void", "Void:r1"])
def test_strange_ids_are_known_again(account: Account, request_id: str) -> None:
    assert not account.charge(COST, model="m", request_id=request_id).was_recorded
    assert account.charge(COST, model="m", request_id=request_id).was_recorded


def test_processes_that_race_the_same_ids_leave_one_row_each(cli: Cli, ledger: Path) -> None:
    charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id")
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: cli(*charge, f"r{number % 5}").returncode, range(40)))
    assert codes == [0] * 40
    assert sorted(ids_in(ledger)) == [f"r{number}" for number in range(5)]


def test_voided_charge_is_taken_back_in_every_window(account: Account, ledger: Path) -> None:
    account.charge(COST, model="m", request_id="r1")
    account.charge(Decimal("0.5"), model="m", request_id="r2")
    original = ledger.read_bytes()
    row = account.void("r1", "billed twice")
    assert (row.cost_usd, row.voids, row.reason, row.ts) == (-COST, "r1", "billed twice", NOON)
    assert ledger.read_bytes().startswith(original)
    for window in ("hourly", "daily", "weekly", "monthly", "lifetime"):
        assert account.show().of(window).spent == Decimal("0.5")
    assert hal0_sum(ledger.read_bytes()) == 0.5


def test_void_of_nothing_of_a_void_and_twice_is_refused(account: Account) -> None:
    account.charge(COST, model="m", request_id="r1")
    account.void("r1", "wrong")
    for request_id, exit_code in (("r9", 66), ("r1", 76), ("void:r1", 76)):
        with pytest.raises(BudgetError) as caught:
            account.void(request_id, "again")
        assert caught.value.exit_code == exit_code
    with pytest.raises(BudgetError) as caught:
        account.charge(COST, model="m", request_id="r1")
    assert caught.value.exit_code == 76, "a voided charge is not silently on record"
    assert account.show().of("lifetime").spent == 0


def test_batch_records_all_or_nothing_and_never_twice(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    batch = tmp_path / "calls.jsonl"
    good = ['{"cost_usd": 0.25, "model": "m", "request_id": "b1"}', '{"cost_usd": 1.5e-07, "model": "m"}']
    bad = ["nonsense", '{"cost_usd": -1, "model": "m"}', '{"model": "m"}', '{"cost_usd": 1, "modell": "m"}']
    batch.write_text("\n".join([good[0], *bad, good[1]]))
    refused = cli("charge", "hermes", "--batch", str(batch))
    assert refused.returncode == 64
    assert all(f"line {number}: " in refused.stderr for number in (2, 3, 4, 5))
    assert not ledger.exists()
    batch.write_text("\n".join(good))
    first = cli("charge", "hermes", "--batch", str(batch))
    assert (first.returncode, first.stdout) == (0, "charged $0.25000015 to hermes: 2 calls\n")
    again = cli("charge", "hermes", "--batch", "-", input=batch.read_text())
    assert again.stdout == "charged $0.0000 to hermes: 0 calls, 2 more were already recorded\n"
    assert len(ids_in(ledger)) == 2


def test_batch_is_one_write_and_one_sync(cli: Cli, home: Home, ledger: Path, tmp_path: Path) -> None:
    batch, trace = tmp_path / "calls.jsonl", Trace(cli, home, tmp_path / "strace.log")
    batch.write_text("".join(f'{{"cost_usd":0.01,"model":"m","request_id":"r{n}"}}\n' for n in range(500)))
    assert cli("charge", "hermes", "--cost", "1", "--model", "m").returncode == 0
    assert trace("write,fsync", "charge", "hermes", "--batch", str(batch)).returncode == 0
    to_ledger = [call.partition("(")[0] for call in trace.calls() if f"<{ledger}>" in call]
    assert to_ledger == ["write", "fsync"]
    assert len(ids_in(ledger)) == 501


def test_batch_with_the_same_id_twice_is_one_row_or_a_conflict(account: Account, ledger: Path) -> None:
    same = Charge(COST, "m", request_id="b1")
    receipts = account.charge_all((same, same))
    assert [receipt.was_recorded for receipt in receipts] == [False, True]
    with pytest.raises(BudgetError) as caught:
        account.charge_all((Charge(COST, "m", request_id="b2"), same._replace(cost=Decimal(1))))
    assert caught.value.exit_code == 76
    assert ids_in(ledger) == ["b1"]


def test_id_is_looked_for_no_further_than_a_line_without_end(cli: Cli, ledger: Path) -> None:
    """A ledger that was replaced by a terabyte of nothing."""
    charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id")
    cli(*charge, "r1")
    ledger.unlink()
    with ledger.open("wb") as file:
        file.truncate(2**40)
    assert cli(*charge, "r1", timeout=20).returncode == 0
