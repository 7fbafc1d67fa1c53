"""SIGKILL, or an error, at any system call of a command: the next command goes on, and nothing counts twice.

`make prove` takes every call from the first that names a file of the agent; none before it can matter.
`make test` takes those that write: who dies between two of them leaves what he leaves at the second.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import pytest

from hal0_budget import Account, Home
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.conftest import SAMPLES, Cli, Proof
from tests.support.faults import MUTATING, missing, tear

WRITING = {*MUTATING.split(",")}
OF_FILES = {*WRITING, "openat", "read", "pread64", "stat", "fstat", "lstat", "newfstatat", "flock", "close"}

CHARGE = ("charge", "hermes", "--cost", "0.3", "--model", "m", "--request-id", "r1")
OTHER = ("charge", "hermes", "--cost", "0.5", "--model", "m", "--request-id", "r0")
RESERVE = ("reserve", "hermes", "--estimate", "0.25", "--hold-id", "mine")
RUN = ("run", "hermes", "--estimate", "0.25", "--", "touch", "started")
SET = ("set", "hermes", "--daily", "5")

NOTHING = Decimal(0)
State = tuple[Decimal, Decimal]
T = TypeVar("T")


class Case(NamedTuple):
    """What stands before, the command that is struck, and what is spent and held once it was retried."""

    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    spent: str
    held: str = "0"
    is_torn: bool = False

    @property
    def end(self) -> State:
        return Decimal(self.spent), Decimal(self.held)


CASES = {
    "charge, the first": Case((), CHARGE, "0.3"),
    "charge behind a tear": Case((OTHER,), CHARGE, "0.8", is_torn=True),
    "reserve": Case((OTHER,), RESERVE, "0.5", "0.25"),
    "release": Case((OTHER, RESERVE), ("release", "hermes", "mine"), "0.5"),
    "charge of a hold": Case((OTHER, RESERVE), (*CHARGE, "--hold", "mine"), "0.8"),
    "batch": Case((OTHER,), ("charge", "hermes", "--batch", str(SAMPLES / "batch.jsonl")), "0.9375"),
    "void": Case((OTHER, CHARGE), ("void", "hermes", "r1", "--reason", "wrong"), "0.5"),
}


def state_of(home: Home) -> State:
    """What is spent and held, with nothing to warn of and nothing damaged."""
    statement = Account(home, "hermes").show()
    assert statement.warnings == ()
    assert not audit(home, "hermes", utc_now()).is_damaged
    return statement.of("lifetime").spent or NOTHING, statement.held


class Call(NamedTuple):
    """A system call of a command: its name, and which call of that name it was, from 1."""

    name: str
    number: int


class Struck(NamedTuple):
    """A command that was struck at one call, what it left, and how it ended."""

    call: Call
    home: Home
    done: subprocess.CompletedProcess[str]

    @property
    def was_killed(self) -> bool:
        return self.done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def again(self, command: tuple[str, ...]) -> State:
        """What is spent and held after a command that was struck is given again."""
        done = Cli(self.home.root)(*command)
        # 76: it was done before it was struck, and cannot be done twice.
        assert done.returncode in (0, 76), (self, done)
        return state_of(self.home)


class Victim:
    """A command to be struck, and each system call of it from the first that names a file of its agent."""

    def __init__(self, home: Home, command: tuple[str, ...]) -> None:
        if shutil.which("strace") is None:
            missing("strace")
        self.home, self.command = home, command
        # Until it does the same twice: the first may have to compile modules.
        self.calls = self._traced()
        while self.calls != (again := self._traced()):
            self.calls = again
        assert {"openat", "write", "fsync", "flock"} <= {call.name for call in self.calls}

    def strike(self, fault: str, names: set[str] | None, work: Callable[[Struck], T]) -> list[T]:
        """What `work` makes of each call of those names, or of any name, once `fault` struck there."""

        def at_one(at: int) -> T:
            with self._struck(at, fault) as struck:
                return work(struck)

        hit = [at for at, call in enumerate(self.calls) if names is None or call.name in names]
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(at_one, hit))

    @contextmanager
    def _struck(self, at: int, fault: str) -> Iterator[Struck]:
        call = self.calls[at]
        # Where memory is mapped varies, and so, once in a thousand runs or more often, does how often.
        for _ in range(25):
            with self._copy() as (copy, log):
                done = self._run(copy, log, "-e", f"inject={call.name}:{fault}:when={call.number}")
                if calls_of(log, copy)[: at + 1] == self.calls[: at + 1]:
                    assert re.search(r"\(INJECTED\)$|^\+\+\+ killed by SIG", log.read_text(), re.MULTILINE)
                    yield Struck(call, copy, done)
                    return
        raise AssertionError(f"another call than {call} was struck")

    def _traced(self) -> list[Call]:
        with self._copy() as (copy, log):
            assert self._run(copy, log).returncode == 0
            return calls_of(log, copy)

    def _run(self, copy: Home, log: Path, *faults: str) -> subprocess.CompletedProcess[str]:
        # One seed of hashes, so that each run makes the same calls.
        strace = ("strace", "-qq", "-o", str(log), *faults)
        return Cli(copy.root)(*self.command, prefix=strace, env={"PYTHONHASHSEED": "0"}, cwd=log.parent)

    @contextmanager
    def _copy(self) -> Iterator[tuple[Home, Path]]:
        with TemporaryDirectory(dir=self.home.root.parent) as folder:
            root = Path(folder) / "agents"
            shutil.copytree(self.home.root, root)
            yield self.home._replace(root=root), Path(folder) / "strace.log"


def calls_of(log: Path, home: Home) -> list[Call]:
    """The calls of a trace from the first that names a file of the agent."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if re.match(r"\w+\(", line)]
    names = [line.partition("(")[0] for line in lines]
    first = next((at for at, line in enumerate(lines) if f'"{home.root}/' in line), len(lines))
    return [Call(name, names[: at + 1].count(name)) for at, name in enumerate(names)][first:]


@pytest.fixture(params=[*CASES.values()], ids=[*CASES])
def case(request: pytest.FixtureRequest, cli: Cli, ledger: Path) -> Case:
    """Each case, with what stands before it done."""
    case: Case = request.param
    for command in case.before:
        assert cli(*command).returncode == 0
    if case.is_torn:
        tear(ledger)
    return case


@pytest.mark.promise(1)
def test_killed_at_any_call_it_is_done_once_when_retried(case: Case, home: Home, proof: Proof) -> None:
    start, end = state_of(home), case.end
    victim = Victim(home, case.command)

    def left_by(struck: Struck) -> State:
        assert struck.was_killed, struck
        left = state_of(struck.home)
        assert left == end or (left == start and struck.done.stdout == ""), struck
        assert struck.again(case.command) == end, struck
        return left

    left = victim.strike("signal=KILL", None if proof.is_full else WRITING, left_by)
    assert {*left} == {start, end}, "no kill hit before it was done, or none after"
    proof.counted(len(victim.calls), "system calls of charge, reserve, release and void")
    proof.counted(len(left), "kills at one of them, each done once when retried")


@pytest.mark.promise(5)
def test_failed_at_any_call_it_is_done_once_when_retried(case: Case, home: Home, proof: Proof) -> None:
    start, end = state_of(home), case.end
    victim = Victim(home, case.command)

    def left_by(struck: Struck) -> State:
        assert struck.done.returncode == 0 or struck.done.returncode >= 64, struck
        left = state_of(struck.home)
        # An error in what is derived from the ledger is nobody's concern.
        assert left == end or (left == start and struck.done.returncode != 0), struck
        assert struck.again(case.command) == end, struck
        return left

    faults = {"EIO": OF_FILES, "ENOSPC": WRITING} if proof.is_full else {"EIO": {"write"}}
    for error, names in faults.items():
        left = victim.strike(f"error={error}", names, left_by)
        assert {*left} == {start, end}, "no error hit before it was done, or none after"
        proof.counted(len(left), f"calls failed with {error}, each done once when retried")


@pytest.mark.promise(1)
def test_killed_run_leaves_its_money_held_or_booked_once_its_command_has_started(
    home: Home, proof: Proof
) -> None:
    """The command itself lives on, and may have been billed."""
    usd = Decimal("0.25")
    states = {(NOTHING, NOTHING), (NOTHING, usd), (usd, NOTHING)}
    victim = Victim(home, RUN)

    def left_by(struck: Struck) -> State:
        assert struck.was_killed, struck
        left = state_of(struck.home)
        assert left in states, struck
        has_started = (struck.home.root.parent / "started").exists()
        assert sum(left) == usd or not has_started, struck
        assert struck.again(OTHER) == (left[0] + Decimal("0.5"), left[1]), struck
        # Once its time is up, the hold is booked by the next charge, and not again by the one after.
        later = Account(struck.home, "hermes", clock=lambda: utc_now() + timedelta(hours=1))
        for _ in range(2):
            later.charge(NOTHING, model="m")
            assert state_of(struck.home) == (sum(left) + Decimal("0.5"), NOTHING), struck
        return left

    left = victim.strike("signal=KILL", None if proof.is_full else WRITING, left_by)
    assert {*left} == states, "no kill hit before it, in it, or after it"
    proof.reached(f"run killed at {len(left)} of its {len(victim.calls)} calls: held or booked, once")


@pytest.mark.promise(1)
def test_killed_repair_loses_nothing_and_is_done_when_it_is_repeated(
    cli: Cli, home: Home, ledger: Path, proof: Proof
) -> None:
    repair = ("verify", "hermes", "--repair")
    assert cli(*OTHER).returncode == 0
    with ledger.open("ab") as file:
        file.write(b"no row\n")
    assert cli(*CHARGE).returncode == 0
    victim = Victim(home, repair)

    def left_by(struck: Struck) -> bool:
        assert struck.was_killed, struck
        found = struck.home.spend_dir("hermes") / ledger.name
        is_there = b"no row" in found.read_bytes()
        assert Cli(struck.home.root)(*repair).returncode == 0, struck
        assert state_of(struck.home) == (Decimal("0.8"), NOTHING), struck
        assert {*found.with_name("spend.jsonl.unreadable").read_bytes().splitlines()} == {b"no row"}, struck
        return is_there

    left = victim.strike("signal=KILL", None if proof.is_full else WRITING, left_by)
    assert {*left} == {True, False}, "no kill hit before it was done, or none after"
    proof.reached(f"verify --repair killed at {len(left)} of its {len(victim.calls)} calls: nothing lost")


@pytest.mark.promise(11)
def test_killed_set_leaves_the_old_bytes_or_the_new(home: Home, proof: Proof) -> None:
    victim = Victim(home, SET)
    old = home.persona_file("hermes").read_bytes()

    def left_by(struck: Struck) -> bytes:
        assert struck.was_killed, struck
        persona = struck.home.persona_file("hermes")
        left = persona.read_bytes()
        assert struck.again(SET) == (NOTHING, NOTHING), struck
        assert b"daily_usd = 5.0" in persona.read_bytes()
        assert not list(persona.parent.glob(".*")), "a temporary file was left for good"
        assert left in (old, persona.read_bytes()), struck
        return left

    left = victim.strike("signal=KILL", None if proof.is_full else WRITING, left_by)
    assert len({*left}) == 2, "no kill hit before it was done, or none after"
    proof.reached(f"set killed at {len(left)} of its {len(victim.calls)} calls: old bytes or new")
