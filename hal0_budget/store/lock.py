"""The lock of one persona: whoever records or edits holds it; readers never need it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hal0_budget.errors import LockTimeout
from hal0_budget.store.durable import opened

DEFAULT_TIMEOUT = 5.0

_FIRST_WAIT = 0.0005
_LONGEST_WAIT = 0.01


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file `path`, made where missing; wait `timeout` seconds for it at most.

    The kernel frees the lock when its holder ends, however it ends, so none is ever stale.
    Raises LockTimeout, OSError.
    """
    deadline = time.monotonic() + timeout
    wait = _FIRST_WAIT
    while True:
        with opened(path, os.O_RDWR | os.O_CREAT) as fd:
            while not _taken(fd):
                left = deadline - time.monotonic()
                if not left > 0:  # nor for a timeout of nan
                    raise LockTimeout(
                        f"{path}: another process held the lock for {timeout:g} s; try again, "
                        "or wait longer with --lock-timeout"
                    )
                time.sleep(min(wait, left))
                wait = min(wait * 2, _LONGEST_WAIT)
            if _still_named(path, fd):
                try:
                    yield
                finally:
                    # Closing is not enough where a process was forked meanwhile: it has a copy.
                    fcntl.flock(fd, fcntl.LOCK_UN)
                return


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_named(path: Path, fd: int) -> bool:
    """Whether `path` still names the locked file: one that was deleted locks nobody out."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
