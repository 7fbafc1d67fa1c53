"""Reading what a log gained since it was read last."""

from __future__ import annotations

import os
from typing import NamedTuple

from hal0_budget.durable import identity_of

# So many bytes before the place where reading goes on must be what they were.
_GUARD = 64


class Gained(NamedTuple):
    """Bytes of a log, the last line possibly without its end; whether they follow what was read before."""

    data: bytes
    is_more: bool


class Growth:
    """How far a log was read. It may be appended to, cut short or replaced."""

    def __init__(self) -> None:
        self._identity: tuple[int, int, int, int] | None = None
        self._end = 0
        self._guard = b""

    @property
    def size(self) -> int:
        """The size of the log when it was read last, 0 before."""
        return 0 if self._identity is None else self._identity[2]

    def forget(self) -> None:
        """Read the log from its beginning next time."""
        self._identity = None

    def advance(self, fd: int, text: bytes) -> bool:
        """Note that this process appended `text`, whole lines, so that they need not be read; False if they
        must be, because the log was not read to its end before, or others have appended as well. Raises
        OSError.
        """
        before, identity = self._identity, identity_of(os.fstat(fd))
        expected = None if before is None else (*before[:2], before[2] + len(text))
        if before is None or identity[:3] != expected or self._end != before[2]:
            return False
        self._end, self._identity = identity[2], identity
        self._guard = (self._guard + text)[-_GUARD:]
        return True

    def gained(self, fd: int, most: int) -> Gained | None:
        """What the open log gained, or its last `most` bytes if it gained more or is not the log that it was;
        None if nothing has changed. Raises OSError.
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
