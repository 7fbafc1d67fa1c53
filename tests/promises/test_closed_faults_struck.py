"""Faults that were found by injection and are closed: those that take a strike at a call, or a lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from hal0_budget.clock import utc_now
from tests.conftest import COMMAND, Cli
from tests.support.faults import calls_on, strace

CHARGE = ("charge", "hermes", "--cost", "1", "--model", "m", "--request-id")
RESERVE = ("reserve", "hermes", "--estimate", "3", "--hold-id")
REPAIR = ("verify", "hermes", "--repair")


@pytest.fixture
def account(home: Home) -> Account:
    """The account of hermes with a lifetime cap of $5."""
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(5)})
    return account


@pytest.fixture
def folder(home: Home) -> Path:
    return home.spend_dir("hermes")


# 2: a settling row that the journal was not told of, in a ledger that is damaged


def test_hold_that_a_row_settled_is_not_booked_while_the_ledger_is_damaged(
    account: Account, cli: Cli, folder: Path, tmp_path: Path
) -> None:
    ledger, journal = folder / "spend.jsonl", folder / "spend.holds"
    account.charge(Decimal("0.5"), model="m", request_id="first")
    assert cli(*RESERVE, "h").returncode == 0
    no_write = ("-P", str(journal), "-e", "inject=write,pwrite64:error=EIO")
    cli(*CHARGE, "settles", "--hold", "h", prefix=strace(tmp_path / "log", *no_write))
    assert b'"settles"' in ledger.read_bytes()
    ledger.write_bytes(ledger.read_bytes().replace(b'"first"', b'"first '))
    later = Account(account.home, "hermes", clock=lambda: utc_now() + timedelta(hours=1))
    for request_id in ("second", "third"):
        later.charge(Decimal("0.25"), model="m", request_id=request_id)
    assert b"unconfirmed" not in ledger.read_bytes()
    assert cli(*REPAIR).returncode in {0, 10}
    later.charge(Decimal("0.25"), model="m", request_id="fourth")
    assert b"unconfirmed" not in ledger.read_bytes()
    assert later.show().of("lifetime").spent == Decimal("1.75")


# 15 and 16: the lock


@contextmanager
def flocked(path: Path) -> Iterator[None]:
    """Hold the lock as a shell does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def test_hold_lives_its_whole_time_however_long_its_maker_waited_for_the_lock(
    account: Account, cli: Cli, folder: Path
) -> None:
    account.charge(Decimal(0), model="m")
    ends: list[datetime] = []

    def let_go() -> None:
        ends.append(utc_now())
        os.close(fd)

    fd = os.open(folder / "spend.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    threading.Timer(1.2, let_go).start()
    hold = cli.json(*RESERVE, "h", "--ttl", "1s", "--on-expiry", "release")["hold"]
    assert datetime.fromisoformat(hold["expires_at"]) >= ends[0] + timedelta(seconds=1)


def test_second_reserve_stays_out_though_the_lock_file_was_removed(
    account: Account, cli: Cli, folder: Path
) -> None:
    account.charge(Decimal(0), model="m")
    lock = folder / "spend.lock"
    with flocked(lock):
        lock.unlink()
        for hold_id in ("h1", "h2"):
            assert cli(*RESERVE, hold_id, "--lock-timeout", "0.1").returncode == 75
        assert account.show().held == 0
    assert cli(*RESERVE, "h3").returncode == 0
    assert cli(*RESERVE, "h4").returncode == 20
    assert account.show().held == 3


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_two_reserves_never_hold_more_than_the_cap_though_the_lock_file_was_removed_meanwhile(
    account: Account, cli: Cli, folder: Path, tmp_path: Path
) -> None:
    account.charge(Decimal(0), model="m")
    account.reserve(Decimal(0), hold_id="h0")
    lock = folder / "spend.lock"
    slow = ("-P", str(folder / "spend.holds"), "-e", "inject=write,pwrite64:delay_enter=1000000")
    command = [*strace(tmp_path / "log", *slow), str(COMMAND), *RESERVE, "h1"]
    with subprocess.Popen(command, env=cli.environment(), stdout=subprocess.DEVNULL) as first:
        while not is_locked(lock):
            assert first.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        lock.unlink()
        second = cli(*RESERVE, "h2", "--lock-timeout", "0.2")
    granted = [first.returncode, second.returncode].count(0)
    assert granted <= 1, (first.returncode, second)
    assert account.show().held == 3 * granted


# a failed fsync: the kernel may have dropped the bytes, and reports the error once


@pytest.mark.parametrize("record", ["spend.jsonl", "spend.holds"])
def test_retry_after_a_failed_fsync_writes_the_bytes_again_before_it_syncs(
    record: str, account: Account, cli: Cli, folder: Path, tmp_path: Path
) -> None:
    account.charge(Decimal(1), model="m", request_id="first")
    account.reserve(Decimal("0.5"), hold_id="open")
    command = (*CHARGE, "again") if record == "spend.jsonl" else (*RESERVE, "again")
    log, path = tmp_path / "log", str(folder / record)
    traced = ("-P", path, "-e", "trace=write,pwrite64,fsync,fdatasync")
    failing = ("-e", "inject=fsync,fdatasync:error=EIO:when=1")
    assert cli(*command, prefix=strace(log, *traced, *failing)).returncode == 74
    assert cli(*command, prefix=strace(log, *traced)).returncode == 0
    calls = calls_on(log, path)
    writes = [at for at, call in enumerate(calls) if "write" in call and "again" in call]
    syncs = [
        at for at, call in enumerate(calls) if call.startswith(("fsync(", "fdatasync(")) and "= 0" in call
    ]
    assert writes, "the retry synced bytes that it did not write"
    assert writes[0] < syncs[-1]
    statement = account.show()
    sums = (statement.of("lifetime").spent or 0) + statement.held
    assert sums == Decimal("2.5") if record == "spend.jsonl" else Decimal("4.5")
    assert record == "spend.holds" or (folder / record).read_bytes().count(b'"again"') == 1
