"""Reads an input file that a caller names: a regular file, stdin, or an inherited pipe."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator

from hal0_budget.errors import UsageError

STDIN = "-"

# Seconds to wait for data from a pipe other than stdin.
TIMEOUT = 30

_BLOCK = 64 * 1024
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_source(option: str, name: str, most: int) -> bytes:
    """Return at most `most` + 1 bytes of the file `name`, so that the caller can see that it is too long.

    Raises UsageError as `blocks_of` does.
    """
    data = bytearray()
    for block in blocks_of(option, name):
        data += block
        if len(data) > most:
            break
    return bytes(data[: most + 1])


def blocks_of(option: str, name: str) -> Iterator[bytes]:
    """Yield the bytes of the file `name` in blocks: a regular file, an inherited pipe such as `/dev/fd/63`,
    or `-` for stdin. Messages name the `option` that the file was given with.

    Waits for stdin without limit, for a pipe at most 30 s without data. Raises UsageError if it cannot be
    read, and at once for a FIFO, a device, a socket or a folder.
    """
    try:
        if name == STDIN:
            if sys.stdin is None:
                raise UsageError(f"{option} {name}: stdin is closed")
            yield from _blocks(0, None)
            return
        _require_readable(option, name, os.stat(name).st_mode)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            # The path may lead to another file by now.
            _require_readable(option, name, os.fstat(fd).st_mode)
            yield from _blocks(fd, TIMEOUT)
        finally:
            os.close(fd)
    except TimeoutError:
        raise UsageError(f"{option} {name}: no data for {TIMEOUT} s; stdin (`-`) has no such limit") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from None


def _blocks(fd: int, timeout: float | None) -> Iterator[bytes]:
    """Yield the bytes of a descriptor. Raises TimeoutError after `timeout` seconds without data, OSError."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        try:
            block = os.read(fd, _BLOCK)
        except BlockingIOError:
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError from None
            continue
        if not block:
            return
        yield block


def _require_readable(option: str, name: str, mode: int) -> None:
    """Raise UsageError unless it is a regular file or an inherited pipe."""
    if stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and _is_inherited(name)):
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "not a file")
    raise UsageError(f"{option} {name}: {kind}, not a regular file; to read from a pipe, use - for stdin")


def _is_inherited(name: str) -> bool:
    """Return whether a pipe has no name in the file system: `/dev/fd/63` leads to `pipe:[4711]`."""
    return os.path.basename(os.path.realpath(name)).startswith("pipe:[")
