"""The trail: length and CRC-32 of a ledger's last lines at the time when they were counted.

It is saved in the checkpoint, so that `verify` detects changes of lines that the cache does not cover yet.
"""

from __future__ import annotations

import os
import struct
from binascii import crc32
from typing import NamedTuple

# The cache lags at most this many bytes behind the ledger, which are at most so many rows.
LENGTH = 64 * 1024
_MOST_LINES = 600

_LINE = struct.Struct("<II")


class Line(NamedTuple):
    """One line: its first byte, its length without newline, its CRC-32."""

    byte: int
    length: int
    crc: int


def grown(trail: bytes, known: int, ledger: int, size: int) -> bytes:
    """Return the trail of the first `size` bytes of an open ledger; `trail` is that of its first `known`
    bytes, or empty.
    """
    begin = max(known, 0)
    if size - begin > LENGTH or known < 0 or not trail:
        # Start one byte earlier, to see whether a line begins there.
        trail, begin = b"", max(size - LENGTH - 1, 0)
    data = os.pread(ledger, size - begin, begin)
    if not trail and begin:
        data = data[data.find(b"\n") + 1 :]
    lines = data.split(b"\n")[:-1]
    return newest(trail + b"".join(_LINE.pack(len(line), crc32(line)) for line in lines[-_MOST_LINES:]))


def newest(trail: bytes, lines: int = _MOST_LINES) -> bytes:
    """Return the part of a trail for its last lines."""
    return trail[max(len(trail) - lines * _LINE.size, 0) :]


def lines_of(trail: bytes, size: int) -> list[Line]:
    """Return the lines of the trail of a ledger's first `size` bytes, first to last."""
    lines = []
    for length, crc in reversed(list(_LINE.iter_unpack(trail))):
        size -= length + 1
        lines.append(Line(size, length, crc))
    return lines[::-1]
