"""Whatever stands where a file should be, however long: refused or left alone, at once, in little memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Account, BudgetError, Home
from tests.conftest import COMMAND, Cli
from tests.support.strange_files import (
    LONG,
    OURS,
    STRANGE,
    Make,
    fifo,
    link_to,
    link_to_itself,
    sparse,
)

pytestmark = pytest.mark.promise(14)

SECONDS = 10
MEMORY_KB = 100 * 1024

# Runs a command and prints what it took as a last line on stderr: a process of its own, because
# a child begins with the memory of the process that it was forked from.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


class Ran(NamedTuple):
    """What a command ended in, and what it said on stderr."""

    code: int
    said: str

    def refused(self, code: int, why: str) -> bool:
        return self.code == code and why in self.said


def run(cli: Cli, *args: str) -> Ran:
    """The command's exit code and what it said on stderr, within the time and memory there is."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", MEASURE, str(COMMAND), *args],
        env=cli.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    *said, peak = done.stderr.splitlines()
    assert int(peak) < MEMORY_KB
    return Ran(done.returncode, "\n".join(said))


ANY = {name: make for name, make in (LONG | STRANGE).items() if name not in {"1 GB", "a socket"}}
CHARGE = ("charge", "hermes", "--cost", "0.25", "--model", "m")
NO_FILE = ", not a regular file"


@pytest.fixture
def files(account: Account, home: Home, ledger: Path) -> dict[str, Path]:
    """The files of an account with a cap of $1.00, of which $0.50 is spent."""
    account.charge(Decimal("0.5"), model="m")
    account.set_budget({"lifetime_usd": Decimal(1)})
    return {
        "ledger": ledger,
        "checkpoint": ledger.with_name("spend.checkpoint"),
        "lock": ledger.with_name("spend.lock"),
        "persona": home.persona_file("hermes"),
    }


@pytest.mark.parametrize(
    ("make", "with_checkpoint"),
    [(LONG["1 GB"], True), (LONG["1 TiB"], True), (LONG["1 TiB"], False), (LONG["20 MB of x"], False)],
    ids=["1 GB", "1 TiB", "1 TiB and no checkpoint", "20 MB of x and no checkpoint"],
)
def test_line_that_never_ends_is_refused_and_a_charge_stands_behind_it(
    make: Make, with_checkpoint: bool, files: dict[str, Path], cli: Cli
) -> None:
    make(files["ledger"])
    size = files["ledger"].stat().st_size
    if not with_checkpoint:
        files["checkpoint"].unlink()
    why = "longer than 262144 bytes"
    assert run(cli, "check", "hermes").refused(65, why)
    charged = run(cli, *CHARGE)
    assert charged.code == 0
    assert why in charged.said
    with files["ledger"].open("rb") as file:
        file.seek(size)
        sealed, row = file.read().splitlines()
    assert sealed.endswith(b'"torn":true}')
    assert b'"cost_usd":0.25,' in row
    assert run(cli, "check", "hermes", "--estimate", "0.01").refused(65, why)


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
def test_ledger_that_is_no_file_is_refused_by_what_it_is(
    make: Make, files: dict[str, Path], cli: Cli
) -> None:
    make(files["ledger"])
    for command in (("check", "hermes"), CHARGE):
        assert run(cli, *command).refused(65, NO_FILE)


@pytest.mark.parametrize("make", ANY.values(), ids=ANY)
def test_checkpoint_of_any_kind_changes_no_verdict(make: Make, files: dict[str, Path], cli: Cli) -> None:
    make(files["checkpoint"])
    assert run(cli, *CHARGE) == Ran(0, "")
    assert run(cli, "check", "hermes", "--estimate", "0.26").code == 20


@pytest.mark.parametrize("make", ANY.values(), ids=ANY)
def test_checkpoint_of_any_kind_is_read_around(make: Make, files: dict[str, Path], account: Account) -> None:
    make(files["checkpoint"])
    assert account.check(Decimal("0.5")).verdict.level == "allow"
    assert account.check(Decimal("0.51")).verdict.level == "block"


@contextmanager
def at_once() -> Iterator[None]:
    """Nothing here may wait for the other end of a FIFO."""

    def give_up(_signum: int, _frame: object) -> None:
        raise AssertionError(f"still waiting after {SECONDS} s")

    old = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@contextmanager
def refused(code: int, why: str) -> Iterator[None]:
    with at_once(), pytest.raises(BudgetError, match=why) as caught:
        yield
    assert caught.value.exit_code == code


@pytest.mark.parametrize("make", OURS.values(), ids=OURS)
def test_lock_that_is_no_file_stops_writers_and_no_reader(
    make: Make, files: dict[str, Path], account: Account
) -> None:
    make(files["lock"])
    before = files["ledger"].read_bytes()
    with at_once():
        assert account.check(Decimal("0.5")).verdict.level == "allow"
    with refused(74, NO_FILE):
        account.charge(Decimal("0.25"), model="m")
    with refused(74, NO_FILE):
        account.set_budget({"daily_usd": Decimal(1)})
    assert files["ledger"].read_bytes() == before


@pytest.mark.parametrize("make", ANY.values(), ids=ANY)
def test_persona_that_is_none_is_refused_and_its_charge_recorded(
    make: Make, files: dict[str, Path], account: Account
) -> None:
    make(files["persona"])
    if make is link_to_itself:
        with refused(66, "no persona 'hermes'"):
            account.charge(Decimal("0.25"), model="m")
        return
    why = "longer than 1048576 bytes" if make in LONG.values() else NO_FILE
    with refused(65, why):
        account.check()
    with refused(65, why):
        account.set_budget({"daily_usd": Decimal(1)})
    with at_once():
        account.charge(Decimal("0.25"), model="m")
    assert files["ledger"].read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("make", [LONG["1 TiB"], fifo, link_to("/dev/zero")], ids=["1 TiB", "FIFO", "link"])
def test_charge_says_what_is_wrong_with_the_persona(make: Make, files: dict[str, Path], cli: Cli) -> None:
    make(files["persona"])
    assert run(cli, "check", "hermes").refused(65, str(files["persona"]))
    charged = run(cli, *CHARGE)
    assert charged.code == 0
    assert f"the charge is recorded, but the account cannot be read: {files['persona']}" in charged.said


FALSE_LINES = {
    "marks in the lock": ("spend.lock", b"".join(b"\nledger 9%09d" % number for number in range(60_000))),
    "marks in the checkpoint": (
        "spend.checkpoint",
        b"".join(b"ledger 9%09d\n" % number for number in range(90_000)),
    ),
    "checkpoints": ("spend.checkpoint", b'{"crc32":\n' * 200_000),
}


@pytest.mark.parametrize(("name", "lines"), FALSE_LINES.values(), ids=FALSE_LINES)
def test_many_false_lines_in_a_log_do_not_delay_the_verdict(
    name: str, lines: bytes, home: Home, cli: Cli
) -> None:
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(1)})
    account.charge(Decimal("0.9"), model="m")
    with (home.spend_dir("hermes") / name).open("ab") as file:
        file.write(lines)
    assert run(cli, "check", "hermes", "--estimate", "0.2").code == 20
    assert run(cli, "charge", "hermes", "--cost", "0.01", "--model", "m").code == 0
    assert run(cli, "check", "hermes", "--estimate", "0.1").code == 20


def test_repair_of_a_journal_without_end_keeps_its_holds_and_the_file(home: Home, cli: Cli) -> None:
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(1)})
    account.reserve(Decimal("0.5"), hold_id="h0")
    journal = home.spend_dir("hermes") / "spend.holds"
    sparse(1024**4)(journal)
    assert run(cli, "check", "hermes").code == 65
    assert run(cli, "verify", "hermes", "--repair").code == 0
    assert journal.with_name("spend.holds.unreadable.1").stat().st_size == 1024**4
    assert account.show().held == Decimal("0.5")
    assert run(cli, "check", "hermes", "--estimate", "0.6").code == 20
