"""Kills, I/O errors and full disks: what was acknowledged is there, and the next command works by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli

pytestmark = pytest.mark.promise(6)

COST = Decimal("0.25")
CHARGE = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--request-id", "killed")
SET = ("set", "hermes", "--daily", "5")
MUTATING = "write,pwrite64,fsync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fchmod,fchown,mkdir"
# A process that dies at a call that is not among these leaves what it leaves at the next that is.
STEPS = f"openat,flock,{MUTATING}"


def missing(tool: str) -> str:
    """Skip a test whose tool is missing; in CI, where every tool is installed, fail it."""
    message = f"{tool} is not installed; .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Trace:
    """`strace` around one command, on the calls that touch the files of hermes alone."""

    def __init__(self, cli: Cli, home: Home, log: Path) -> None:
        self.cli, self.log = cli, log
        if shutil.which("strace") is None:
            missing("strace")
        folder, persona = home.spend_dir("hermes"), home.persona_file("hermes")
        kept = ("jsonl", "checkpoint", "lock", "holds", "index")
        names = [f"spend.{kind}" for kind in kept] + [f".spend.{kind}.new" for kind in kept]
        self.paths = [folder, *(folder / name for name in names)]
        self.paths += [persona.parent, persona, persona.with_name(f".{persona.name}.new")]

    def __call__(self, calls: str, *command: str, inject: str = "") -> subprocess.CompletedProcess[str]:
        filters = [part for path in self.paths for part in ("-P", str(path))]
        faults = ("-e", f"inject={inject}") if inject else ()
        strace = ("strace", "-f", "-qq", "-y", "-o", str(self.log), *filters, "-e", f"trace={calls}", *faults)
        return self.cli(*command, prefix=strace)

    def calls(self) -> list[str]:
        """The system calls of the last command, in order, with their arguments."""
        return [line.split(maxsplit=1)[1] for line in self.log.read_text().splitlines()]

    def synced(self) -> list[tuple[str, str]]:
        """The path of each fsync of the last command, with the call."""
        return [(found[1], call) for call in self.calls() if (found := re.match(r"fsync\(\d+<(.*?)>", call))]

    def steps(self) -> list[tuple[str, int]]:
        """Each call of the last command by its name, and which call of that name it was."""
        names = [found[1] for call in self.calls() if (found := re.match(r"(\w+)\(", call))]
        return [(name, names[: at + 1].count(name)) for at, name in enumerate(names)]


@pytest.fixture
def trace(cli: Cli, home: Home, tmp_path: Path) -> Trace:
    return Trace(cli, home, tmp_path / "strace.log")


@contextmanager
def restored(root: Path) -> Iterator[None]:
    """Put the files below `root` back to what they were."""
    copy = root.with_name("as it was")
    shutil.copytree(root, copy)
    yield
    shutil.rmtree(root)
    copy.rename(root)


def ids(ledger: Path) -> list[str]:
    """The request ids of all rows; every line must be JSON."""
    lines = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    return [line["request_id"] for line in lines if "torn" not in line]


def tear(ledger: Path) -> None:
    with ledger.open("ab") as file:
        file.write(b'{"ts":"2026-05-29T12:00:00Z","persona_id":"her')


@pytest.mark.promise(1)
@pytest.mark.parametrize("state", ["new", "torn"])
def test_charge_killed_at_any_step_loses_no_acknowledged_row(
    state: str, account: Account, ledger: Path, trace: Trace
) -> None:
    acknowledged = []
    if state == "torn":
        acknowledged = [account.charge(COST, model="m").row.request_id for _ in range(3)]
        tear(ledger)
    root = account.home.root
    with restored(root):
        assert trace(STEPS, *CHARGE).returncode == 0
        steps = trace.steps()
    assert {"write", "fsync", "openat", "flock"} <= {name for name, _ in steps}
    recorded = set()
    for name, number in steps:
        with restored(root):
            done = trace(STEPS, *CHARGE, inject=f"{name}:signal=KILL:when={number}")
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{name} {number}: {done}"
            assert "killed by SIGKILL" in trace.calls()[-1]
            assert done.stdout == "", "acknowledged before it was done"
            account.show()
            assert account.check(COST).verdict.level == "allow"
            acknowledged_now = [*acknowledged, account.charge(COST, model="m").row.request_id]
            found = ids(ledger)
            assert [one for one in found if one != "killed"] == acknowledged_now, f"{name} {number}"
            assert found.count("killed") <= 1
            recorded.add("killed" in found)
            assert account.show().of("lifetime").spent == COST * len(found)
            assert account.show().warnings == ()
    assert recorded == {False, True}, "no kill hit before the row, or none after it"


@pytest.mark.promise(11)
def test_set_killed_at_any_step_leaves_the_old_bytes_or_the_new(
    account: Account, home: Home, trace: Trace
) -> None:
    persona = home.persona_file("hermes")
    old = persona.read_bytes()
    with restored(home.root):
        assert trace(STEPS, *SET).returncode == 0
        steps, new = trace.steps(), persona.read_bytes()
    assert {"write", "fsync"} <= {name for name, _ in steps}
    assert new != old
    found = set()
    for name, number in steps:
        with restored(home.root):
            done = trace(STEPS, *SET, inject=f"{name}:signal=KILL:when={number}")
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{name} {number}: {done}"
            found.add(persona.read_bytes())
            account.set_budget({"daily_usd": Decimal(5)})
            assert persona.read_bytes() == new
            assert not list(persona.parent.glob(".*")), "a temporary file was left for good"
    assert found == {old, new}


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
