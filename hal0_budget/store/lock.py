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

# Who comes asks at ever longer pauses, so that a short wait stays short. Where many want the lock a wait
# takes as long as the one before: past so much of that the pauses shrink fast, and who has waited longest
# is next. A wait of seconds is for one that is stuck, and asking for it often would only slow it down.
_SHORTEST = 0.0005
_LONGEST = 0.06
_NEXT = 0.001
_SHARE = 0.7
_STEEPNESS = 40
_USUAL = 0.5


class Lock:
    """The lock file at `path`, made where missing, and so is its folder.

    The kernel frees it when its holder ends, however it ends, so none is ever stale.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Seconds, the last time that it was not free.
        self._waited = 0.0

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock; wait `timeout` seconds for it at most. Raises LockTimeout, OSError."""
        make_dirs(self.path.parent)
        deadline = time.monotonic() + timeout
        while True:
            with opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
                self._wait_for(fd, deadline, timeout)
                if _still_named(self.path, fd):
                    try:
                        yield
                    finally:
                        # Closing is not enough where a process was forked meanwhile: it has a copy.
                        fcntl.flock(fd, fcntl.LOCK_UN)
                    return

    def _wait_for(self, fd: int, deadline: float, timeout: float) -> None:
        begin = now = time.monotonic()
        turn = max(_LONGEST, _SHARE * min(self._waited, _USUAL))
        while not _taken(fd):
            left = deadline - now
            if not left > 0:  # nor for a timeout of nan
                raise LockTimeout(
                    f"{self.path}: another process held the lock for {timeout:g} s; try again, "
                    "or wait longer with --lock-timeout"
                )
            # Not all at once: 0.5 to 1 times the pause.
            time.sleep(min(_pause(now - begin, turn) * (1 - now * 1e6 % 0.5), left))
            now = time.monotonic()
        if now > begin:
            self._waited = now - begin


def _pause(waited: float, turn: float) -> float:
    """Seconds until whoever has waited so many seconds, and expects the lock after `turn`, asks again."""
    if waited < turn:
        return max(_SHORTEST, min(waited, _LONGEST))
    return max(_NEXT, _NEXT * waited / _USUAL, _LONGEST * (turn / waited) ** _STEEPNESS)


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
