"""Reads what was appended to a log since the last read."""

from __future__ import annotations

import os
from typing import NamedTuple

from hal0_budget.durable import identity_of

# This many bytes before the position of the last read must be unchanged.
_GUARD = 64


class Gained(NamedTuple):
    """Bytes of a log, the last line possibly incomplete, and whether they follow the bytes read before."""

    data: bytes
    is_more: bool


class Growth:
    """Remembers how far a log was read. The log may be appended to, truncated or replaced."""

    def __init__(self) -> None:
        self._identity: tuple[int, int, int, int] | None = None
        self._end = 0
        self._guard = b""

    @property
    def size(self) -> int:
        """The size of the log at the last read; 0 before the first."""
        return 0 if self._identity is None else self._identity[2]

    def forget(self) -> None:
        """Make the next read start from the beginning of the log."""
        self._identity = None

    def advance(self, fd: int, text: bytes) -> bool:
        """Skip `text`, whole lines that this process has just appended, in the next read.

        Returns False if they must be read after all, because the log was not read to its end before, or
        other processes have appended as well. Raises OSError.
        """
        before, identity = self._identity, identity_of(os.fstat(fd))
        expected = None if before is None else (*before[:2], before[2] + len(text))
        if before is None or identity[:3] != expected or self._end != before[2]:
            return False
        self._end, self._identity = identity[2], identity
        self._guard = (self._guard + text)[-_GUARD:]
        return True

    def gained(self, fd: int, most: int) -> Gained | None:
        """Return what was appended to the open log, or its last `most` bytes if it grew by more or was
        replaced; None if nothing has changed. Raises OSError.
        """
        identity = identity_of(os.fstat(fd))
        before, self._identity = self._identity, None
        if identity == before:
            self._identity = before
            return None
        size, start = identity[2], self._end
        data, is_more = b"", False
        if before is not None and identity[:2] == before[:2] and before[2] < size <= start + most:
            guard = len(self._guard)
            data = os.pread(fd, size - start + guard, start - guard)
            is_more = data.startswith(self._guard)
            data = data[guard:]
        if not is_more:
            start = max(0, size - most)
            data = os.pread(fd, size - start, start)
        whole = data[: data.rfind(b"\n") + 1]
        self._end = start + len(whole)
        self._guard = (self._guard + whole if is_more else whole)[-_GUARD:]
        self._identity = identity
        return Gained(data, is_more)
