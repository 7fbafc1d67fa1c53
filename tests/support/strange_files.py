"""What can be at the path of a file that is not a regular file of normal size."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 1024 * 1024


def sparse(size: int) -> Callable[[Path], None]:
    """Grow the file that is there, or make one, by zeros that take no space."""

    def grow(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return grow


def long_line(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x" * 20 * MIB)


def link_to(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def bound_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is at most 107 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def link_to_itself(path: Path) -> None:
    link_to(path.name)(path)


def link_to_a_copy(path: Path) -> None:
    path.rename(path.with_name("copy"))
    path.symlink_to("copy")


Make = Callable[[Path], None]


LONG: dict[str, Make] = {"1 GB": sparse(1000**3), "1 TiB": sparse(1024**4), "20 MB of x": long_line}


STRANGE: dict[str, Make] = {
    "a link to /dev/zero": link_to("/dev/zero"),
    "a link to itself": link_to_itself,
    "a device": device,
    "a FIFO": fifo,
    "a folder": folder,
    "a socket": bound_socket,
}


# A persona may be linked from elsewhere; what is ours may not.
OURS: dict[str, Make] = {**STRANGE, "a link to a file": link_to_a_copy}
