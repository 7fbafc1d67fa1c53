"""The journal of holds of one persona: the estimates that are reserved before a call.

The journal is truth, like the ledger: no other file has the open holds. A hold that is settled ends with its
row in the ledger. The journal records that afterwards, before the checkpoint passes the row. A reader counts
a hold as closed if either file says so; a crash between the two writes therefore never counts it twice, nor
loses it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hal0_budget.durable import (
    FOLDERS_ABOVE,
    NotRegular,
    append_whole,
    fsync,
    opened,
    replace,
    rewrite,
    size_of,
    sync_dirs,
)
from hal0_budget.model.money import plain
from hal0_budget.model.records import Closing, Hold
from hal0_budget.stores.files.hold_format import Header, body_of, chained
from hal0_budget.stores.files.hold_state import HoldState
from hal0_budget.stores.files.marks import HoldsMark
from hal0_budget.stores.files.row_format import TORN_MARK

# A journal longer than this is rewritten without its closed holds, except the newest `_KEPT_CLOSED`: a second
# settlement of a hold must not look like that of an unknown hold.
_LONGEST = 64 * 1024
_KEPT_CLOSED = 100

# The most bytes that are read at once; a longer line is refused.
_BLOCK = 256 * 1024

# How many of the journal's first bytes are compared: they name it and its generation.
_BEGINNING = 256

# The end of a line, from its checksum on, is shorter than this.
_LINE_END = 32


class Holds(HoldState):
    """The journal at `path`, read incrementally, and written under the lock."""

    exists: bool
    # How the file differs from its marks, if it does.
    _differs: str | None
    _file: tuple[int, int]
    _beginning: bytes
    # The highest generation that a mark names: the name of its file is durable.
    _marked: int

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(path.parent.name)
        self._forget()

    def read(self, marks: Sequence[HoldsMark] = ()) -> None:
        """Read what was appended to the journal, and compare it with each of its marks. Raises OSError."""
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                self._read(fd, marks)
        except FileNotFoundError:
            self._forget()
            self._differs = self._missing(marks)
        except NotRegular as error:
            self._forget()
            self._differs = str(error.strerror)

    @property
    def damage(self) -> str | None:
        """What is wrong with the journal; None if it is sound."""
        return self._broken or self._differs

    @property
    def position(self) -> tuple[object, ...]:
        """Which journal was read, and up to which byte."""
        return self._file, self._beginning, self._size

    def mark(self) -> HoldsMark:
        """The mark of the journal as it was read. The writer saves it once the journal is durable."""
        if self._header is None:
            return HoldsMark()
        generation, journal = self._header.generation, self._header.journal
        return HoldsMark(generation, self._size, self._chain, journal, plain(self.total))

    def is_marked(self, mark: HoldsMark) -> bool:
        """Whether a mark covers all that was read of the journal. If so, that part is durable."""
        return self._header is None or mark[:2] >= self.mark()[:2]

    def sync(self) -> None:
        """Make the journal durable, and its name. Raises OSError."""
        with opened(self.path, os.O_RDONLY) as fd:
            os.fsync(fd)
        sync_dirs(self.path.parent, FOLDERS_ABOVE)

    def append(self, *entries: Hold | Closing) -> None:
        """Write entries durably, then read them. The caller holds the lock. Raises OSError."""
        with ExitStack() as stack:
            fd = self.write(stack, *entries)
            if fd is not None:
                fsync(self.path, fd, 0)
        if self.damage is None and self._is_long():
            self._rewrite(())

    def write(self, stack: ExitStack, *entries: Hold | Closing) -> int | None:
        """Append entries and read them; returns the file, open until the stack ends. The caller must fsync it
        before acknowledging. None if the entries are durable already.

        The caller holds the lock. Raises OSError.
        """
        if self._header is None and self.damage is None:
            # There is no journal yet, or its format is the previous version.
            self._rewrite(entries)
            return None
        fd = stack.enter_context(opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT))
        if self._header is None or self._header.generation > self._marked:
            # The process that created the file may have died before it synced its name.
            sync_dirs(self.path.parent, FOLDERS_ABOVE)
        append_whole(self.path, fd, self._seal(fd), chained(entries, self._chain))
        self._read(fd, None)
        return fd

    def sync_again(self) -> None:
        """Write the journal's bytes again and fsync them: an earlier fsync of them may have failed.

        The caller holds the lock. Raises OSError.
        """
        with opened(self.path, os.O_RDWR) as fd:
            rewrite(self.path, fd, 0, size_of(fd))
            fsync(self.path, fd, 0)
        sync_dirs(self.path.parent, FOLDERS_ABOVE)

    def repair(self, mark: HoldsMark, ledger_size: int) -> None:
        """Replace the journal by one that is newer than `mark`, with the open holds that could be read. None
        of them names a larger ledger than `ledger_size`, in bytes.

        The caller holds the lock. Raises OSError.
        """
        for hold in self.open():
            self._open[hold.hold_id] = hold._replace(ledger_size=min(hold.ledger_size, ledger_size))
        generation = max(mark.generation, 0 if self._header is None else self._header.generation)
        self._header = Header(mark.journal or _new_id(), self._persona, max(generation, 1))
        self._rewrite(())

    def _is_long(self) -> bool:
        return self._size > _LONGEST and self._lines > 2 * (len(self._open) + _KEPT_CLOSED)

    def _rewrite(self, entries: tuple[Hold | Closing, ...]) -> None:
        """Replace the journal by its next generation: open holds, the newest closed holds and `entries`."""
        old = self._header or Header(_new_id(), self._persona, 0)
        kept = [*self.closed.values()][-_KEPT_CLOSED:]
        header = old._replace(generation=old.generation + 1)
        replace(self.path, chained((header, *kept, *self.open(), *entries), 0))
        if old.generation == 0:
            sync_dirs(self.path.parent, FOLDERS_ABOVE)
        self._forget()
        self.read()

    def _read(self, fd: int, marks: Sequence[HoldsMark] | None) -> None:
        status = os.fstat(fd)
        file = status.st_dev, status.st_ino
        if (
            file != self._file
            or status.st_size < self._size
            or os.pread(fd, len(self._beginning), 0) != self._beginning
        ):
            self._forget()
            self._file = file
        # An empty file was truncated, or has no entry yet.
        self.exists = status.st_size > 0
        durable = max((mark.size for mark in marks or ()), default=0)
        try:
            while self._take_block(fd, durable):
                pass
        except BaseException:
            # A part of a block may have been counted: read from the beginning next time.
            self._forget()
            raise
        if len(self._beginning) < _BEGINNING:
            self._beginning = os.pread(fd, min(_BEGINNING, self._size), 0)
        if marks is not None:
            found = [self._difference(fd, mark) for mark in marks]
            self._differs = next(filter(None, found), None) if self.exists else self._missing(marks)
            self._marked = max((mark.generation for mark in marks), default=0)

    def _difference(self, fd: int, mark: HoldsMark) -> str | None:
        """What is wrong if the journal is not the one that the mark names, or is shorter; else None."""
        header = self._header
        if mark.generation == 0:
            return None
        if header is None or header.journal != mark.journal or header.generation < mark.generation:
            return "an older copy, or another journal"
        if header.generation > mark.generation or self._chain_at(fd, mark.size) == mark.chain:
            return None
        if self._size < mark.size:
            return f"{self._size} bytes long, and {mark.size} were acknowledged"
        return "altered"

    def _chain_at(self, fd: int, size: int) -> int | None:
        """The checksum of the line that ends at the byte `size`, newline included."""
        if size in (self._size, self._size + self._is_open_ended):
            return self._chain
        end = os.pread(fd, _LINE_END, max(0, size - _LINE_END))
        return body_of(end.removesuffix(b"\n"))[1] if size < self._size else None

    def _missing(self, marks: Sequence[HoldsMark]) -> str | None:
        return "gone or empty" if any(mark.size for mark in marks) else None

    def _seal(self, fd: int) -> bytes:
        """What must precede the next line: nothing, a missing newline, or the end of a torn write."""
        size = size_of(fd)
        if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
            return b""
        return b"\n" if self._is_open_ended else TORN_MARK + b"\n"

    def _forget(self) -> None:
        self._clear()
        self.exists = False
        self._differs = None
        self._file = (0, 0)
        self._beginning = b""
        self._marked = 0

    def _take_block(self, fd: int, durable: int) -> bool:
        """Read whole lines, one block at most. Returns whether there may be more."""
        gained = size_of(fd) - self._size
        block = os.pread(fd, min(_BLOCK, max(gained, 0)), self._size)
        end = block.rfind(b"\n") + 1
        if not end and len(block) == _BLOCK:
            self._note(f"line {self._lines + 1} is longer than {_BLOCK} bytes")
            return False
        whole, fragment = block[:end], block[end:]
        if whole:
            # The first line of the journal is its header.
            first = 0 if self._size else whole.index(b"\n") + 1
            self._take_lines(whole[:first], durable)
            self._take_lines(whole[first:], durable)
            self._is_open_ended = False
        if len(block) == _BLOCK:
            return True
        self._take_fragment(fragment)
        return False


def _new_id() -> str:
    return os.urandom(8).hex()
