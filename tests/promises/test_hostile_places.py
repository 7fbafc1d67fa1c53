"""Whatever stands in the place of any file, however long: every command ends at once, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Account, Home
from tests.conftest import COMMAND, Cli, Proof
from tests.support.faults import restored
from tests.support.strange_files import LONG, MIB, OURS, Make

pytestmark = pytest.mark.promise(14)

HANG = 30
SECONDS = 2
MEGABYTES = 100

# Runs a command line and prints how long it took and how much memory: a process of its own, because
# a child begins with the memory of the process that it was forked from.
MEASURE = """
import resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.run(sys.argv[1:]).returncode
took = time.monotonic() - begin
print(took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def a_gigabyte(path: Path) -> None:
    """A line of a real gigabyte behind what is there."""
    with path.open("ab") as file:
        for _ in range(1000):
            file.write(b"x" * MIB)


THINGS: dict[str, Make] = {
    "1 TiB of nothing": LONG["1 TiB"],
    **OURS,
    "1 GB of nothing": LONG["1 GB"],
    "a line of 1 GB": a_gigabyte,
}


class Place(NamedTuple):
    """A file that commands read: where it is, how `check` ends where it is none, what command names it.

    `skipped` are the things that nobody puts there, or that prove nothing there.
    """

    path: Callable[[Home], Path]
    check: int = 20
    line: str = "show hermes"
    skipped: tuple[str, ...] = ("a line of 1 GB",)


def beside(name: str) -> Callable[[Home], Path]:
    return lambda home: home.spend_dir("hermes") / name


PLACES = {
    "ledger": Place(beside("spend.jsonl"), 65, skipped=()),
    "persona": Place(lambda home: home.persona_file("hermes"), 65),
    "holds": Place(beside("spend.holds"), 65, skipped=()),
    "checkpoint": Place(beside("spend.checkpoint")),
    "cache": Place(beside("spend.cache")),
    "lock": Place(beside("spend.lock")),
    "what a crash left of the checkpoint": Place(beside(".spend.checkpoint.new")),
    "what was set aside": Place(beside("spend.jsonl.unreadable")),
    "active.txt": Place(lambda home: home.active_file),
    "batch": Place(lambda home: home.root / "batch", line="charge hermes --batch {}", skipped=()),
    "cost file": Place(
        lambda home: home.root / "cost", line="run hermes --estimate 0.01 --cost-file {} -- touch {}"
    ),
}

# Every command that reads, then every command that writes.
COMMANDS = (
    *("check hermes --estimate 0.51", "show", "verify", "reserve hermes --estimate 0.01"),
    *("charge hermes --cost 0.01 --model m --hold h0", "charge hermes --cost 0.01 --model m --request-id r9"),
    *(
        "release hermes h1",
        "void hermes r0 --reason x",
        "set hermes --daily 5",
        "init",
        "init --repair hermes",
    ),
    *("run hermes --estimate 0.01 -- true", "verify hermes --repair"),
)


class Ran(NamedTuple):
    """What a command ended in, what it said, its seconds and megabytes."""

    code: int
    said: str
    seconds: float
    megabytes: float


def run(cli: Cli, line: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", MEASURE, str(COMMAND), *line.split()],
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    *said, measured = done.stderr.splitlines()
    seconds, megabytes = map(float, measured.split())
    return Ran(done.returncode, "\n".join(said), seconds, megabytes)


@pytest.fixture
def home(home: Home) -> Home:
    """An agent whose hermes has spent $0.50 of a dollar and holds two cents; all files are there."""
    account = Account(home, "hermes")
    account.charge(Decimal("0.5"), model="m", request_id="r0")
    account.set_budget({"lifetime_usd": Decimal(1)})
    for hold in ("h0", "h1"):
        account.reserve(Decimal("0.01"), hold_id=hold)
    for name in (".spend.checkpoint.new", "spend.jsonl.unreadable", "spend.cache"):
        (home.spend_dir("hermes") / name).touch()
    for name in ("batch", "cost"):
        (home.root / name).touch()
    return home


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_every_command_ends_at_once_in_little_memory_whatever_stands_there(
    place: Place, home: Home, cli: Cli, proof: Proof
) -> None:
    runs: list[Ran] = []
    path = place.path(home)
    things = [thing for thing in THINGS if thing not in place.skipped]
    for thing in things if proof.is_full else things[:1]:
        with restored(home.root):
            THINGS[thing](path)
            lines = [line.replace("{}", str(path)) for line in (place.line, *COMMANDS)]
            for line in lines if proof.is_full else lines[:2]:
                ran = run(cli, line)
                # 1 is that of a `touch` that failed.
                assert ran.code in {0, 1, 10, 20, 64, 65, 66, 74, 77}, (thing, line, ran)
                assert "Traceback" not in ran.said, (thing, line)
                assert ran.megabytes <= MEGABYTES, (thing, line)
                assert ran.seconds <= SECONDS or not proof.is_full, (thing, line)
                if line.startswith("check"):
                    assert ran.code == place.check or os.path.islink(path), (thing, ran)
                    assert ran.code >= 20, (thing, ran)
                runs.append(ran)
    proof.counted(len(runs), "commands on what is no file, or has no end")
    proof.at_most(max(ran.seconds for ran in runs), "s at the slowest of them")
    proof.at_most(max(ran.megabytes for ran in runs), "MB at the largest")
