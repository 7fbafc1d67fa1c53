"""Repairs by the command: every whole row is kept, what is given up is named, and no kill opens the gate."""

from __future__ import annotations

import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Account, BudgetError, Home
from hal0_budget.cli.app import invoke
from hal0_budget.cli.options import Output
from hal0_budget.cli.render.emit import Result
from tests.conftest import Cli, Proof
from tests.support.faults import calls_on, strace
from tests.support.hold_files import refused
from tests.support.ledgers import append, ids_of, row, spent_and_held

MUTATING = (
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "link", "linkat", "symlinkat", "truncate", "ftruncate", "mkdir", "fallocate",
    "copy_file_range", "sendfile",
)  # fmt: skip
FOLDER = r'[^>"]*/personas/hermes/'
# A call on a file of the persona, by its descriptor or its name. How the cache is filled again is left out.
OURS = re.compile(
    rf'\w+\((?:\d+<{FOLDER}(?!spend\.(?:cache|index|summary))|(?:AT_FDCWD[^,]*, )?"{FOLDER}(?!spend\.cache-))'
)
REPAIR = ("verify", "hermes", "--repair")
TOO_MUCH = Decimal("1.01")


@pytest.fixture
def account(home: Home) -> Account:
    """The account of hermes with a lifetime cap of $5."""
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(5)})
    return account


@pytest.fixture
def folder(home: Home) -> Path:
    return home.spend_dir("hermes")


def jq_sum(ledger: Path) -> Decimal:
    """The lifetime sum as an operator counts it, to a billionth; fails where a line is no JSON."""
    done = subprocess.run(
        ["jq", "-s", "map(.cost_usd)|add", str(ledger)], capture_output=True, check=True, timeout=60
    )
    return Decimal(done.stdout.decode().strip()).quantize(Decimal("1e-9"))


def repaired(home: Home) -> int:
    """The exit code of `verify --repair`, run in this process."""
    result = invoke(["--root", str(home.root), *REPAIR], Output())
    assert isinstance(result, Result)
    return result.exit_code


# 11: rows that share a line with a tear or with each other

TORN = row("1.25", "torn")[:70]
ONE_LINE = {
    "a tear, then a row": (TORN + row("3.5", "r1"), {"r1": "3.5"}),
    "two rows": (row("1.25", "r1") + row("3.5", "r2"), {"r1": "1.25", "r2": "3.5"}),
    "three rows": (
        row("0.1", "r1") + row("0.2", "r2") + row("1.5e-07", "r3"),
        {"r1": "0.1", "r2": "0.2", "r3": "1.5e-07"},
    ),
    "a tear, then two rows": (TORN + row("0.1", "r1") + row("0.2", "r2"), {"r1": "0.1", "r2": "0.2"}),
    "a row, then garbage": (row("3.5", "r1") + b"garbage", {"r1": "3.5"}),
    "a row, then a tear": (row("3.5", "r1") + TORN, {"r1": "3.5"}),
    "a row between garbage": (b"\xff\0" + row("3.5", "r1") + b"}", {"r1": "3.5"}),
    "two tears, then a row": (TORN + TORN[:20] + row("3.5", "r1"), {"r1": "3.5"}),
    "a row and one with braces in its names": (
        row("0.1", "r1", model='{"}') + row("0.2", "r2", reason='"}{"'),
        {"r1": "0.1", "r2": "0.2"},
    ),
}


@pytest.mark.parametrize(("line", "kept"), ONE_LINE.values(), ids=ONE_LINE)
def test_repair_keeps_every_whole_row_of_a_line(
    line: bytes, kept: dict[str, str], account: Account, ledger: Path
) -> None:
    account.charge(Decimal("0.25"), model="m", request_id="first")
    append(ledger, line + b"\n" + row("0.125", "last") + b"\n")
    with pytest.raises(BudgetError) as caught:
        account.check(Decimal(1))
    assert caught.value.exit_code == 65
    assert repaired(account.home) in {0, 10}
    total = Decimal("0.375") + sum(map(Decimal, kept.values()))
    assert spent_and_held(account) == (total, 0)
    assert jq_sum(ledger) == total
    assert sorted(ids_of(ledger)) == sorted(["first", *kept, "last"])
    after = ledger.read_bytes()
    assert repaired(account.home) in {0, 10}
    assert ledger.read_bytes() == after


def test_repair_names_the_dollars_that_it_sets_aside(account: Account, cli: Cli, ledger: Path) -> None:
    account.charge(Decimal(1), model="m", request_id="first")
    bad = row("2.75", "bad").replace(b'"ts":"2', b'"ts":"x')
    append(ledger, bad + b"\n")
    done = cli(*REPAIR)
    assert done.returncode in {0, 10}
    assert "$2.75" in done.stdout
    assert bad in ledger.with_name("spend.jsonl.unreadable").read_bytes()
    assert spent_and_held(account) == (1, 0)


# 12: a repair that is killed


class Call(NamedTuple):
    """A call that changes something: its name, which call of that name, and whether on a file of ours."""

    name: str
    number: int
    is_ours: bool


class Repair:
    """`verify --repair`, to be killed at each call that changes something."""

    def __init__(self, home: Home, folder: Path) -> None:
        self._home, self._copy = home, folder
        self.report, self.calls = self._run()

    def _run(self, *faults: str) -> tuple[str, list[Call]]:
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._home.root, self._copy / "agents")
        log = self._copy / "log"
        traced = strace(log, "-e", f"trace={','.join(MUTATING)}", *faults)
        done = Cli(self.home.root)(*REPAIR, prefix=traced, env={"PYTHONDONTWRITEBYTECODE": "1"})
        self.was_killed = done.returncode in {-9, 137}
        lines = [line for line in calls_on(log, "(") if re.match(r"\w+\(", line)]
        names = [line.partition("(")[0] for line in lines]
        counted = zip(names, lines, strict=True)
        calls = [
            Call(name, names[: at + 1].count(name), OURS.match(line) is not None)
            for at, (name, line) in enumerate(counted)
        ]
        return done.stdout, calls

    @property
    def home(self) -> Home:
        """The agent that the last repair was of."""
        return self._home._replace(root=self._copy / "agents")

    def killed_at(self, call: Call) -> str:
        """Repair a copy of the agent and be killed at a call; what was reported."""
        report, _ = self._run("-e", f"inject={call.name}:signal=KILL:when={call.number}")
        assert self.was_killed, call
        return report


class Loss(NamedTuple):
    """A file that keeps only its first lines, or is removed (None), and the dollars that are lost with it."""

    file: str
    lines: int | None
    usd: str

    def happen(self, folder: Path) -> None:
        path = folder / self.file
        kept = path.read_bytes().splitlines(keepends=True)[: self.lines]
        path.unlink()
        if self.lines is not None:
            path.write_bytes(b"".join(kept))


LOSSES = {
    "ledger emptied": Loss("spend.jsonl", 0, "$3.0000"),
    "ledger removed": Loss("spend.jsonl", None, "$3.0000"),
    "ledger cut": Loss("spend.jsonl", 1, "$2.5000"),
    "holds emptied": Loss("spend.holds", 0, "$1.0000"),
    "holds removed": Loss("spend.holds", None, "$1.0000"),
}


@pytest.mark.promise(3)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gate_stays_shut_until_a_repair_has_done_all_that_it_does(
    loss: Loss, account: Account, home: Home, folder: Path, tmp_path: Path, proof: Proof
) -> None:
    account.charge(Decimal("0.5"), model="m", request_id="r1")
    account.charge(Decimal("2.5"), model="m", request_id="r2")
    account.reserve(Decimal(1), hold_id="h")
    loss.happen(folder)
    assert refused(account, TOO_MUCH)
    repair = Repair(home, tmp_path / "copy")
    assert loss.usd in repair.report
    assert not refused(Account(repair.home, "hermes"), TOO_MUCH)
    ours = [call for call in repair.calls if call.is_ours]
    assert ours
    for call in ours if proof.is_full else ours[-2:]:
        report = repair.killed_at(call)
        assert refused(Account(repair.home, "hermes"), TOO_MUCH), f"killed at {call}, it opened the gate"
        assert loss.usd not in report
        assert loss.usd in Cli(repair.home.root)(*REPAIR).stdout, "nobody was told what is gone"
    proof.counted(len(ours), "kills of a repair, none of which opened the gate")


@pytest.mark.promise(3)
def test_repair_that_is_killed_keeps_every_row_of_a_line_once(
    account: Account, home: Home, folder: Path, tmp_path: Path, proof: Proof
) -> None:
    for number in (1, 2, 3):
        account.charge(Decimal(1), model="m", request_id=f"r{number}")
    ledger = folder / "spend.jsonl"
    first, second, third = ledger.read_bytes().splitlines()
    for path in folder.iterdir():
        path.unlink()
    ledger.write_bytes(first + second + b"\n" + third + b"\n")
    assert refused(account, TOO_MUCH)
    repair = Repair(home, tmp_path / "copy")
    ours = [call for call in repair.calls if call.is_ours]
    for call in ours if proof.is_full else ours[-3:]:
        repair.killed_at(call)
        killed = Account(repair.home, "hermes")
        assert refused(killed, Decimal("2.01")), call
        assert Cli(repair.home.root)(*REPAIR).returncode in {0, 10}, call
        assert killed.show().of("lifetime").spent == 3, call
    proof.counted(len(ours), "kills of a repair, none of which opened the gate")
