"""High-water marks: how far the ledger and the journal of holds had grown when an fsync last covered them.

Both files only grow, so a file that is shorter than its mark, or differs at its mark, was damaged. Each mark
is one line. Marks are appended to two files, the lock file and the checkpoint, so that no single file can
be lost, cut or restored from an older copy without notice. A mark is written after the fsync that it records
and before the command acknowledges anything; the mark itself is not synced, because a power cut that
loses it loses no money.

Processes append without a lock, so marks may come out of order: the highest one counts.
"""

from __future__ import annotations

import os
from binascii import crc32
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from hal0_budget.durable import NotRegular, opened, size_of, write_whole
from hal0_budget.stores.files.growth import Growth
from hal0_budget.stores.files.lock import Lock

# A mark takes about 80 bytes; a longer log is cut down to the highest marks.
LONGEST_LOG = 8 * 1024

# A log is cut long before this size. If a longer log exists, only its end is read.
_READ = 1024 * 1024

# The beginning of each kind of mark.
_KINDS = _LEDGER, _HOLDS = b"ledger ", b"holds "

# How many of the ledger's last bytes must be the same for a mark to match.
_MATCHED = 4096


class LedgerMark(NamedTuple):
    """The first `size` bytes of the ledger are durable, and `crc` is the CRC-32 of the last of them.

    `epoch` counts repairs: a repair begins with an odd epoch and ends with an even one.
    """

    epoch: int = 0
    size: int = 0
    crc: int = 0

    @staticmethod
    def crc_of(ledger: int, size: int) -> int:
        """Return the CRC-32 of the end of the first `size` bytes of the open ledger. Raises OSError."""
        length = min(size, _MATCHED)
        return crc32(os.pread(ledger, length, size - length))

    @property
    def is_repairing(self) -> bool:
        """Whether a repair began and has not ended."""
        return self.epoch % 2 == 1


class HoldsMark(NamedTuple):
    """The first `size` bytes of the journal of holds are durable, and end with the line checksum `chain`.

    `generation` counts how often the journal was rewritten, `journal` is its id, and `held` is the sum of
    its open holds in USD. Generation 0 is a journal of the previous format, of which only its existence is
    known.
    """

    generation: int = 0
    size: int = 0
    chain: int = 0
    journal: str = ""
    held: str = "0"


class Marks(NamedTuple):
    """The highest marks in one file."""

    ledger: LedgerMark = LedgerMark()
    holds: HoldsMark = HoldsMark()

    def merged(self, other: Marks) -> Marks:
        """Return the higher mark of each kind."""
        return Marks(max(self.ledger, other.ledger), max(self.holds, other.holds))

    def above(self, known: Marks) -> Marks:
        """Return the marks that are higher than the known ones: only they need to be written."""
        return Marks(
            self.ledger if self.ledger > known.ledger else LedgerMark(),
            self.holds if self.holds > known.holds else HoldsMark(),
        )

    def lines(self, owner: str) -> bytes:
        """Return the marks as lines. The checksums cover the owner: marks copied from another persona never
        count.
        """
        ledger = b"" if self.ledger == LedgerMark() else _line(_ledger_text(self.ledger), owner)
        return ledger + (b"" if self.holds == HoldsMark() else _line(_holds_text(self.holds), owner))


class AllMarks(NamedTuple):
    """The marks in the lock file and in the checkpoint.

    The ledger and the journal must agree with the marks of each file, not only with the highest of all:
    otherwise a file that was copied from elsewhere could bring a higher mark of its own.
    """

    lock: Marks = Marks()
    checkpoint: Marks = Marks()

    def highest(self) -> Marks:
        """Return the higher mark of each kind."""
        return self.lock.merged(self.checkpoint)

    def ledger(self) -> tuple[LedgerMark, ...]:
        """Return the marks that the ledger must agree with: those written since the last repair."""
        epoch = self.highest().ledger.epoch
        return tuple(mark for mark in (self.lock.ledger, self.checkpoint.ledger) if mark.epoch == epoch)

    def holds(self) -> tuple[HoldsMark, ...]:
        """Return the marks that the journal of holds must agree with."""
        return self.lock.holds, self.checkpoint.holds

    def damage(self) -> str | None:
        """Return why the marks forbid a verdict; None if they allow it."""
        is_repairing = self.lock.ledger.is_repairing or self.checkpoint.ledger.is_repairing
        return "a repair of it began and did not end" if is_repairing else None


def owner_of(path: Path) -> str:
    """Return the owner of a file: agent and persona, from the names of its folders."""
    return "/".join(path.absolute().parent.parts[-3:])


def marks_in(data: bytes, owner: str) -> Marks:
    """Return the highest sound marks among the lines of `data`; other lines are ignored."""
    data = b"\n" + data
    ledger, holds = _highest(data, _LEDGER, owner), _highest(data, _HOLDS, owner)
    marks = Marks()
    if ledger is not None:
        epoch, size, crc = ledger
        marks = marks._replace(ledger=LedgerMark(int(epoch), int(size), int(crc)))
    if holds is not None:
        generation, size, chain, journal, held = holds
        marks = marks._replace(holds=HoldsMark(int(generation), int(size), int(chain), journal, held))
    return marks


class MarkLog:
    """The marks in the persona's lock file. While `lock` is held, its file descriptor is used."""

    def __init__(self, lock: Lock) -> None:
        self.path = lock.path
        self._lock = lock
        self._owner = owner_of(lock.path)
        self._growth = Growth()
        self._marks = Marks()

    def read(self) -> Marks:
        """Return the highest marks; empty marks if there is no regular file. Raises OSError."""
        try:
            with self._opened(os.O_RDONLY) as fd:
                gained = self._growth.gained(fd, _READ)
        except (FileNotFoundError, NotRegular):
            self._growth.forget()
            self._marks = Marks()
            return self._marks
        if gained is not None:
            marks = marks_in(gained.data, self._owner)
            self._marks = self._marks.merged(marks) if gained.is_more else marks
        return self._marks

    def append(self, marks: Marks) -> None:
        """Append the marks that are higher than those of the last read. Needs no lock. Raises OSError."""
        lines = marks.above(self._marks).lines(self._owner)
        if not lines:
            return
        with self._opened(os.O_WRONLY | os.O_APPEND) as fd:
            text = b"\n" + lines
            write_whole(fd, text)
            if self._growth.advance(fd, text):
                self._marks = self._marks.merged(marks)

    def known(self) -> Marks:
        """Return the highest marks of the last read, which may be outdated."""
        return self._marks

    def is_long(self) -> bool:
        """Return whether the log was long enough to be cut at the last read."""
        return self._growth.size > LONGEST_LOG

    def cut(self, marks: Marks) -> None:
        """Replace a long log by `marks`.

        The caller holds the lock. `marks` must cover all of both files, because another process may be about
        to append a lower mark. Raises OSError.
        """
        with suppress(FileNotFoundError), opened(self.path, os.O_RDWR | os.O_APPEND) as fd:
            if size_of(fd) > LONGEST_LOG:
                os.ftruncate(fd, 0)
                write_whole(fd, marks.lines(self._owner))

    def _opened(self, flags: int) -> AbstractContextManager[int]:
        fd = self._lock.fd
        return opened(self.path, flags) if fd is None else nullcontext(fd)


def _ledger_text(mark: LedgerMark) -> bytes:
    # Padded with zeros, so that the higher mark is the greater text.
    return b"%s%010d %020d %010d" % (_LEDGER, mark.epoch, mark.size, mark.crc)


def may_be_mark(line: bytes) -> bool:
    """Return whether a line is a mark, or an incomplete mark after a crash, which may contain zeros."""
    text = line.strip(b"\0")
    return not text or any(text.startswith(kind) or kind.startswith(text) for kind in _KINDS)


def _holds_text(mark: HoldsMark) -> bytes:
    text = b"%s%010d %020d %010d" % (_HOLDS, mark.generation, mark.size, mark.chain)
    return b"%s %s %s" % (text, mark.journal.encode() or b"-", mark.held.encode())


def _line(text: bytes, owner: str) -> bytes:
    return b"%s %08x\n" % (text, _checksum(text, owner))


def _checksum(text: bytes, owner: str) -> int:
    return crc32(text, crc32(owner.encode()))


def _highest(data: bytes, kind: bytes, owner: str) -> list[str] | None:
    """Return the fields of the highest mark of a kind with a valid checksum; None if there is none.

    Does not loop over all lines, for speed: under contention each process reads the marks of all others.
    """
    for found in sorted(data.split(b"\n" + kind)[1:], reverse=True):
        text, _, checksum = found.partition(b"\n")[0].rpartition(b" ")
        if checksum == b"%08x" % _checksum(kind + text, owner):
            return [field.removeprefix("-") for field in text.decode("ascii").split(" ")]
    return None
