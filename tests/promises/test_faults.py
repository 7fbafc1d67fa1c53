"""Kills, I/O errors and full disks: what was acknowledged is there, and the next command works by itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.stores.files import writer as writer_module
from hal0_budget.stores.files.row_format import is_blank, parse_row
from tests.conftest import NOON, Cli
from tests.support.faults import Trace, largest_file, restored, tear

pytestmark = pytest.mark.promise(6)

COST = Decimal("0.25")
CHARGE = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id", "killed")
SET = ("set", "hermes", "--daily", "5")


@pytest.fixture
def trace(cli: Cli, home: Home, tmp_path: Path) -> Trace:
    return Trace(cli, home, tmp_path / "strace.log")


def ids(ledger: Path) -> list[str]:
    """The request ids of all rows; every line must be JSON, or blank."""
    lines = [json.loads(line) for line in ledger.read_bytes().splitlines() if line.strip()]
    return [line["request_id"] for line in lines if "torn" not in line]


@pytest.mark.parametrize("command", [CHARGE, SET], ids=["charge", "set"])
def test_failed_fsync_is_never_an_acknowledgement(
    command: tuple[str, ...], account: Account, home: Home, trace: Trace, ledger: Path
) -> None:
    with restored(home.root):
        assert trace("fsync", *command).returncode == 0
        fsyncs = len(trace.calls())
    assert fsyncs >= 2, "a file and its folder"
    for number in range(1, fsyncs + 1):
        with restored(home.root):
            done = trace("fsync", *command, inject=f"fsync:error=EIO:when={number}")
            (failed,) = [path for path, call in trace.synced() if "(INJECTED)" in call]
            assert done.returncode == 74
            assert done.stdout == ""
            assert str(home.root) in done.stderr, "the error does not say of which file"
            assert trace("fsync", *CHARGE).returncode == 0
            synced = {path for path, _ in trace.synced()}
            assert str(ledger) in synced
            assert command is SET or failed in synced, "what was not synced never will be"
            assert account.show().warnings == ()


def test_row_in_a_ledger_that_was_moved_meanwhile_is_not_acknowledged(
    account: Account, ledger: Path, trace: Trace
) -> None:
    account.charge(COST, model="m")
    before = ledger.read_bytes()
    with ThreadPoolExecutor(1) as pool:
        charge = pool.submit(trace, "fsync", *CHARGE, inject="fsync:delay_enter=1000000")
        while ledger.stat().st_size == len(before):
            assert not charge.done(), charge.result()
        ledger.rename(ledger.with_name("moved.jsonl"))
        ledger.write_bytes(before)
        done = charge.result()
    assert (done.returncode, done.stdout) == (74, "")
    assert "replaced while a row was written" in done.stderr
    assert trace("fsync", *CHARGE).returncode == 0
    assert ids(ledger)[1:] == ["killed"]


@pytest.mark.parametrize("state", ["sound", "torn"])
def test_row_that_does_not_fit_at_any_byte_is_not_acknowledged(
    state: str, account: Account, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_TEAR_GRACE", 0)  # nobody else finishes these tears
    account.charge(COST, model="m", request_id="0" * 8)
    if state == "torn":
        tear(ledger)
    before = ledger.read_bytes()
    with restored(ledger.parent):
        account.charge(COST, model="m", request_id="1" * 8)
        needed = ledger.stat().st_size
    for size in range(len(before), needed + 1):
        with restored(ledger.parent):
            with largest_file(size):
                if size == needed:
                    account.charge(COST, model="m", request_id="1" * 8)
                else:
                    with pytest.raises(BudgetError) as caught:
                        account.charge(COST, model="m", request_id="1" * 8)
                    assert caught.value.exit_code == 74
                assert account.check(COST).verdict.level == "allow"
            account.charge(COST, model="m", request_id="2" * 8)
            found = ids(ledger)
            assert found == ["0" * 8, *["1" * 8] * (size == needed), "2" * 8]
            assert ledger.read_bytes().startswith(before)
            assert account.show().of("lifetime").spent == COST * len(found)


def test_file_size_limit_ends_a_command_in_74(cli: Cli, account: Account, ledger: Path) -> None:
    account.charge(COST, model="m")
    size = ledger.stat().st_size
    with largest_file(size + 50):
        for _ in range(3):
            done = cli(*CHARGE)
            assert (done.returncode, done.stdout) == (74, "")
            assert str(ledger) in done.stderr
        assert cli("check", "hermes").returncode == 0
    assert cli(*CHARGE).returncode == 0
    assert ids(ledger)[1:] == ["killed"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_acknowledges_nothing_that_is_not_whole_and_heals_by_itself(small_disk: Path) -> None:
    home = Home(small_disk / "agents")
    init(home)
    cli, account = Cli(home.root), Account(home, "hermes", clock=lambda: NOON)
    account.set_budget({"lifetime_usd": Decimal(1_000_000)})
    ledger = home.spend_dir("hermes") / "spend.jsonl"
    acknowledged = [account.charge(COST, model="m").row.request_id]
    filler = small_disk / "filler"
    for keep in (3000, 1000, 0):
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - keep)))
        while True:
            try:
                acknowledged.append(account.charge(COST, model="m" * 50).row.request_id)
            except BudgetError as error:
                assert error.exit_code == 74
                break
        done = cli(*CHARGE)
        assert (done.returncode, done.stdout) == (74, "")
        assert cli("check", "hermes", "--estimate", "1").returncode == 0
        assert cli("show", "hermes").returncode == 0
        filler.unlink()
        acknowledged.append(account.charge(COST, model="m").row.request_id)
    found = [one for one in ids(ledger) if one in set(acknowledged)]
    assert found == acknowledged
    rows = [parse_row(line) for line in ledger.read_bytes().splitlines() if not is_blank(line)]
    assert account.show().of("lifetime").spent == sum(row.cost_usd for row in rows)
