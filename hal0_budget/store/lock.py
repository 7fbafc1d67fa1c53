"""The lock of one persona: whoever records or edits holds it; readers never need it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hal0_budget.errors import LockTimeout
from hal0_budget.store.durable import make_dirs, opened

DEFAULT_TIMEOUT = 5.0

# Most find the lock free, or free in a moment. Of those who must stand in line, who came last asks
# seldom and who waited longest asks often, and so is next: a turn costs all of them about the same.
# A holder that takes longer than this is stuck, and need not be asked so often.
_MOMENT = 0.0005
_NEWCOMER = 0.04
_NEXT = 0.002
_STUCK = 1.0

# Who just had it is awake, and would always be first; those who wait are asleep.
_COURTESY = 0.005


class Lock:
    """The lock file at `path`, made where missing, and so is its folder.

    The kernel frees it when its holder ends, however it ends, so none is ever stale.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._had_to_wait = False

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock; wait `timeout` seconds for it at most. Raises LockTimeout, OSError."""
        make_dirs(self.path.parent)
        if self._had_to_wait:
            time.sleep(_COURTESY)
        deadline = time.monotonic() + timeout
        while True:
            with opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
                self._had_to_wait = self._take(fd, deadline, timeout)
                if _still_named(self.path, fd):
                    try:
                        yield
                    finally:
                        # Closing is not enough where a process was forked meanwhile: it has a copy.
                        fcntl.flock(fd, fcntl.LOCK_UN)
                    return

    def _take(self, fd: int, deadline: float, timeout: float) -> bool:
        """Take the lock; whether it was taken by another before."""
        begin = now = time.monotonic()
        while not _taken(fd):
            left = deadline - now
            if not left > 0:  # nor for a timeout of nan
                raise LockTimeout(
                    f"{self.path}: another process held the lock for {timeout:g} s; try again, "
                    "or wait longer with --lock-timeout"
                )
            # Not all at once: 0.5 to 1 times the pause.
            time.sleep(min(_pause(now - begin) * (1 - os.urandom(1)[0] / 512), left))
            now = time.monotonic()
        return now > begin


def _pause(waited: float) -> float:
    """Seconds until whoever has waited so many seconds asks again."""
    if waited < _MOMENT:
        return _MOMENT
    return _NEWCOMER if waited > _STUCK else max(_NEXT, _NEWCOMER - waited / 5)


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
