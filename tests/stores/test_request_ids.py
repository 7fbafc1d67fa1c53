"""One request id is one row in the files: for every row ever written, and however a batch is given.

The rules of request ids are part of the contract of stores: see `contract_rules`.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home
from hal0_budget.stores.files.writer import Writer
from tests.conftest import Cli, put_ledger
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


def test_processes_that_race_the_same_ids_leave_one_row_each(cli: Cli, ledger: Path) -> None:
    charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id")
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: cli(*charge, f"r{number % 5}").returncode, range(40)))
    assert codes == [0] * 40
    assert sorted(ids_in(ledger)) == [f"r{number}" for number in range(5)]


def test_void_is_an_appended_row_that_every_reader_sums(account: Account, ledger: Path) -> None:
    account.charge(COST, model="m", request_id="r1")
    account.charge(Decimal("0.5"), model="m", request_id="r2")
    original = ledger.read_bytes()
    account.void("r1", "billed twice")
    assert ledger.read_bytes().startswith(original)
    assert account.show().of("lifetime").spent == Decimal("0.5")
    assert hal0_sum(ledger.read_bytes()) == 0.5


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


def test_id_is_looked_for_no_further_than_a_line_without_end(cli: Cli, ledger: Path) -> None:
    """A ledger that was replaced by a terabyte of nothing."""
    charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id")
    cli(*charge, "r1")
    ledger.unlink()
    with ledger.open("wb") as file:
        file.truncate(2**40)
    assert cli(*charge, "r1", timeout=20).returncode == 0
