"""Many processes on one ledger: nothing is lost, nothing is counted twice, and nobody waits for ever."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, Row
from hal0_budget.store.ledger import Ledger
from hal0_budget.windows import utc_now
from tests.conftest import COMMAND, Cli

COST = Decimal("0.25")
CHARGE = ("charge", "hermes", "--cost", "0.25", "--model", "m")
FORK = multiprocessing.get_context("fork")


def charge_often(home: Home, name: str, acknowledged: Path, count: int) -> None:
    """Charge through the library, and note each request id once it is acknowledged."""
    account = Account(home, "hermes", lock_timeout=30)
    with acknowledged.open("ab", buffering=0) as file:
        for number in range(count):
            row = account.charge(COST, model="m", request_id=f"{name}-{number}").row
            file.write(f"{row.request_id}\n".encode())


def append_often(home: Home, name: str, acknowledged: Path, count: int) -> None:
    """Append rows as hal0's server does: one write each, without our lock, and no fsync."""
    path = home.spend_dir("hermes") / "spend.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o660)
    with acknowledged.open("ab", buffering=0) as file:
        for number in range(count):
            row = Row(utc_now(), "hermes", "openrouter", "m", COST, f"{name}-{number}")
            os.write(fd, row.line())
            file.write(f"{row.request_id}\n".encode())
            time.sleep(0.001)
    os.close(fd)


def started(work: Callable[..., None], *args: object) -> BaseProcess:
    process = FORK.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def ended(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def ids(ledger: Path) -> list[str]:
    """The request ids of all rows; every line must be JSON."""
    lines = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    return [line["request_id"] for line in lines if "torn" not in line]


def all_acknowledged(folder: Path) -> list[str]:
    return [one for path in folder.glob("ack-*") for one in path.read_text().split("\n") if one]


@pytest.mark.promise(8)
def test_checks_meanwhile_see_no_damage_and_no_spend_that_falls(
    home: Home, account: Account, ledger: Path, tmp_path: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(1_000_000)})
    reader = Account(home, "hermes")
    each = 400
    writers = [
        started(work, home, f"{work.__name__}-{number}", tmp_path / f"ack-{work.__name__}-{number}", each)
        for work in (charge_often, append_often)
        for number in range(2)
    ]
    checks, last = 0, Decimal(0)
    while any(writer.is_alive() for writer in writers):
        statement = reader.check(COST).statement
        spent = statement.of("lifetime").spent
        assert spent is not None
        assert statement.warnings == ()
        assert spent >= last
        checks, last = checks + 1, spent
    ended(writers)
    assert checks > 50
    assert Counter(ids(ledger)) == Counter(all_acknowledged(tmp_path))
    for _ in ("from the checkpoint", "first scan"):
        assert reader.show().of("lifetime").spent == 4 * each * COST
        ledger.with_name("spend.checkpoint").unlink()


@pytest.mark.promise(5)
def test_every_acknowledged_charge_of_many_processes_is_there_once(
    home: Home, cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    writers = [
        started(charge_often, home, f"library-{number}", tmp_path / f"ack-{number}", 25)
        for number in range(8)
    ]
    commands = [
        subprocess.Popen(
            [str(COMMAND), *CHARGE, "--lock-timeout", "30", "--request-id", f"command-{number}"],
            env=cli.environment(),
            stdout=subprocess.PIPE,
        )
        for number in range(16)
    ]
    for command in commands:
        command.communicate(timeout=60)
    ended(writers)
    assert [command.returncode for command in commands] == [0] * 16
    expected = [*all_acknowledged(tmp_path), *(f"command-{number}" for number in range(16))]
    assert Counter(ids(ledger)) == Counter(expected)
    assert len(expected) == 8 * 25 + 16
    assert cli.json("show", "hermes")["spend"]["lifetime_usd"] == COST * len(expected)


@pytest.mark.promise(1)
def test_killed_writers_lose_no_acknowledged_charge(
    home: Home, account: Account, ledger: Path, tmp_path: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(1_000_000)})
    chance = random.Random(8)
    names = iter(range(1000))

    def new_writer() -> BaseProcess:
        # Not rows of hal0's: it seals no tear that a killed writer may leave, and would run into it.
        name = next(names)
        return started(charge_often, home, f"writer-{name}", tmp_path / f"ack-{name}", 100_000)

    writers = [new_writer() for _ in range(6)]
    for _ in range(80):
        time.sleep(chance.random() * 0.02)
        victim = chance.randrange(len(writers))
        writers[victim].kill()
        writers[victim].join()
        writers[victim] = new_writer()
        account.check(COST)
    for writer in writers:
        writer.kill()
        writer.join()
    found, acknowledged = Counter(ids(ledger)), all_acknowledged(tmp_path)
    assert len(acknowledged) > 100
    assert {one: found[one] for one in acknowledged} == dict.fromkeys(acknowledged, 1)
    assert set(found.values()) == {1}
    assert account.show().of("lifetime").spent == COST * len(found)
    assert account.show().warnings == ()


def hold_lock(home: Home, is_held: Path) -> None:
    with Ledger(home.spend_dir("hermes")).lock.held(5):
        is_held.touch()
        time.sleep(60)


@contextmanager
def lock_held(home: Home, tmp_path: Path) -> Iterator[BaseProcess]:
    """Another process that holds the lock of hermes."""
    is_held = tmp_path / "is held"
    holder = started(hold_lock, home, is_held)
    while not is_held.exists():
        assert holder.is_alive()
        time.sleep(0.01)
    try:
        yield holder
    finally:
        holder.kill()
        holder.join()


@pytest.mark.promise(7)
def test_stopped_holder_of_the_lock_ends_others_in_75_and_a_killed_one_frees_it(
    home: Home, cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    with lock_held(home, tmp_path) as holder:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        for command in (
            (*CHARGE, "--lock-timeout", "0.3"),
            ("set", "hermes", "--daily", "1", "--lock-timeout", "0"),
        ):
            done = cli(*command)
            assert (done.returncode, done.stdout) == (75, "")
            assert "another process held the lock" in done.stderr
        assert not ledger.exists()
        assert cli("check", "hermes").returncode == 0
        assert cli("show", "hermes").returncode == 0
        holder.kill()
        assert cli(*CHARGE, "--lock-timeout", "5").returncode == 0
    assert cli.json("show", "hermes")["spend"]["lifetime_usd"] == COST


@pytest.mark.promise(7)
def test_lock_that_is_deleted_is_no_way_past_it(home: Home, account: Account, tmp_path: Path) -> None:
    """A waiter that gets the lock of a file that is gone does not take it for the lock."""
    lock = home.spend_dir("hermes") / "spend.lock"
    with lock_held(home, tmp_path) as holder:
        waiter = started(charge_often, home, "waiter", tmp_path / "ack-waiter", 1)
        time.sleep(0.1)
        lock.unlink()
        with Ledger(lock.parent).lock.held(5):
            holder.kill()
            waiter.join(0.3)
            assert waiter.is_alive(), "two processes held the lock"
        waiter.join(10)
    assert waiter.exitcode == 0
    assert account.show().of("lifetime").spent == COST


@pytest.mark.promise(7)
def test_no_row_is_left_on_a_ledger_that_was_replaced_during_the_wait(
    home: Home, account: Account, ledger: Path, tmp_path: Path
) -> None:
    account.charge(COST, model="m", request_id="first")
    for turn in range(20):
        before = ids(ledger)
        with Ledger(ledger.parent).lock.held(5):
            waiters = [
                started(charge_often, home, f"waiter-{turn}-{number}", tmp_path / f"ack-{turn}-{number}", 1)
                for number in range(3)
            ]
            time.sleep(0.02)
            copy = ledger.with_name("copy")
            shutil.copy(ledger, copy)
            ledger.rename(ledger.with_name(f"orphan-{turn}"))
            copy.rename(ledger)
        ended(waiters)
        assert sorted(ids(ledger)[len(before) :]) == [f"waiter-{turn}-{number}-0" for number in range(3)]
        assert ids(ledger.with_name(f"orphan-{turn}")) == before
    assert account.show().of("lifetime").spent == COST * 61


def test_lock_is_taken_with_flock_so_that_a_shell_can_take_it_too(
    home: Home, cli: Cli, account: Account
) -> None:
    account.charge(COST, model="m")
    with (home.spend_dir("hermes") / "spend.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BudgetError) as caught:
            Account(home, "hermes", lock_timeout=0).charge(COST, model="m")
        assert caught.value.exit_code == 75
    assert cli("charge", "hermes", "--cost", "1", "--model", "m").returncode == 0
