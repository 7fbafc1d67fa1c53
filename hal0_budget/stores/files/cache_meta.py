"""What a cache covers of which ledger: the one part of it that changes."""

from __future__ import annotations

import functools
import json
import os
import sys
from binascii import crc32
from typing import Any, NamedTuple

from hal0_budget.stores.files.durable import size_of

# The byte order is that of the machine, and part of the format.
_FORMAT = f"1 {sys.byteorder}"

_MATCHED = 4096
_NONCE = 16


class Mark(NamedTuple):
    """A ledger as far as it was read: so many bytes, and the CRC-32 of the first and the last 4 KiB."""

    size: int = 0
    first: int = 0
    last: int = 0

    @classmethod
    def of(cls, ledger: int, size: int) -> Mark:
        """The mark of the first `size` bytes of an open ledger."""
        length = min(size, _MATCHED)
        return cls(size, crc32(os.pread(ledger, length, 0)), crc32(os.pread(ledger, length, size - length)))

    def matches(self, ledger: int) -> bool:
        """Whether the open ledger still begins as it did, as far as its size and those bytes tell."""
        return size_of(ledger) >= self.size and Mark.of(ledger, self.size) == self


class Segment(NamedTuple):
    """The request ids of the ledger's bytes from `begin` to `end`, `rows` of them, in parts of their own.

    Its number is never used again, so that no part of another segment passes for one of this.
    """

    number: int
    begin: int
    end: int
    rows: int


class Meta(NamedTuple):
    """What a cache covers. `epoch` counts the repairs of the ledger; one of another epoch is unusable.

    `covered` is how far request ids and lines go, `lines` how many those are; `summed` how far the sums
    by day go, and `days_crc` the CRC-32 over the checksums of all days.
    """

    epoch: int
    covered: Mark = Mark()
    lines: int = 0
    segments: tuple[Segment, ...] = ()
    next_number: int = 1
    summed: Mark = Mark()
    days_crc: int = 0

    def matches(self, ledger: int, epoch: int) -> bool:
        """Whether the cache is of the open ledger, and of that epoch."""
        return self.epoch == epoch and self.covered.matches(ledger) and self.summed.matches(ledger)

    def to_bytes(self, nonce: bytes) -> bytes:
        """The meta part of the build with that nonce."""
        return nonce + json.dumps([_FORMAT, *self], separators=(",", ":")).encode("ascii")

    def makes_sense(self) -> bool:
        """Whether all are numbers, and the segments cover what is covered."""
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
    """What a meta part says. Raises ValueError where that makes no sense."""
    try:
        version, epoch, covered, lines, segments, number, summed, crc = json.loads(data[_NONCE:])
        if version != _FORMAT:
            raise ValueError(f"format {version!r} is not known to this program")
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
        raise ValueError("not of its shape") from None
    if not found.makes_sense():
        raise ValueError("its numbers contradict each other")
    return found
