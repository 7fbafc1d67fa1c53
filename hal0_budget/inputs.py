"""What a caller names as input: a regular file, or a pipe that this process was given."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator

from hal0_budget.errors import UsageError

STDIN = "-"

# How many seconds a pipe may bring nothing, unless it is stdin.
PATIENCE = 30

_BLOCK = 64 * 1024
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_source(option: str, name: str, most: int) -> bytes:
    """The first `most` bytes of what `option` names, and one more where there are more.

    Raises UsageError as `blocks_of` does.
    """
    data = bytearray()
    for block in blocks_of(option, name):
        data += block
        if len(data) > most:
            break
    return bytes(data[: most + 1])


def blocks_of(option: str, name: str) -> Iterator[bytes]:
    """The bytes of what `option` names, as they come: a regular file, a pipe by number, `-` for stdin.

    Stdin is waited for as long as it takes; a pipe such as `/dev/fd/63` for 30 s without data. Raises
    UsageError for what cannot be read, and at once for a FIFO, a device, a socket or a folder.
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
            # Another file may stand there by now.
            _require_readable(option, name, os.fstat(fd).st_mode)
            yield from _blocks(fd, PATIENCE)
        finally:
            os.close(fd)
    except TimeoutError:
        raise UsageError(
            f"{option} {name}: no data came for {PATIENCE} s; stdin is waited for longer"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from None


def _blocks(fd: int, patience: float | None) -> Iterator[bytes]:
    """What a descriptor brings. Raises TimeoutError after `patience` seconds without data, OSError."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        try:
            block = os.read(fd, _BLOCK)
        except BlockingIOError:
            if not poll.poll(None if patience is None else patience * 1000):
                raise TimeoutError from None
            continue
        if not block:
            return
        yield block


def _require_readable(option: str, name: str, mode: int) -> None:
    """Raise UsageError unless it is a regular file or a pipe that this process was given."""
    if stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and _is_given(name)):
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "not a file")
    raise UsageError(f"{option} {name}: {kind}, not a regular file; what a pipe brings is read from stdin")


def _is_given(name: str) -> bool:
    """Whether a pipe has no place in the file system: `/dev/fd/63` leads to `pipe:[4711]`."""
    return os.path.basename(os.path.realpath(name)).startswith("pipe:[")
