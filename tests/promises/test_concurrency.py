"""Many processes on one ledger: nothing is lost, nothing is counted twice, and nobody waits for ever."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from hal0_budget import Account, Home, Row
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.conftest import COMMAND, Cli, Proof
from tests.support.processes import CHARGE, COST, FORK, all_acknowledged, charge_often, ended, ids, started

CAP = Decimal(1_000_000)


def append_often(home: Home, name: str, acknowledged: Path, turns: Iterable[int]) -> None:
    """Append rows as hal0's server does: one write each, without our lock, and no fsync."""
    path = home.spend_dir("hermes") / "spend.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o660)
    with acknowledged.open("ab", buffering=0) as file:
        for number in turns:
            row = Row(utc_now(), "hermes", "openrouter", "m", COST, f"{name}-{number}")
            os.write(fd, row.line())
            file.write(f"{row.request_id}\n".encode())
            time.sleep(0.001)
    os.close(fd)


@pytest.mark.promise(8)
def test_checks_meanwhile_see_no_damage_and_no_spend_that_falls(
    home: Home, account: Account, cli: Cli, ledger: Path, tmp_path: Path, proof: Proof
) -> None:
    account.set_budget({"lifetime_usd": CAP})
    reader = Account(home, "hermes")
    stop = FORK.Event()
    turns = itertools.takewhile(lambda _: not stop.is_set(), itertools.count())
    writers = [
        started(work, home, f"{work.__name__}-{number}", tmp_path / f"ack-{work.__name__}-{number}", turns)
        for work in (charge_often, append_often)
        for number in range(4)
    ]
    begin, seconds, wanted = time.monotonic(), proof.size(1, 60), proof.size(50, 10_000)
    checks = commands = 0
    last: dict[object, Decimal] = {}
    while checks < wanted or time.monotonic() - begin < seconds:
        statement = reader.check(COST).statement
        assert statement.warnings == ()
        for state in statement.windows:
            # One that ends meanwhile starts afresh.
            window = (state.window, state.resets_at)
            assert state.spent is not None
            assert state.spent >= last.get(window, 0)
            last[window] = state.spent
        checks += 1
        if time.monotonic() - begin > commands * seconds / proof.size(2, 60):
            left = cli.json("check", "hermes", "--estimate", "0.25")["remaining_usd"]["lifetime"]
            assert CAP - left >= last["lifetime", None]
            last["lifetime", None] = CAP - left
            commands += 1
    seconds = round(time.monotonic() - begin)
    stop.set()
    ended(writers)
    found = ids(ledger.read_bytes())
    assert Counter(found) == Counter(all_acknowledged(tmp_path))
    for _ in ("from the checkpoint", "first scan"):
        assert reader.show().of("lifetime").spent == len(found) * COST
        ledger.with_name("spend.checkpoint").unlink()
    proof.reached(
        f"{len(writers)} writers, {seconds} s, {len(found)} rows: {checks} checks and {commands} commands, "
        "no false damage, no spend that fell"
    )


@pytest.mark.promise(5)
def test_every_acknowledged_charge_of_many_processes_is_there_once(
    home: Home, cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    writers = [
        started(charge_often, home, f"library-{number}", tmp_path / f"ack-{number}", range(25))
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
    assert Counter(ids(ledger.read_bytes())) == Counter(expected)
    assert len(expected) == 8 * 25 + 16
    assert cli.json("show", "hermes")["spend"]["lifetime_usd"] == COST * len(expected)


class Writers:
    """Eight processes that charge until they are killed: six by the library, two a command at a time."""

    def __init__(self, home: Home, cli: Cli, noted: Path) -> None:
        self.home, self.cli, self.noted = home, cli, noted
        self.of_commands: list[str] = []
        self._numbers = itertools.count()
        self._makers = [self._by_library] * 6 + [self._by_command] * 2
        self._writers = [make() for make in self._makers]

    def start(self, places: Iterable[int]) -> None:
        for place in places:
            self._writers[place] = self._makers[place]()

    def kill(self, places: Sequence[int]) -> int:
        """Kill some at once; how many were still writing."""
        for place in places:
            self._writers[place].kill()
        return sum(map(self._was_writing, places))

    def _by_library(self) -> BaseProcess:
        # Not rows of hal0's: it seals no tear that a killed writer may leave, and would run into it.
        return started(charge_often, self.home, f"w{next(self._numbers)}", self.noted, itertools.count())

    def _by_command(self) -> subprocess.Popen[bytes]:
        command = [str(COMMAND), *CHARGE, "--lock-timeout", "30", "--request-id", f"c{next(self._numbers)}"]
        return subprocess.Popen(command, env=self.cli.environment(), stdout=subprocess.DEVNULL)

    def _was_writing(self, place: int) -> bool:
        writer = self._writers[place]
        if isinstance(writer, BaseProcess):
            writer.join()
            return True
        code = writer.wait()
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            assert isinstance(writer.args, list)
            self.of_commands.append(writer.args[-1])
        return code != 0


@pytest.mark.promise(1)
def test_killed_writers_lose_no_acknowledged_charge(
    home: Home, account: Account, cli: Cli, ledger: Path, tmp_path: Path, proof: Proof
) -> None:
    account.set_budget({"lifetime_usd": CAP})
    chance, writers = random.Random(8), Writers(home, cli, tmp_path / "ack-library")
    kills, wanted = 0, proof.size(80, 10_000)
    while kills < wanted:
        time.sleep(chance.random() * 0.005)
        # Several at once, as when a machine runs out of memory.
        victims = chance.sample(range(8), chance.randint(1, 4))
        kills += writers.kill(victims)
        writers.start(victims)
        if chance.random() < 0.1:
            account.check(COST)
    writers.kill(range(8))
    acknowledged = writers.of_commands + all_acknowledged(tmp_path)
    found = Counter(ids(ledger.read_bytes()))
    assert len(acknowledged) > wanted / 10
    assert {one: found[one] for one in acknowledged} == dict.fromkeys(acknowledged, 1)
    assert set(found.values()) == {1}
    assert account.show().of("lifetime").spent == COST * len(found)
    assert account.show().warnings == ()
    assert not audit(home, "hermes", utc_now()).is_damaged
    proof.reached(
        f"{kills:,} kills over 8 writers: {len(acknowledged):,} acknowledged ids, "
        f"{len(writers.of_commands):,} of them of commands, each there once"
    )
