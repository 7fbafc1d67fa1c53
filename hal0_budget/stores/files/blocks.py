"""Reading a ledger in blocks of whole lines, forwards and backwards.

Two rules hold for every reader. A line of more than `BLOCK` bytes, newline included, is refused: it may be a
terabyte of zeros. Bytes behind the last newline are not a line yet: a row that is being written, or was torn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hal0_budget.durable import size_of
from hal0_budget.stores.files.row_format import PlainRow, lines_and_rows

if TYPE_CHECKING:
    from hal0_budget.stores.base import Progress

# The most bytes that are read at once, and the longest line.
BLOCK = 256 * 1024


class NotALedger(Exception):
    """The file at the ledger's path is not a usable ledger; says why."""


class LongLine(NotALedger):
    """The line that begins at `byte` is longer than a block; `number`, from 1, is its number if known."""

    def __init__(self, byte: int, number: int | None = None) -> None:
        line = f"the line at byte {byte}" if number is None else f"line {number} (byte {byte})"
        super().__init__(f"{line} is longer than {BLOCK} bytes")
        self.byte = byte


class Blocks:
    """The bytes of an open file from `start` to `end`, in blocks of whole lines of at most `BLOCK` bytes.

    Reads on as long as the file grows; memory stays at one block. After the last block, `rest` has the bytes
    behind the last newline, and `byte` is where they begin. `progress` is called after each block.
    """

    def __init__(
        self, fd: int, start: int = 0, end: int = sys.maxsize, progress: Progress | None = None
    ) -> None:
        self._fd = fd
        self._end = end
        self._progress = progress
        self.byte = start
        self.rest = b""

    def __iter__(self) -> Iterator[bytes]:
        """Yield each block. Raises LongLine, OSError."""
        # No more than there is: a buffer of a whole block costs more than to read a row.
        while (size := min(size_of(self._fd), self._end)) > self.byte:
            block = os.pread(self._fd, min(BLOCK, size - self.byte), self.byte)
            end = block.rfind(b"\n") + 1
            if not end:
                if len(block) == BLOCK:
                    raise LongLine(self.byte)
                self.rest = block
                return
            self.byte += end
            yield block[:end]
            if self._progress is not None:
                self._progress(self.byte, size)


def ended_blocks(
    fd: int, start: int, end: int = sys.maxsize, progress: Progress | None = None
) -> Iterator[bytes]:
    """The same blocks, then the bytes behind the last newline as a line of their own, with its newline added.

    For the bytes that a tally counted: it counts such a line if it is a whole row. Raises LongLine, OSError.
    """
    blocks = Blocks(fd, start, end, progress)
    yield from blocks
    if blocks.rest:
        yield blocks.rest + b"\n"


def numbered_lines(fd: int, end: int = sys.maxsize) -> Iterator[tuple[int, int, bytes, PlainRow | None]]:
    """Each whole line in the first `end` bytes of an open file: its number from 1, its first byte from 0, its
    text without newline, and its row as `plain_rows` has it, None if it is not a row.

    Raises LongLine, OSError.
    """
    number = byte = 0
    try:
        for block in Blocks(fd, 0, end):
            for line, row in lines_and_rows(block):
                number += 1
                yield number, byte, line, row
                byte += len(line) + 1
    except LongLine:
        raise LongLine(byte, number + 1) from None


def blocks_backwards(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The first `size` bytes of an open file in blocks of whole lines, the last block first, each with its
    first byte.

    Bytes behind the last newline come before all others: no other block lacks its newline. A block may be
    twice as long as `BLOCK`. Raises NotALedger if a line is much longer than that, OSError.
    """
    begin = max(size - BLOCK, 0)
    rest = os.pread(fd, size - begin, begin).rpartition(b"\n")[2]
    if len(rest) == BLOCK:
        raise NotALedger(f"its last line is longer than {BLOCK} bytes")
    end = size - len(rest)
    if rest:
        yield end, rest
    rest = b""
    while end:
        begin = max(end - BLOCK, 0)
        block = os.pread(fd, end - begin, begin) + rest
        # A line that may begin before this block is read together with the one before.
        first = block.find(b"\n") + 1 if begin else 0
        if first > BLOCK:
            raise NotALedger(f"the line before byte {begin + first} is longer than {BLOCK} bytes")
        rest = block[:first]
        if first < len(block):
            yield begin + first, block[first:]
        end = begin
