"""The lock of one persona: every writer holds it; readers never need it.

The lock file has a second name, a hard link next to it. If the lock file is removed while a process holds
it, other processes find it under the second name, so that none of them gets the lock as well.
"""

from __future__ import annotations

import fcntl
import os
import time
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hal0_budget.durable import make_dirs, opened
from hal0_budget.errors import LockTimeout

# Exponential backoff with jitter, capped at 60 ms. Under contention the expected wait is the previous one;
# past 70 % of it the pauses shrink to 1 ms, so the longest waiter usually wins (approximate FIFO). A wait of
# seconds means that the holder is stuck; polling often would only slow it down.
_SHORTEST = 0.0005
_LONGEST = 0.06
_NEXT = 0.001
_SHARE = 0.7
_STEEPNESS = 40
_USUAL = 0.5


class Lock:
    """The lock file at `path`; it and its folder are created if missing.

    The kernel releases the lock when its holder ends, however it ends, so a lock is never stale.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A hidden lock file is in a folder of another program; no second file is created there.
        self.second_name = path if path.name.startswith(".") else path.with_name(f".{path.name}.link")
        # Seconds of the last wait for the lock.
        self._waited = 0.0
        # Device and inode of the locked file.
        self._held = (0, 0)
        # The locked file, open for reading and appending, and the thread that holds the lock.
        self._holder: tuple[int, int] | None = None

    @property
    def fd(self) -> int | None:
        """The lock file, open for reading and appending, if this thread holds it."""
        holder = self._holder
        return holder[0] if holder is not None and holder[1] == get_ident() else None

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock; wait at most `timeout` seconds for it. Raises LockTimeout, OSError."""
        deadline = time.monotonic() + timeout
        while True:
            with self._opened() as fd:
                self._wait_for(fd, deadline, timeout)
                if self._is_the_one(fd):
                    self._holder = fd, get_ident()
                    try:
                        yield
                    finally:
                        self._holder = None
                        # Closing the file is not enough if the process has forked: the child has a copy.
                        fcntl.flock(fd, fcntl.LOCK_UN)
                    return

    def require_named(self) -> None:
        """Check that the held lock file still has a name. Raises LockTimeout if both were removed."""
        if self._held != _file_at(self.path) and self._held != _file_at(self.second_name):
            raise LockTimeout(f"{self.path}: the lock file was removed while it was held; try again")

    def _opened(self) -> opened:
        if _file_at(self.path) is None:
            make_dirs(self.path.parent)
            # It may have been removed while another process holds it: link it again from the second name.
            with suppress(OSError):
                os.link(self.second_name, self.path, follow_symlinks=False)
        return opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def _is_the_one(self, fd: int) -> bool:
        """Return whether the locked file is the one that all other processes lock; creates its second name.

        If the two names lead to different files, the second name counts: the other file is newer.
        """
        status = os.fstat(fd)
        self._held = status.st_dev, status.st_ino
        if _file_at(self.path) != self._held:
            return False
        if _file_at(self.second_name) == self._held:
            return True
        # Fails if the name exists, or if the file system has no hard links.
        with suppress(OSError):
            os.link(self.path, self.second_name, follow_symlinks=False)
        return _file_at(self.second_name) == self._held or not self._is_restored()

    def _is_restored(self) -> bool:
        """Replace the lock file by the file with the second name. Returns False if no usable file has that
        name; then the lock file has one name only.
        """
        temporary = self.path.with_name(f".{self.path.name}.new")
        try:
            with opened(self.second_name, os.O_RDWR):
                os.link(self.second_name, temporary, follow_symlinks=False)
                os.replace(temporary, self.path)
        except (FileExistsError, FileNotFoundError):
            # Another process is restoring it as well, or left a link when it died.
            temporary.unlink(missing_ok=True)
            return os.path.lexists(self.second_name)
        except OSError:
            return False
        # Renaming one name of a file to another name of the same file leaves both.
        temporary.unlink(missing_ok=True)
        return True

    def _wait_for(self, fd: int, deadline: float, timeout: float) -> None:
        begin = now = time.monotonic()
        turn = max(_LONGEST, _SHARE * min(self._waited, _USUAL))
        while not _try_lock(fd):
            left = deadline - now
            if not left > 0:  # also if the timeout is nan
                raise LockTimeout(
                    f"{self.path}: another process held the lock for {timeout:g} s; try again, "
                    "or wait longer with --lock-timeout"
                )
            # Jitter: 0.5 to 1 times the pause.
            time.sleep(min(_pause(now - begin, turn) * (1 - now * 1e6 % 0.5), left))
            now = time.monotonic()
        if now > begin:
            self._waited = now - begin


def _pause(waited: float, turn: float) -> float:
    """Return the seconds until the next try, after `waited` seconds of an expected wait of `turn` seconds."""
    if waited < turn:
        return max(_SHORTEST, min(waited, _LONGEST))
    return max(_NEXT, _NEXT * waited / _USUAL, _LONGEST * (turn / waited) ** _STEEPNESS)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at `path`; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
