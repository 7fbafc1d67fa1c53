"""A disk that is full to the byte: what is acknowledged is whole, and space alone mends the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Home
from tests.conftest import Cli, Proof
from tests.test_failing_writes import CASES, PERSONA, Case, ask, laid, state_of
from tests.test_faults import restored

pytestmark = pytest.mark.promise(6)

PAGE = 4096
ON_DISK = {name: case for name, case in CASES.items() if not case.is_torn}


class Disk(NamedTuple):
    """A file system of 1 MiB: where commands find it, where this process does, and what runs them there."""

    path: Path
    here: Path
    entered: tuple[str, ...] = ()

    def fill(self) -> None:
        """Leave no page."""
        free = os.statvfs(self.here)
        (self.here / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize))
        assert os.statvfs(self.here).f_bavail == 0

    def clear(self) -> None:
        """Make room again."""
        (self.here / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of its own; where mounting one is not permitted, in a user's namespace."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield Disk(folder, folder)
        subprocess.run(["umount", str(folder)], check=True)
        return
    script = '"$@" && echo mounted && cat'
    with subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", script, "sh", *mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip(f"no tmpfs can be mounted here, nor in a namespace: {done.stderr.strip()}")
        target = f"--target={holder.pid}"
        entered = ("nsenter", target, "--user", "--mount", "--preserve-credentials")
        yield Disk(folder, Path(f"/proc/{holder.pid}/root{folder}"), entered)
        holder.communicate()


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
