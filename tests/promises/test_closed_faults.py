"""Faults that were found by injection and are closed: each once, by the commands and the library alone."""

from __future__ import annotations

import shutil
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.clock import utc_now
from tests.conftest import Cli, Clock, Proof
from tests.support.hold_files import changed, files_of, lay, refused
from tests.support.ledgers import anew, append, ids_of, row, rows_of, spent_and_held

HOUR = timedelta(hours=1)
REPAIR = ("verify", "hermes", "--repair")
TRUTH = {"spend.jsonl", "spend.holds", "spend.checkpoint", "spend.lock"}


@pytest.fixture
def account(home: Home, clock: Clock) -> Account:
    """The account of hermes with a lifetime cap of $5; its clock shows the time that the commands go by."""
    clock.now = utc_now()
    account = Account(home, "hermes", clock=clock)
    account.set_budget({"lifetime_usd": Decimal(5)})
    return account


@pytest.fixture
def journal(ledger: Path) -> Path:
    return ledger.with_name("spend.holds")


def damage_line(path: Path, text: bytes, which: int) -> None:
    """Spoil one of the lines that hold `text`, and keep its length."""
    lines = path.read_bytes().splitlines(keepends=True)
    at = [number for number, line in enumerate(lines) if text in line][which]
    lines[at] = b"#" + lines[at][1:]
    path.write_bytes(b"".join(lines))


# 2: a bad line in the journal or the ledger


def test_holds_that_ended_behind_a_bad_line_of_the_journal_are_not_booked_again(
    account: Account, clock: Clock, cli: Cli, ledger: Path, journal: Path
) -> None:
    for hold_id in ("h1", "h2"):
        account.reserve(Decimal(2), hold_id=hold_id)
    account.charge(Decimal(1), model="m", request_id="r1", hold_id="h1")
    account.release("h2")
    damage_line(journal, b'"h1"', -1)
    clock.now += HOUR
    anew(account).charge(Decimal("0.5"), model="m", request_id="r2")
    assert ids_of(ledger) == ["r1", "r2"]
    assert cli(*REPAIR).returncode in {0, 10}
    anew(account).charge(Decimal("0.25"), model="m", request_id="r3")
    assert (ids_of(ledger), spent_and_held(account)) == (["r1", "r2", "r3"], (Decimal("1.75"), 0))


@pytest.mark.parametrize("line", [b"", b'"h1"', b'"h2"'], ids=["the first", "another hold", "its own hold"])
def test_charge_of_a_hold_is_recorded_whatever_line_of_the_journal_is_bad(
    line: bytes, account: Account, cli: Cli, ledger: Path, journal: Path
) -> None:
    for hold_id in ("h1", "h2"):
        account.reserve(Decimal(2), hold_id=hold_id)
    damage_line(journal, line, 0)
    done = cli("charge", "hermes", "--cost", "1", "--model", "m", "--request-id", "r", "--hold", "h2")
    assert done.returncode == 0, done.stderr
    assert "spend.holds" in done.stderr
    (found,) = rows_of(ledger)
    assert (found["request_id"], found["hold_id"]) == ("r", "h2")


def test_expired_hold_is_booked_once_and_only_when_the_ledger_is_whole(
    account: Account, clock: Clock, cli: Cli, ledger: Path
) -> None:
    account.charge(Decimal(1), model="m", request_id="r1")
    account.reserve(Decimal(2), hold_id="h1")
    damage_line(ledger, b'"r1"', 0)
    clock.now += HOUR
    for request_id in ("r2", "r3"):
        anew(account).charge(Decimal("0.5"), model="m", request_id=request_id)
    assert b"unconfirmed" not in ledger.read_bytes()
    assert cli(*REPAIR).returncode in {0, 10}
    for _ in range(2):
        account.charge(Decimal("0.25"), model="m")
        assert ledger.read_bytes().count(b'"request_id":"unconfirmed:h1"') == 1


# 8: a hold id that is used again


def test_hold_id_that_is_used_again_is_a_new_hold_or_a_conflict(
    account: Account, cli: Cli, ledger: Path
) -> None:
    account.reserve(Decimal("0.01"), hold_id="nightly")
    account.charge(Decimal("0.01"), model="m", request_id="before", hold_id="nightly")
    for number in range(150):
        # With long names, the journal is soon shortened to what is open.
        account.reserve(Decimal("0.01"), hold_id=f"h{number}", model="m" * 500)
        account.release(f"h{number}")
    try:
        account.reserve(Decimal(4), hold_id="nightly")
    except BudgetError as error:
        assert error.exit_code == 76
        return
    files = files_of(ledger.parent)
    for command in (("check", "hermes"), REPAIR):
        lay(ledger.parent, changed(files, ("spend.checkpoint", None)))
        assert cli(*command).returncode in {0, 10}
        for one in (account, anew(account)):
            assert spent_and_held(one) == (Decimal("0.01"), 4)
            assert one.check(Decimal(4)).verdict.level == "block"
    account.charge(Decimal(3), model="m", request_id="after", hold_id="nightly")
    assert spent_and_held(account) == (Decimal("3.01"), 0)


# 9: request ids that look like ours


def test_row_that_has_the_id_of_an_unconfirmed_one_is_never_voided_for_it(
    account: Account, cli: Cli, ledger: Path
) -> None:
    charge = ("charge", "hermes", "--model", "m", "--request-id")
    account.reserve(Decimal(1), hold_id="h")
    assert cli(*charge, "unconfirmed:h", "--cost", "20").returncode in {0, 64}
    if not ledger.exists():
        append(ledger, row("20", "unconfirmed:h") + b"\n")
    for _ in range(3):
        assert cli(*charge, "r", "--cost", "1", "--hold", "h").returncode == 0
        assert spent_and_held(account) == (21, 0)
    assert ids_of(ledger) == ["unconfirmed:h", "r"]


def test_row_that_has_the_id_of_a_void_is_none(account: Account, cli: Cli, ledger: Path) -> None:
    charge = ("charge", "hermes", "--model", "m", "--request-id")
    assert cli(*charge, "void:a", "--cost", "0").returncode in {0, 64}
    if not ledger.exists():
        append(ledger, row("0", "void:a") + b"\n")
    for _ in range(2):
        assert cli(*charge, "a", "--cost", "1").returncode == 0
    assert ids_of(ledger) == ["void:a", "a"]
    assert cli("void", "hermes", "a", "--reason", "wrong").returncode == 0
    assert spent_and_held(account) == (0, 0)
    assert cli("void", "hermes", "a", "--reason", "wrong").returncode == 76
    assert spent_and_held(account) == (0, 0)


# 17: two files at once, and another persona's rows


@pytest.mark.parametrize("reserves", [True, False], ids=["with holds", "without holds"])
def test_ledger_and_checkpoint_that_are_gone_are_missed_by_what_is_left(
    reserves: bool, account: Account, cli: Cli, ledger: Path
) -> None:
    account.charge(Decimal(4), model="m", request_id="r")
    if reserves:
        account.reserve(Decimal("0.5"), hold_id="h")
    for name in ("spend.jsonl", "spend.checkpoint"):
        ledger.with_name(name).unlink()
    assert cli("check", "hermes", "--estimate", "2").returncode == 65
    assert cli("verify", "hermes").returncode == 65


def test_folder_of_another_persona_is_no_budget(account: Account, home: Home, cli: Cli) -> None:
    other = Account(home, "coder", clock=account.clock)
    for number in range(3):
        other.charge(Decimal("0.1"), model="m", request_id=f"c{number}")
    shutil.copytree(home.spend_dir("coder"), home.spend_dir("hermes"), dirs_exist_ok=True)
    assert cli("check", "hermes", "--estimate", "2").returncode == 65
    done = cli("verify", "hermes")
    assert done.returncode == 65
    assert "'coder'" in done.stdout or " coder" in done.stdout
    assert "line 1 " in done.stdout


@pytest.mark.parametrize("is_repaired", [False, True], ids=["longer", "longer and repaired"])
@pytest.mark.parametrize("kind", ["ledger", "holds"])
def test_two_files_of_another_agent_are_no_budget(
    kind: str, is_repaired: bool, account: Account, home: Home, clock: Clock, cli: Cli
) -> None:
    """The same persona of another agent has spent less, in more rows or holds."""
    other = home._replace(agent="other")
    init(other)
    for one, count, usd in ((account, 3, "1.50"), (Account(other, "hermes", clock=clock), 9, "0.01")):
        for number in range(count):
            if kind == "ledger":
                one.charge(Decimal(usd), model="m", request_id=f"r{number}")
            else:
                one.reserve(Decimal(usd), hold_id=f"h{number}")
        one.check(Decimal("0.1"))
    if is_repaired:
        assert cli("--agent", "other", *REPAIR).returncode in {0, 10}
    folder, record = home.spend_dir("hermes"), {"ledger": "spend.jsonl", "holds": "spend.holds"}[kind]
    good, foreign = files_of(folder), files_of(other.spend_dir("hermes"))
    assert len(foreign[record]) > len(good[record])
    for name in good.keys() - {record}:
        lay(folder, changed(good, (record, foreign[record]), (name, foreign.get(name))))
        for one in (account, anew(account)):
            assert refused(one, Decimal(2)), name


def test_row_of_another_persona_is_named_by_its_line(account: Account, cli: Cli, ledger: Path) -> None:
    account.charge(Decimal(1), model="m", request_id="r1")
    append(ledger, row("1", "r2").replace(b'"hermes"', b'"coder"') + b"\n")
    done = cli("verify", "hermes")
    assert done.returncode in {10, 65}
    assert "line 2 " in done.stdout
    assert "coder" in done.stdout


# 18: hal0 recorded the call before its hold was settled


def test_charge_of_a_hold_that_hal0_has_on_record_settles_the_hold(
    account: Account, clock: Clock, cli: Cli, ledger: Path
) -> None:
    account.reserve(Decimal(1), hold_id="h")
    append(ledger, row("0.8", "r") + b"\n")
    for _ in range(2):
        done = cli("charge", "hermes", "--cost", "0.8", "--model", "m", "--request-id", "r", "--hold", "h")
        assert done.returncode == 0, done.stderr
        assert (ids_of(ledger), spent_and_held(account)) == (["r"], (Decimal("0.8"), 0))
    clock.now += HOUR
    account.charge(Decimal("0.1"), model="m", request_id="later")
    assert ids_of(ledger) == ["r", "later"]


# 21: what is derived is never believed against the ledger


def test_derived_files_from_before_a_repair_are_not_believed(
    account: Account, cli: Cli, ledger: Path
) -> None:
    for number in range(20):
        account.charge(Decimal("0.1"), model="m", request_id=f"r{number}")
    cli("report", "hermes", "--by", "model")
    derived = {path: path.read_bytes() for path in ledger.parent.iterdir() if path.name not in TRUTH}
    damage_line(ledger, b'"r7"', 0)
    assert cli("verify", "hermes").returncode == 65
    assert cli(*REPAIR).returncode in {0, 10}
    for path, data in derived.items():
        path.write_bytes(data)
    assert cli("verify", "hermes").returncode in {0, 10}
    for request_id in ("r6", "r8"):
        assert account.charge(Decimal("0.1"), model="m", request_id=request_id).was_recorded
    assert not account.charge(Decimal("0.1"), model="m", request_id="r7").was_recorded
    assert spent_and_held(account) == (2, 0)
    assert cli("verify", "hermes").returncode in {0, 10}


@pytest.mark.promise(14)
def test_check_stays_fast_however_many_days_have_rows(account: Account, ledger: Path, proof: Proof) -> None:
    days = proof.size(2_000, 700_000)
    text = row("0.000001", "r").decode()
    begin, end = text.split(f"{utc_now():%Y-%m-%dT%H:%M:%SZ}")
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("w") as file:
        for day in range(1, days + 1):
            file.write(f'{begin}{date.fromordinal(day)}T12:00:00Z{end[:-2]}{day}"}}\n')
    assert account.check(Decimal(1)).verdict.level == "allow"
    took = time.monotonic()
    found = anew(account).check(Decimal(1)).statement
    took = time.monotonic() - took
    assert found.of("lifetime").spent == days * Decimal("0.000001")
    proof.reached(f"rows on {days:,} days: a check takes {took * 1000:.0f} ms", kept=took < 0.05)
    assert ledger.with_name("spend.checkpoint").stat().st_size < 256 * 1024
