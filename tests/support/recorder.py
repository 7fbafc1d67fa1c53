"""Records with strace what commands write, sync and rename, to be replayed on models of a disk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from tests.support.disk_model import Disk

DRIVER = str(Path(__file__).with_name("crash_driver.py"))

# Calls that the model knows, and those that it would have to know if a command began to use them.
_KNOWN = (
    "open,openat,creat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,"
    "unlinkat,rmdir,mkdir,mkdirat,ftruncate,truncate,lseek"
)
_UNKNOWN = "pwritev,pwritev2,fallocate,copy_file_range,sendfile,splice,symlink,symlinkat,sync_file_range"

_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)")
_FD = re.compile(r"(-?\d+|AT_FDCWD)<((?:\\x..)*)>(\(deleted\))?")
_TEXT = re.compile(r'"((?:\\x..)*)"')
_SIGNALS = ("+++", "---")


class Mark(NamedTuple):
    """What the driver said between two calls: of which command, and what; an exit code where it ended."""

    step: int
    word: str


class Call(NamedTuple):
    """A call below the folder: it changes or syncs every disk that it is given to."""

    text: str
    apply: Callable[[Disk], None]
    has_failed: bool = False


class Recorder:
    """Records commands on the files below `folder`; the driver and the commands write marks to `notes`."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder, self.notes = folder, notes
        # Of each open file of each process: where its next write goes; None behind the last byte.
        self._offsets: dict[tuple[str, str], int | None] = {}

    def record(self, steps: Sequence[Sequence[str]], inject: str | None = None) -> list[Mark | Call]:
        """Run commands; their calls and ends in order. `inject` is a fault for strace."""
        log = self.notes.with_suffix(".strace")
        strace = ["strace", "-f", "-qq", "-y", "-xx", "-s", "10000000", "--seccomp-bpf", "-o", str(log)]
        strace += ["-e", f"trace=?{_KNOWN.replace(',', ',?')},?{_UNKNOWN.replace(',', ',?')}"]
        if inject is not None:
            strace += ["-e", f"inject={inject}"]
        self._run(strace, steps)
        found: list[Mark | Call] = []
        for line in _whole_lines(log.read_text()):
            found += self._read(line)
        return found

    def run(self, steps: Sequence[Sequence[str]]) -> None:
        """Run commands that must end in 0, unrecorded."""
        self._run([], steps)
        marks = self.notes.read_text() if steps else ""
        assert {line.split()[1] for line in marks.splitlines()} <= {"begins", "running", "0"}, marks

    def _run(self, prefix: Sequence[str], steps: Sequence[Sequence[str]]) -> None:
        done = subprocess.run(
            [*prefix, sys.executable, DRIVER, str(self.notes), json.dumps([*map(list, steps)])],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "HAL0_BUDGET_ROOT": str(self.folder / "agents"),
                "NOTES": str(self.notes),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _read(self, line: str) -> Iterator[Mark | Call]:
        parts = _LINE.fullmatch(line)
        if parts is None:
            assert line.split()[1] in _SIGNALS, line
            return
        process, name, arguments, result, rest = parts.groups()
        is_injected = "(INJECTED)" in rest
        if result == "?" or (int(result) < 0 and not is_injected):
            return
        opened = _FD.match(arguments)
        fd, path = (opened[1], _decoded(opened[2])) if opened else ("", "")
        texts = [_decoded(text) for text in _TEXT.findall(arguments)]
        if path == str(self.notes):
            yield from (Mark(int(note.split()[0]), note.split()[1]) for note in texts[0].splitlines())
            return
        if name.startswith(("open", "creat")):
            yield from self._opened(process, arguments, texts[0], result)
        elif name.endswith("at") and texts:
            inside = [os.path.join(path, text) for text in texts]
            if any(map(self._is_inside, inside)):
                yield from self._on_names(name, arguments, inside)
        elif opened:
            if opened[3] is None and not path.endswith(" (deleted)") and self._is_inside(path):
                yield from self._on_file(process, name, fd, path, arguments, texts, result, is_injected)
        elif any(map(self._is_inside, texts)):
            yield from self._on_names(name, arguments, texts)

    def _is_inside(self, path: str) -> bool:
        return path == str(self.folder) or path.startswith(f"{self.folder}/")

    def _relative(self, path: str) -> PurePath:
        return PurePath(path).relative_to(self.folder)

    def _opened(self, process: str, arguments: str, path: str, fd: str) -> Iterator[Call]:
        if not self._is_inside(path):
            return
        where = self._relative(path)
        self._offsets[process, fd] = None if "O_APPEND" in arguments else 0

        def make(disk: Disk) -> None:
            node = disk.find(where)
            if node is None and "O_CREAT" in arguments:
                disk.make(where)
            elif node is not None and "O_TRUNC" in arguments and disk.size(node):
                disk.truncate(node, 0)

        if "O_CREAT" in arguments or "O_TRUNC" in arguments:
            yield Call(f"open {where}", make)

    def _on_file(
        self,
        process: str,
        name: str,
        fd: str,
        path: str,
        arguments: str,
        texts: list[str],
        result: str,
        is_injected: bool,
    ) -> Iterator[Call]:
        where, text = self._relative(path), f"{name} {path.rpartition('/')[2]}"
        last = arguments.rpartition(", ")[2]
        match name:
            case "fsync" | "fdatasync":
                yield Call(text, lambda disk: _synced(disk, where, has_failed=is_injected), is_injected)
            case _ if is_injected:
                return
            case "lseek":
                if self._offsets.get((process, fd)) is not None:
                    self._offsets[process, fd] = int(result)
            case "write" | "writev":
                data = "".join(texts).encode("latin-1")[: int(result)]
                offset = self._offsets.get((process, fd))
                if offset is not None:
                    self._offsets[process, fd] = offset + len(data)
                yield Call(text, lambda disk: _write(disk, where, offset, data))
            case "pwrite64":
                data = texts[0].encode("latin-1")[: int(result)]
                yield Call(text, lambda disk: _write(disk, where, int(last), data))
            case "ftruncate":
                yield Call(text, lambda disk: disk.truncate(_node(disk, where), int(last)))
            case _:
                raise AssertionError(f"the model does not know {name} of {path}")

    def _on_names(self, name: str, arguments: str, texts: list[str]) -> Iterator[Call]:
        paths = [self._relative(text) for text in texts]
        text = f"{name} {' '.join(path.name for path in paths)}"
        match name:
            case "rename" | "renameat" | "renameat2":
                yield Call(text, lambda disk: disk.rename(paths[0], paths[1]))
            case "link" | "linkat":
                yield Call(text, lambda disk: disk.link(paths[0], paths[1]))
            case "unlink" | "unlinkat" | "rmdir":
                yield Call(text, lambda disk: disk.unlink(paths[0]))
            case "mkdir" | "mkdirat":
                yield Call(text, lambda disk: disk.make(paths[0], is_folder=True))
            case "truncate":
                size = int(arguments.rpartition(", ")[2])
                yield Call(text, lambda disk: disk.truncate(_node(disk, paths[0]), size))
            case _:
                raise AssertionError(f"the model does not know {name}({arguments})")


def _whole_lines(log: str) -> Iterator[str]:
    """The lines of a trace, a call that others interrupted put together where it ended."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        process, _, rest = line.partition(" ")
        if rest.endswith(" <unfinished ...>"):
            begun[process] = line.removesuffix(" <unfinished ...>")
        elif found := re.match(r" *<\.\.\. \w+ resumed>(.*)", rest):
            yield begun.pop(process) + found[1]
        else:
            yield line


def _decoded(text: str) -> str:
    """Bytes as strace wrote them, each as one character."""
    return bytes.fromhex(text.replace("\\x", "")).decode("latin-1")


def _node(disk: Disk, path: PurePath) -> int:
    node = disk.find(path)
    assert node is not None, f"{path} was written and is not there"
    return node


def _write(disk: Disk, path: PurePath, offset: int | None, data: bytes) -> None:
    node = _node(disk, path)
    disk.write(node, disk.size(node) if offset is None else offset, data)


def _synced(disk: Disk, path: PurePath, *, has_failed: bool) -> None:
    if has_failed:
        disk.fail_sync(_node(disk, path))
    else:
        disk.sync(_node(disk, path))
