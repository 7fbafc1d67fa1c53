"""`log --follow`: rows as they come, whatever happens to the ledger and whoever reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from hal0_budget.model.records import Entry
from hal0_budget.stores.files import tail as tail_module
from tests.conftest import COMMAND, Cli
from tests.support.processes import open_files, wait_until
from tests.support.rows import row

COST = Decimal("0.25")


class Follower:
    """`log --follow` as a process of its own, and what it has said so far."""

    def __init__(self, cli: Cli, folder: Path, *args: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [COMMAND, "log", "hermes", "--follow", *args], env=cli.environment(), stdout=out, stderr=err
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def complained(self) -> str:
        return self._err.read_text()

    @property
    def ids(self) -> list[str]:
        return re.findall(r"\bgen-[0-9]+\b", self.said)

    def hears(self, *ids: str) -> None:
        """Wait until these are the ids of all rows that were said."""
        wait_until(lambda: len(self.ids) >= len(ids) or self.process.poll() is not None)
        assert self.ids == list(ids), self.complained

    def holds(self, path: Path) -> bool:
        """Whether it has the file at `path` open."""
        return str(path) in open_files(self.process.pid)


Follow = Callable[..., Follower]


@pytest.fixture
def follow(cli: Cli, tmp_path: Path) -> Iterator[Follow]:
    """Start to follow the ledger of hermes; killed at the end."""
    started = []

    def start(*args: str) -> Follower:
        started.append(Follower(cli, tmp_path, *args))
        return started[-1]

    yield start
    for follower in started:
        follower.process.kill()
        follower.process.wait(60)


def append(ledger: Path, *data: bytes) -> None:
    ledger.parent.mkdir(exist_ok=True)
    with ledger.open("ab", buffering=0) as file:
        for part in data:
            file.write(part)


def test_rows_are_said_as_they_come(follow: Follow, ledger: Path) -> None:
    append(ledger, *(row(number).line() for number in range(5)))
    follower = follow("-n", "2")
    follower.hears("gen-3", "gen-4")
    for number in range(5, 8):
        append(ledger, row(number).line())
        follower.hears(*(f"gen-{shown}" for shown in range(3, number + 1)))
    assert follower.process.poll() is None


@pytest.mark.parametrize("args", [("-n", "0"), ("--since", "2027-01-01")], ids=" ".join)
def test_nothing_old_is_said_where_nothing_old_is_asked_for(
    follow: Follow, ledger: Path, args: tuple[str, ...]
) -> None:
    append(ledger, row(1).line())
    follower = follow(*args)
    wait_until(lambda: follower.holds(ledger))
    append(ledger, row(2).line(), row(3, row(3).ts.replace(year=2027)).line())
    follower.hears(*(["gen-2", "gen-3"] if args[0] == "-n" else ["gen-3"]))


def test_json_is_an_object_a_row_and_line(follow: Follow, account: Account, ledger: Path) -> None:
    follower = follow("--json")
    account.charge(Decimal("0.30000000000000000001"), model="m", request_id="gen-1", cost_source="priced")
    follower.hears("gen-1")
    append(ledger, b"junk\n", row(2).line())
    follower.hears("gen-1", "gen-2")
    first, second = [json.loads(line, parse_float=Decimal) for line in follower.said.splitlines()]
    assert first == {
        "ts": "2026-05-29T12:00:00+00:00",
        "surface": "cli",
        "model": "m",
        "cost_usd": Decimal("0.30000000000000000001"),
        "request_id": "gen-1",
        "voided": False,
        "cost_source": "priced",
    }
    assert second["request_id"] == "gen-2"
    assert "the line at byte" in follower.complained


def test_row_is_said_once_it_is_whole(follow: Follow, ledger: Path) -> None:
    first, second = row(1).line(), row(2).line()
    append(ledger, first, second[:50])
    follower = follow()
    follower.hears("gen-1")
    append(ledger, second[50:], row(3).line()[:60])
    follower.hears("gen-1", "gen-2")
    append(ledger, row(3).line()[60:-1])
    follower.hears("gen-1", "gen-2", "gen-3")
    append(ledger, b"\n", row(4).line())
    follower.hears("gen-1", "gen-2", "gen-3", "gen-4")
    assert follower.complained == ""


def test_tear_that_the_next_charge_seals_is_no_row(follow: Follow, account: Account, ledger: Path) -> None:
    append(ledger, row(1).line(), row(2).line()[:-9])
    follower = follow()
    follower.hears("gen-1")
    account.charge(COST, model="m", request_id="gen-3")
    follower.hears("gen-1", "gen-3")
    assert b'"torn":true}' in ledger.read_bytes()
    assert follower.complained == ""


def test_ledger_that_is_not_there_yet_is_waited_for(follow: Follow, home: Home, account: Account) -> None:
    shutil.rmtree(home.spend_dir("hermes"))
    follower = follow()
    time.sleep(0.5)
    assert (follower.said, follower.process.poll()) == ("", None)
    for number in (1, 2):
        account.charge(COST, model="m", request_id=f"gen-{number}")
    follower.hears("gen-1", "gen-2")


def test_ledger_that_is_replaced_is_followed_by_its_name(follow: Follow, ledger: Path) -> None:
    """What is written to the old one until the new one stands in its place is said too."""
    append(ledger, row(0).line(), row(1).line())
    follower = follow("-n", "1")
    follower.hears("gen-1")
    old = ledger.rename(ledger.with_name("old.jsonl"))
    append(old, row(2).line())
    follower.hears("gen-1", "gen-2")
    new = ledger.with_name("new.jsonl")
    append(new, row(3).line(), row(4).line())
    append(old, row(5).line())
    new.rename(ledger)
    follower.hears("gen-1", "gen-2", "gen-5", "gen-3", "gen-4")
    wait_until(lambda: not follower.holds(old))
    append(ledger, row(6).line())
    follower.hears("gen-1", "gen-2", "gen-5", "gen-3", "gen-4", "gen-6")


def test_row_that_an_old_ledger_gains_as_it_is_replaced_is_said(
    account: Account, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(ledger, row(1).line())
    tail = account.tail()
    assert len(list(tail.read())) == 1

    def replaced(path: Path, _fd: int) -> bool:
        append(path, row(2).line())
        path.rename(path.with_name("old.jsonl"))
        append(path, row(3).line())
        return False

    monkeypatch.setattr(tail_module, "_has_its_name", replaced)
    assert [found.row.request_id for found in tail.read() if isinstance(found, Entry)] == ["gen-2", "gen-3"]


def test_ledger_that_is_cut_short_is_said_to_be_and_read_again(follow: Follow, ledger: Path) -> None:
    append(ledger, *(row(number).line() for number in range(3)))
    follower = follow("-n", "1")
    follower.hears("gen-2")
    os.truncate(ledger, len(row(0).line()))
    follower.hears("gen-2", "gen-0")
    append(ledger, row(3).line())
    follower.hears("gen-2", "gen-0", "gen-3")
    assert follower.complained == f"warning: {ledger}: shorter than it was; read again from its beginning\n"


def test_unreadable_line_is_named_as_it_comes(follow: Follow, ledger: Path) -> None:
    append(ledger, row(1).line())
    follower = follow()
    follower.hears("gen-1")
    append(ledger, b'{"cost_usd":1}\n', row(2).line())
    follower.hears("gen-1", "gen-2")
    byte = len(row(1).line())
    assert follower.complained == f"warning: {ledger}: the line at byte {byte} is unreadable: no ts\n"


def test_what_takes_the_place_of_a_ledger_and_is_none_ends_it(follow: Follow, ledger: Path) -> None:
    append(ledger, row(1).line())
    follower = follow()
    follower.hears("gen-1")
    ledger.unlink()
    os.mkfifo(ledger)
    assert follower.process.wait(60) == 65
    assert "a FIFO, not a regular file" in follower.complained


SIGNALS = {"interrupted": (signal.SIGINT, 130), "terminated": (signal.SIGTERM, 143)}


@pytest.mark.parametrize(("number", "code"), SIGNALS.values(), ids=SIGNALS)
def test_follower_ends_without_a_word_when_it_is_told_to(
    follow: Follow, ledger: Path, number: signal.Signals, code: int
) -> None:
    append(ledger, row(1).line())
    follower = follow()
    follower.hears("gen-1")
    follower.process.send_signal(number)
    assert follower.process.wait(60) == code
    assert follower.complained == ""


@contextmanager
def piped(cli: Cli, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [COMMAND, "log", "hermes", *args],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_follower_ends_soon_after_its_reader_though_no_row_comes(cli: Cli, ledger: Path) -> None:
    append(ledger, row(1).line())
    with piped(cli, "--follow") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().endswith(b"gen-1\n")
        process.stdout.close()
        assert process.wait(30) == 74
        assert process.stderr.read() == b""


def test_reader_of_a_long_listing_may_leave(cli: Cli, ledger: Path) -> None:
    append(ledger, b"".join(row(number).line() for number in range(20_000)))
    with piped(cli, "-n", "all") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 74
        assert process.stderr.read() == b""


@pytest.mark.parametrize("args", [(), ("--json",), ("--follow",)], ids=["text", "json", "follow"])
def test_full_disk_behind_the_rows_is_74(cli: Cli, ledger: Path, args: tuple[str, ...]) -> None:
    append(ledger, row(1).line())
    with Path("/dev/full").open("wb") as full:
        done = cli("log", "hermes", *args, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 74
    assert done.stderr.startswith("hal0-budget: the answer could not be written")


def test_rows_of_many_writers_are_said_once_each(follow: Follow, cli: Cli, home: Home) -> None:
    follower = follow()
    writer = 'for i in 0 1 2 3 4; do "$0" charge hermes --cost 0.1 --model m --request-id gen-$1$i -q; done'
    writers = [
        subprocess.Popen(["bash", "-c", writer, COMMAND, str(number)], env=cli.environment())
        for number in range(1, 5)
    ]
    assert [process.wait(60) for process in writers] == [0] * 4
    wait_until(lambda: len(follower.ids) >= 20)
    tail = Account(home, "hermes").tail()
    assert follower.ids == [found.row.request_id for found in tail.read() if isinstance(found, Entry)]
    assert len(set(follower.ids)) == 20
