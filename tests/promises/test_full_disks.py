"""A disk that is full to the byte: what is acknowledged is whole, and space alone mends the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hal0_budget import Home
from tests.conftest import Cli, Proof
from tests.support.faults import Disk, restored
from tests.support.write_cases import CASES, PERSONA, Case, ask, laid, state_of

pytestmark = pytest.mark.promise(6)

PAGE = 4096
ON_DISK = {name: case for name, case in CASES.items() if not case.is_torn}


def pad(record: Path, left: int) -> None:
    """Append a blank line, so that `left` bytes fit on the file's last page."""
    blanks = -(record.stat().st_size + left + 1) % PAGE
    with record.open("ab") as file:
        file.write(b" " * blanks + b"\n")


@pytest.mark.parametrize("case", ON_DISK.values(), ids=ON_DISK)
def test_full_disk_acknowledges_what_is_whole_and_heals_by_itself(
    case: Case, home: Home, disk: Disk, proof: Proof
) -> None:
    record, start = laid(home, case), state_of(home)
    size = record.stat().st_size if record.exists() else 0
    with restored(home.root):
        assert ask(home, case.line) == 0
        end, length = state_of(home), record.stat().st_size - size
    there, cli = Home(disk.here / "agents"), Cli(disk.path / "agents")
    is_grown = case.file != PERSONA and size > 0
    lefts = [length // 2, 0, 1, length - 1, length][: proof.size(1, 5)] if is_grown else [0]
    for left in lefts:
        shutil.rmtree(there.root, ignore_errors=True)
        shutil.copytree(home.root, there.root)
        # A copy of a lock file is two files, of which one would give its page back.
        (there.spend_dir("hermes") / ".spend.lock.link").unlink(missing_ok=True)
        if is_grown:
            pad(there.root / record.relative_to(home.root), left)
        disk.fill()
        done = cli(*case.line.split(), prefix=disk.entered)
        assert (done.returncode == 0) == (is_grown and left == length), (left, done)
        if done.returncode != 0:
            assert (done.returncode, done.stdout) == (74, "")
            assert str(disk.path) in done.stderr
        assert cli("check", "hermes", "--estimate", "0.01", prefix=disk.entered).returncode == 0
        assert state_of(there) in ((end,) if done.returncode == 0 else (start, end))
        disk.clear()
        assert cli(*case.line.split(), prefix=disk.entered).returncode in {0, 76}
        assert state_of(there) == end
    proof.counted(len(lefts), "full disks, a whole row acknowledged or none; check works on each")
