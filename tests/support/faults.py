"""Torn lines, small disks and strace: how tests make a command fail, and see what it did."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Home
from tests.conftest import Cli

MUTATING = "write,pwrite64,fsync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fchmod,fchown,mkdir"


def missing(tool: str) -> str:
    """Skip a test whose tool is missing; in CI, where every tool is installed, fail it."""
    message = f"{tool} is not installed; .ci/run installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Trace:
    """`strace` around one command, on the calls that touch the files of hermes alone."""

    def __init__(self, cli: Cli, home: Home, log: Path) -> None:
        self.cli, self.log = cli, log
        if shutil.which("strace") is None:
            missing("strace")
        folder, persona = home.spend_dir("hermes"), home.persona_file("hermes")
        kept = ("jsonl", "checkpoint", "lock", "holds", "index")
        names = [f"spend.{kind}" for kind in kept] + [f".spend.{kind}.new" for kind in kept]
        self.paths = [folder, *(folder / name for name in names)]
        self.paths += [persona.parent, persona, persona.with_name(f".{persona.name}.new")]

    def __call__(self, calls: str, *command: str, inject: str = "") -> subprocess.CompletedProcess[str]:
        filters = [part for path in self.paths for part in ("-P", str(path))]
        faults = ("-e", f"inject={inject}") if inject else ()
        strace = ("strace", "-f", "-qq", "-y", "-o", str(self.log), *filters, "-e", f"trace={calls}", *faults)
        return self.cli(*command, prefix=strace)

    def calls(self) -> list[str]:
        """The system calls of the last command, in order, with their arguments."""
        return [line.split(maxsplit=1)[1] for line in self.log.read_text().splitlines()]

    def synced(self) -> list[tuple[str, str]]:
        """The path of each fsync of the last command, with the call."""
        return [(found[1], call) for call in self.calls() if (found := re.match(r"fsync\(\d+<(.*?)>", call))]

    def steps(self) -> list[tuple[str, int]]:
        """Each call of the last command by its name, and which call of that name it was."""
        names = [found[1] for call in self.calls() if (found := re.match(r"(\w+)\(", call))]
        return [(name, names[: at + 1].count(name)) for at, name in enumerate(names)]


@contextmanager
def restored(root: Path) -> Iterator[None]:
    """Put the files below `root` back to what they were."""
    copy = root.with_name("as it was")
    shutil.copytree(root, copy)
    yield
    shutil.rmtree(root)
    copy.rename(root)


def tear(ledger: Path) -> None:
    with ledger.open("ab") as file:
        file.write(b'{"ts":"2026-05-29T12:00:00Z","persona_id":"her')


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def strace(log: Path, *options: str) -> tuple[str, ...]:
    if shutil.which("strace") is None:
        missing("strace")
    return ("strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(log), *options)


def calls_on(log: Path, path: str) -> list[str]:
    """The calls of a trace that name a path, in order, without the process ids."""
    lines = [line.partition(" ")[2].strip() for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if path in line]
