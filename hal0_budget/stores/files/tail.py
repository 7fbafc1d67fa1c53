"""The end of a ledger, and what comes after it: read backwards to where the last rows begin, then forwards.

Memory stays at a few blocks, however long the ledger. One that is followed may be appended to, sealed,
cut short, replaced, or not be there yet. A tail never writes, waits for nobody and holds no lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from hal0_budget.errors import LedgerDamaged, from_os_error
from hal0_budget.model.records import Entry
from hal0_budget.stores.files.durable import NotRegular, opened
from hal0_budget.stores.files.ledger import BLOCK, NotALedger
from hal0_budget.stores.files.row_format import (
    Unreadable,
    is_blank,
    is_hour,
    parse_row,
    plain_rows,
    whole_object,
)


class Tail:
    """The last rows of the ledger at `path`, where it has been since `last` rows from its end, and those
    that it gains.

    `last` is None for all; `since` leaves out the rows of days before it (UTC).
    """

    def __init__(self, path: Path, last: int | None = None, since: date | None = None) -> None:
        self.path = path
        self._last = last
        self._since = "" if since is None else since.isoformat()
        self._voided: frozenset[str] = frozenset()
        self._is_begun = False
        self._fd: int | None = None
        self._at = 0
        # What stood at the end without a newline, and was given as a row.
        self._told = b""

    def read(self) -> Iterator[Entry | str]:
        """The rows that came since the last `read`, in the order of the ledger, and a sentence for each
        line that is unreadable.

        Raises LedgerDamaged where what stands there is no ledger, PermissionRefused, WriteFailed.
        """
        try:
            yield from self._read()
        except (NotRegular, NotALedger) as error:
            what = error.strerror if isinstance(error, NotRegular) else error
            raise LedgerDamaged(f"{self.path}: {what}", path=str(self.path)) from None
        except OSError as error:
            raise from_os_error(error) from error

    def close(self) -> None:
        """Let go of the file. A `read` after this gives the whole ledger."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _read(self) -> Iterator[Entry | str]:
        if self._fd is not None:
            yield from self._gained(self._fd)
            if _has_its_name(self.path, self._fd):
                return
            # Whoever still had the old file open has written by now.
            yield from self._gained(self._fd)
            self.close()
        with suppress(FileNotFoundError, NotADirectoryError), opened(self.path, os.O_RDONLY) as fd:
            # What replaces a ledger, or is the first one, is new from its first row on.
            self._at = 0 if self._is_begun else self._begin(fd)
            self._fd, self._told = os.dup(fd), b""
        self._is_begun = True
        if self._fd is not None:
            yield from self._gained(self._fd)

    def _begin(self, fd: int) -> int:
        """The byte at which the last rows of an open ledger begin; what takes one of them back is noted."""
        at = 0 if self._last is None else self._begin_of(fd, self._last)
        self._voided = _voided_from(fd, at)
        return at

    def _begin_of(self, fd: int, last: int) -> int:
        size, found = os.fstat(fd).st_size, 0
        for byte, line, day in _backwards(fd, size):
            if found == last:
                return min(byte + len(line) + 1, size)
            found += day is not None and day >= self._since
        return 0

    def _gained(self, fd: int) -> Iterator[Entry | str]:
        """What an open ledger has beyond what was given."""
        if os.fstat(fd).st_size < self._at:
            yield f"{self.path}: shorter than it was; read again from its beginning"
            self._at, self._told = 0, b""
        while True:
            block = os.pread(fd, BLOCK, self._at)
            end = _end_of_lines(block, self._at)
            for line, day in _dated(block[:end]):
                byte, self._at = self._at, self._at + len(line) + 1
                told, self._told = self._told, b""
                if line != told:
                    yield from self._given(byte, line, day)
            if len(block) < BLOCK:
                break
        fragment = block[end:]
        if fragment != self._told and whole_object(fragment) is not None:
            self._told = fragment
            for line, day in _dated(fragment + b"\n"):
                yield from self._given(self._at, line, day)

    def _given(self, byte: int, line: bytes, day: str | None) -> Iterator[Entry | str]:
        """The row that a line is, if it is of a day asked for; why it is none, where it says something."""
        if day is not None:
            if day >= self._since:
                row = parse_row(line)
                yield Entry(row, row.request_id in self._voided)
        elif not is_blank(line):
            try:
                parse_row(line)
            except Unreadable as error:
                yield f"{self.path}: the line at byte {byte} is unreadable: {error}"


def _has_its_name(path: Path, fd: int) -> bool:
    """Whether an open file still has its name; so it has as long as no other file takes it."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _voided_from(fd: int, at: int) -> frozenset[str]:
    """The request ids that the rows of an open ledger take back, from the byte `at` on. Raises NotALedger."""
    found = set()
    while True:
        block = os.pread(fd, BLOCK, at)
        if b'"voids"' in block:
            for line in block.split(b"\n"):
                if b'"voids"' in line:
                    with suppress(Unreadable):
                        found.add(parse_row(line).voids)
        if len(block) < BLOCK:
            return frozenset(voided for voided in found if voided)
        at += _end_of_lines(block, at)


def _end_of_lines(block: bytes, at: int) -> int:
    """How many bytes of a block that was read at the byte `at` are whole lines.

    Raises NotALedger where a line fills the block.
    """
    end = block.rfind(b"\n") + 1
    if not end and len(block) == BLOCK:
        raise NotALedger(f"the line at byte {at} is longer than {BLOCK} bytes")
    return end


def _dated(block: bytes) -> Iterator[tuple[bytes, str | None]]:
    """Each line of a block of whole lines, with the day of its row in UTC, None where it is no row."""
    lines = block.split(b"\n")[:-1]
    rows = plain_rows(block.decode("latin-1"))
    if len(rows) == len(lines) and all(is_hour(hour) for hour in {row[0] for row in rows}):
        yield from zip(lines, (row[0][:10] for row in rows), strict=True)
        return
    for line in lines:
        day = None
        if not is_blank(line):
            with suppress(Unreadable):
                day = parse_row(line).ts.isoformat()[:10]
        yield line, day


def _backwards(fd: int, size: int) -> Iterator[tuple[int, bytes, str | None]]:
    """First byte, line and day of each line of an open ledger, the last one first.

    A line of no more than a block is whole. Raises NotALedger where one is much longer.
    """
    at = max(size - BLOCK, 0)
    fragment = os.pread(fd, size - at, at).rpartition(b"\n")[2]
    if len(fragment) == BLOCK:
        raise NotALedger(f"its last line is longer than {BLOCK} bytes")
    end = size - len(fragment)
    if whole_object(fragment) is not None:
        for line, day in _dated(fragment + b"\n"):
            yield end, line, day
    rest = b""
    while end:
        at = max(end - BLOCK, 0)
        block = os.pread(fd, end - at, at) + rest
        # A line that may begin before this block is read together with the one before.
        begin = block.find(b"\n") + 1 if at else 0
        if begin > BLOCK:
            raise NotALedger(f"the line before byte {at + begin} is longer than {BLOCK} bytes")
        rest, byte = block[:begin], at + len(block)
        for line, day in reversed([*_dated(block[begin:])]):
            byte -= len(line) + 1
            yield byte, line, day
        end = at
