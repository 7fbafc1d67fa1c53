"""The lock of one persona: every writer holds it; readers never need it.

The lock file has a second name, a hard link beside it. A lock file that is removed while a process holds it
is found again under the second name, so that nobody else gets in.
"""

from __future__ import annotations

import fcntl
import os
import time
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hal0_budget.errors import LockTimeout
from hal0_budget.stores.files.durable import make_dirs, opened

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
    """The lock file at `path`, made where missing, and so is its folder.

    The kernel frees it when its holder ends, however it ends, so none is ever stale.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A hidden lock is in a folder of another program, which is spared a second file.
        self.second_name = path if path.name.startswith(".") else path.with_name(f".{path.name}.link")
        # Seconds, the last time that it was not free.
        self._waited = 0.0
        # Device and inode of the file that is held.
        self._held = (0, 0)
        # The held file, open for reading and appending, and the thread that holds it.
        self._holder: tuple[int, int] | None = None

    @property
    def fd(self) -> int | None:
        """The lock file, open for reading and appending, if this thread holds it."""
        holder = self._holder
        return holder[0] if holder is not None and holder[1] == get_ident() else None

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock; wait `timeout` seconds for it at most. Raises LockTimeout, OSError."""
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
                        # Closing is not enough if a process was forked since: it has a copy of the file.
                        fcntl.flock(fd, fcntl.LOCK_UN)
                    return

    def require_named(self) -> None:
        """Check that the held lock file still has a name. Raises LockTimeout if both were removed."""
        if self._held != _file_at(self.path) and self._held != _file_at(self.second_name):
            raise LockTimeout(f"{self.path}: the lock file was removed while it was held; try again")

    def _opened(self) -> opened:
        if _file_at(self.path) is None:
            make_dirs(self.path.parent)
            # It may have been removed while it is held: the second name leads to the same file.
            with suppress(OSError):
                os.link(self.second_name, self.path, follow_symlinks=False)
        return opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def _is_the_one(self, fd: int) -> bool:
        """Whether the locked file is the one that every other process locks; gives it its second name.

        If the two names lead to different files, the second name counts: the other one was put there later.
        """
        status = os.fstat(fd)
        self._held = status.st_dev, status.st_ino
        if _file_at(self.path) != self._held:
            return False
        if _file_at(self.second_name) == self._held:
            return True
        # Refused if the name is taken, or by a file system without hard links.
        with suppress(OSError):
            os.link(self.path, self.second_name, follow_symlinks=False)
        return _file_at(self.second_name) == self._held or not self._is_restored()

    def _is_restored(self) -> bool:
        """Replace the lock file by the file of the second name; False if that is not possible, because
        there is no usable file of that name: then there is one name only.
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
        # A rename between two names of one file leaves both.
        temporary.unlink(missing_ok=True)
        return True

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
            # Jitter: 0.5 to 1 times the pause.
            time.sleep(min(_pause(now - begin, turn) * (1 - now * 1e6 % 0.5), left))
            now = time.monotonic()
        if now > begin:
            self._waited = now - begin


def _pause(waited: float, turn: float) -> float:
    """Seconds to the next try of a process that has waited `waited` seconds and expects to wait `turn`."""
    if waited < turn:
        return max(_SHORTEST, min(waited, _LONGEST))
    return max(_NEXT, _NEXT * waited / _USUAL, _LONGEST * (turn / waited) ** _STEEPNESS)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that `path` names; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
