"""The journal of holds: what is open is never lost, whatever happens to the files.

The rules of holds are part of the contract of stores: see `contract_holds`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, durable
from hal0_budget.stores.files import writer as writer_module
from hal0_budget.stores.files.holds import Holds
from hal0_budget.stores.files.marks import HoldsMark
from hal0_budget.stores.files.repair import repair
from tests.conftest import Cli, Clock, forget_marks
from tests.support.faults import largest_file

CENT = Decimal("0.01")


@pytest.fixture
def account(home: Home, clock: Clock) -> Account:
    """The account of hermes with a daily cap of one dollar."""
    account = Account(home, "hermes", clock=clock)
    account.set_budget({"daily_usd": Decimal(1)})
    return account


def spent_and_held(account: Account) -> tuple[object, object]:
    day = account.show().of("daily")
    return day.spent, day.held


def reserve(account: Account, usd: str = "0.4", **options: object) -> str:
    hold = account.reserve(Decimal(usd), **options).hold  # type: ignore[arg-type]
    assert hold is not None
    return hold.hold_id


def failure(error: pytest.ExceptionInfo[BudgetError]) -> tuple[str, int]:
    return error.value.code, error.value.exit_code


def test_charge_is_acknowledged_if_the_lock_file_is_removed_before_expired_holds_are_booked(
    account: Account, ledger: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(account, ttl=timedelta(minutes=1))
    clock.now += timedelta(minutes=2)
    lock = ledger.with_name("spend.lock")

    def removing(path: Path, fd: int, start: int) -> None:
        durable.fsync(path, fd, start)
        lock.unlink(missing_ok=True)
        lock.with_name(".spend.lock.link").unlink(missing_ok=True)

    monkeypatch.setattr(writer_module, "fsync", removing)
    account.charge(CENT, model="m")
    assert ledger.read_bytes().count(b"\n") == 1


def test_charge_stands_though_what_expired_cannot_be_booked_now(
    account: Account, clock: Clock, ledger: Path
) -> None:
    room = len(account.charge(CENT, model="m").row.line()) + 20
    reserve(account, ttl=timedelta(minutes=1))
    clock.now += timedelta(minutes=2)
    with largest_file(ledger.stat().st_size + room):
        account.charge(CENT, model="m")
    assert spent_and_held(account) == (Decimal("0.02"), Decimal("0.4"))
    account.charge(CENT, model="m")
    assert spent_and_held(account) == (Decimal("0.43"), 0)


def test_late_charge_corrects_an_unconfirmed_hold_by_appending(
    account: Account, clock: Clock, ledger: Path
) -> None:
    hold_id = reserve(account, ttl=timedelta(minutes=1))
    clock.now += timedelta(minutes=2)
    account.reserve(CENT)
    before = ledger.read_bytes()
    for _ in ("first", "again"):
        account.charge(Decimal("0.1"), model="m", request_id="late", hold_id=hold_id)
    assert ledger.read_bytes().startswith(before)
    assert len(ledger.read_bytes().splitlines()) == 3


def forget_the_end(account: Account, ledger: Path, hold_id: str) -> None:
    """Settle a hold, and leave what a crash between its row and the journal leaves."""
    journal, checkpoint = ledger.with_name("spend.holds"), ledger.with_name("spend.checkpoint")
    files = journal, checkpoint, ledger.with_name("spend.lock")
    old = {file: file.read_bytes() if file.exists() else b"" for file in files}
    account.charge(Decimal("0.3"), model="m", hold_id=hold_id)
    for file, data in old.items():
        file.write_bytes(data)


def test_row_of_a_hold_ends_it_though_the_journal_never_heard(
    account: Account, home: Home, clock: Clock, ledger: Path
) -> None:
    hold_id = reserve(account)
    forget_the_end(account, ledger, hold_id)
    after_crash = Account(home, "hermes", clock=clock)
    assert spent_and_held(after_crash) == (Decimal("0.3"), 0)
    with pytest.raises(BudgetError) as caught:
        after_crash.charge(Decimal("0.3"), model="m", hold_id=hold_id)
    assert failure(caught) == ("conflict", 76)
    for one in (after_crash, Account(home, "hermes", clock=clock)):
        assert spent_and_held(one) == (Decimal("0.3"), 0)


def test_repair_tells_the_journal_of_what_the_rows_have_settled(
    account: Account, home: Home, clock: Clock, ledger: Path
) -> None:
    forget_the_end(account, ledger, reserve(account))
    repair(home, "hermes", clock(), 5)
    after = Account(home, "hermes", clock=clock)
    assert spent_and_held(after) == (Decimal("0.3"), 0)
    clock.now += timedelta(minutes=20)
    after.charge(CENT, model="m")
    assert spent_and_held(after) == (Decimal("0.31"), 0)


def test_reader_that_missed_a_hold_keeps_nothing_that_passes_its_row(
    account: Account, home: Home, clock: Clock, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reader's look at the journal and at the ledger a hold is set aside, and its settler dies."""
    account.charge(CENT, model="m")
    reserve(account, hold_id="first")
    reader, look_at_holds = Account(home, "hermes", clock=clock), Holds.read

    def and_then(holds: Holds, marks: Sequence[HoldsMark] = ()) -> None:
        look_at_holds(holds, marks)
        monkeypatch.undo()
        forget_the_end(account, ledger, reserve(account, "0.35"))

    monkeypatch.setattr(Holds, "read", and_then)
    reader.check(CENT)
    assert spent_and_held(Account(home, "hermes", clock=clock)) == (Decimal("0.31"), Decimal("0.4"))
    assert spent_and_held(reader) == (Decimal("0.31"), Decimal("0.4"))


def test_journal_that_vanished_or_is_damaged_blocks(account: Account, ledger: Path) -> None:
    account.charge(CENT, model="m")
    reserve(account)
    journal = ledger.with_name("spend.holds")
    whole = journal.read_bytes()
    for damaged in (None, b"", b"garbage\n" + whole, whole.replace(b'"usd"', b'"osd"')):
        journal.unlink() if damaged is None else journal.write_bytes(damaged)
        with pytest.raises(BudgetError) as caught:
            account.check(CENT)
        assert failure(caught) == ("ledger.damaged", 65)


def test_torn_hold_was_granted_to_nobody_and_hides_none(account: Account, home: Home, ledger: Path) -> None:
    first = reserve(account)
    journal = ledger.with_name("spend.holds")
    whole = journal.read_bytes()
    line = whole.splitlines()[-1]
    for cut in range(1, len(line)):
        forget_marks(ledger)
        journal.write_bytes(whole + line[:cut])
        again = Account(home, "hermes", clock=account.clock)
        assert again.show().held == Decimal("0.4")
        assert again.reserve(Decimal("0.1"), hold_id="second").hold is not None
        assert Account(home, "hermes").show().held == Decimal("0.5")
        assert first in journal.read_text()


def test_journal_stays_short_and_forgets_no_open_hold(account: Account, ledger: Path) -> None:
    account.set_budget({"daily_usd": None})
    kept = reserve(account, "0.25")
    for _ in range(600):
        account.release(reserve(account))
    assert ledger.with_name("spend.holds").stat().st_size < 100_000
    assert account.show().held == Decimal("0.25")
    account.charge(CENT, model="m", hold_id=kept)
    assert account.show().held == 0


@pytest.mark.parametrize("ttl", ["0s", "25h", "1441m", "15", "-1m", "1.5h", "nan", "", "1d"])
def test_time_to_live_outside_one_second_to_a_day_is_refused(cli: Cli, ttl: str, ledger: Path) -> None:
    done = cli("reserve", "hermes", "--estimate", "0.1", f"--ttl={ttl}", "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (64, "hold.invalid")
    assert not ledger.with_name("spend.holds").exists()


def test_reserve_prints_the_hold_id_alone_on_a_line(cli: Cli) -> None:
    cli("set", "hermes", "--daily", "1", "--warn-at", "0.5")
    done = cli("reserve", "hermes", "--estimate", "0.6", "--hold-id", "mine")
    assert (done.returncode, done.stdout) == (10, "mine\n")
    assert done.stderr.startswith("warn: daily use $0.6000 reaches 50% of cap $1.0000")
    blocked = cli("reserve", "hermes", "--estimate", "0.6")
    assert (blocked.returncode, blocked.stdout) == (20, "")
    assert cli.json("reserve", "hermes", "--estimate", "0.6", code=20)["hold"] is None


def test_charge_of_a_hold_is_recorded_though_the_journal_is_damaged(
    account: Account, home: Home, ledger: Path
) -> None:
    hold_id = reserve(account)
    journal = ledger.with_name("spend.holds")
    journal.write_bytes(journal.read_bytes() + b"garbage\n")
    again = Account(home, "hermes", clock=account.clock)
    receipt = again.charge(Decimal("0.3"), model="m", hold_id=hold_id)
    assert ledger.read_bytes() == receipt.row.line()
    with pytest.raises(BudgetError) as caught:
        again.check(CENT)
    assert failure(caught) == ("ledger.damaged", 65)
    again.set_budget({"hard_cap": False})
    assert again.check(CENT).verdict.level == "warn"
    assert again.reserve(CENT).hold is not None
