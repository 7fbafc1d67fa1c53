"""Readers never write: no command that only asks changes a ledger or a persona file, sound or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import SAMPLES, Cli, Proof, forget_marks
from tests.support.faults import Trace, restored, tear

pytestmark = pytest.mark.promise(2)

# Every command that only asks, by its name, and how else it can be asked.
READERS = {
    "check": ("check hermes", "check hermes --estimate 1", "check hermes --estimate 1 --json"),
    "show": ("show", "show hermes", "show hermes --color always"),
    "verify": ("verify", "verify hermes"),
}

# What is asked of a file without changing it. A reader syncs rows before a checkpoint passes them.
ASKING = (
    r"(fsync|openat|newfstatat|fstat|lstat|stat|statx|readlink|read|pread64|lseek|close|ioctl|fcntl|access)\("
)


def leave(_: Account, ledger: Path) -> None:
    assert ledger.exists()


def tear_it(_: Account, ledger: Path) -> None:
    tear(ledger)


def forget(_: Account, ledger: Path) -> None:
    """No reader finds anything that is derived."""
    forget_marks(ledger)


def grow(_: Account, ledger: Path) -> None:
    """hal0 appended a row, and was killed in the next."""
    with ledger.open("ab") as file:
        file.write(ledger.read_bytes().splitlines(keepends=True)[0].replace(b'"r0"', b'"r1"'))
    tear(ledger)


def let_a_hold_expire(account: Account, _: Path) -> None:
    ago = datetime.now(UTC) - timedelta(hours=2)
    Account(account.home, "hermes", clock=lambda: ago).reserve(Decimal("0.5"))


def damage(_: Account, ledger: Path) -> None:
    ledger.write_bytes((SAMPLES / "ledgers" / "damaged.jsonl").read_bytes())


def empty(_: Account, ledger: Path) -> None:
    ledger.write_bytes(b"")


STATES: dict[str, Callable[[Account, Path], None]] = {
    "grown, and torn": grow,
    "sound": leave,
    "torn": tear_it,
    "without what is derived": forget,
    "with a hold that expired": let_a_hold_expire,
    "damaged": damage,
    "emptied": empty,
}


def state(path: Path) -> tuple[bytes, int, int, int]:
    """The bytes of a file, which file it is, its mode, and when it was last changed."""
    status = path.stat()
    return path.read_bytes(), status.st_ino, status.st_mode, status.st_ctime_ns


@pytest.mark.parametrize("command", READERS)
def test_readers_change_neither_ledger_nor_persona(
    command: str, account: Account, home: Home, ledger: Path, cli: Cli, tmp_path: Path, proof: Proof
) -> None:
    trace = Trace(cli, home, tmp_path / "strace.log")
    account.charge(Decimal("0.25"), model="m", request_id="r0")
    account.set_budget({"lifetime_usd": Decimal(100)})
    files = (ledger, home.persona_file("hermes"))
    calls = 0
    for name, put in list(STATES.items())[: proof.size(1, len(STATES))]:
        for line in READERS[command]:
            with restored(home.root):
                put(account, ledger)
                before = [state(path) for path in files]
                assert trace("all", *line.split()).returncode in {0, 10, 65}, (line, name)
                assert [state(path) for path in files] == before, (line, name)
                seen = [call for call in trace.calls() if any(path.name in call for path in files)]
                for call in seen:
                    assert re.match(ASKING, call), (line, name)
                    assert not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", call), (line, name)
                for path in files:
                    assert any(f'"{path}"' in call for call in seen), (line, name)
                calls += len(seen)
    proof.counted(calls, "system calls of readers on a ledger or a persona file, none of them mutating")
