"""The meta part of a cache: which ledger it belongs to, and how much of it is covered."""

from __future__ import annotations

import functools
import json
import os
import sys
from binascii import crc32
from typing import Any, NamedTuple

from hal0_budget.durable import size_of

# The numbers have the byte order of the machine, so it is part of the format.
_FORMAT = f"1 {sys.byteorder}"

_MATCHED = 4096
_NONCE = 16


class Mark(NamedTuple):
    """Identifies the first `size` bytes of a ledger by the CRC-32 of their first and last 4 KiB."""

    size: int = 0
    first: int = 0
    last: int = 0

    @classmethod
    def of(cls, ledger: int, size: int) -> Mark:
        """Return the mark of the first `size` bytes of an open ledger."""
        length = min(size, _MATCHED)
        return cls(size, crc32(os.pread(ledger, length, 0)), crc32(os.pread(ledger, length, size - length)))

    def matches(self, ledger: int) -> bool:
        """Return whether the open ledger is long enough and has the same checksums."""
        return size_of(ledger) >= self.size and Mark.of(ledger, self.size) == self


class Segment(NamedTuple):
    """The parts with the request ids of the `rows` rows in the ledger's bytes from `begin` to `end`.

    The number of a segment is never reused, so that parts of two segments cannot be confused.
    """

    number: int
    begin: int
    end: int
    rows: int


class Meta(NamedTuple):
    """What a cache covers. `epoch` counts the repairs of the ledger; a cache of another epoch is unusable.

    `covered` is the part of the ledger that request ids and lines cover, and `lines` is its number of lines.
    `summed` is the part that the sums by day cover, and `days_crc` is the CRC-32 over the checksums of all
    days.
    """

    epoch: int
    covered: Mark = Mark()
    lines: int = 0
    segments: tuple[Segment, ...] = ()
    next_number: int = 1
    summed: Mark = Mark()
    days_crc: int = 0

    def matches(self, ledger: int, epoch: int) -> bool:
        """Return whether the cache belongs to the open ledger and to that epoch."""
        return self.epoch == epoch and self.covered.matches(ledger) and self.summed.matches(ledger)

    def to_bytes(self, nonce: bytes) -> bytes:
        """Return the meta part for the build with that nonce."""
        return nonce + json.dumps([_FORMAT, *self], separators=(",", ":")).encode("ascii")

    def is_consistent(self) -> bool:
        """Return whether all fields are valid numbers, and the segments cover `covered` without a gap."""
        numbers: list[Any] = [self.epoch, self.lines, self.next_number, self.days_crc]
        numbers += [*self.covered, *self.summed, *(field for each in self.segments for field in each)]
        if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
            return False
        at = 0
        for segment in self.segments:
            if segment.begin != at or segment.end <= at or segment.number >= self.next_number:
                return False
            at = segment.end
        return at == self.covered.size


@functools.lru_cache(maxsize=4)
def meta_of(data: bytes) -> Meta:
    """Parse a meta part. Raises ValueError if it is invalid."""
    try:
        version, epoch, covered, lines, segments, number, summed, crc = json.loads(data[_NONCE:])
        if version != _FORMAT:
            raise ValueError(f"format {version!r} is unknown to this program")
        found = Meta(
            epoch,
            Mark(*covered),
            lines,
            tuple(Segment(*each) for each in segments),
            number,
            Mark(*summed),
            crc,
        )
    except (TypeError, RecursionError):
        raise ValueError("its fields are invalid") from None
    if not found.is_consistent():
        raise ValueError("its numbers contradict each other")
    return found
