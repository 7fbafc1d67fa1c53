"""SIGKILL at any step of reserve, release, charge --hold and void: the next command goes on by itself."""

from __future__ import annotations

import signal
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Home
from tests.conftest import Cli, Proof
from tests.test_faults import STEPS, Trace, restored

RESERVE = ("reserve", "hermes", "--estimate", "0.25", "--hold-id", "mine")
CHARGE = ("charge", "hermes", "--cost", "0.3", "--model", "m", "--request-id", "r1")


class Case(NamedTuple):
    """What stands before, the command that is killed, and what is spent and held once it was retried."""

    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    spent: str
    held: str


CASES = {
    "reserve": Case((), RESERVE, "0", "0.25"),
    "release": Case((RESERVE,), ("release", "hermes", "mine"), "0", "0"),
    "charge of a hold": Case((RESERVE,), (*CHARGE, "--hold", "mine"), "0.3", "0"),
    "void": Case((CHARGE,), ("void", "hermes", "r1", "--reason", "wrong"), "0", "0"),
}


def spent_and_held(cli: Cli) -> tuple[Decimal, Decimal]:
    shown = cli.json("show", "hermes")
    return shown["spend"]["lifetime_usd"], shown["windows"][-1]["held_usd"]


@pytest.mark.promise(1)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_killed_at_any_step_it_is_done_once_when_retried(
    case: Case, cli: Cli, home: Home, tmp_path: Path, proof: Proof
) -> None:
    trace = Trace(cli, home, tmp_path / "strace.log")
    cli("charge", "hermes", "--cost", "0", "--model", "m", "--request-id", "r0")
    for command in case.before:
        assert cli(*command).returncode == 0
    start = spent_and_held(cli)
    end = (Decimal(case.spent), Decimal(case.held))
    with restored(home.root):
        assert trace(STEPS, *case.command).returncode == 0
        assert spent_and_held(cli) == end
        steps = trace.steps()
    assert {"write", "fsync", "openat", "flock"} <= {name for name, _ in steps}
    found = set()
    for name, number in steps[:: proof.size(3, 1)]:
        with restored(home.root):
            done = trace(STEPS, *case.command, inject=f"{name}:signal=KILL:when={number}")
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{name} {number}: {done}"
            assert done.stdout == "", "acknowledged before it was done"
            left = spent_and_held(cli)
            found.add(left)
            assert left in (start, end), f"{name} {number}"
            # 76: it was done before it was killed, and cannot be done twice.
            assert cli(*case.command).returncode in (0, 76), f"{name} {number}"
            assert spent_and_held(cli) == end, f"{name} {number}"
            assert cli("verify", "hermes").returncode in (0, 10), f"{name} {number}"
    assert start in found, "no kill hit before it was done"
    assert end in found or not proof.is_full, "no kill hit after it was done"
    every = "each" if proof.is_full else "every third"
    proof.reached(f"{case.command[0]} killed at {every} of {len(steps)} steps")
