"""The last rows of a ledger, and those that are appended: read backwards to the first of them, then forwards.

Memory stays at a few blocks, however long the ledger. While it is followed, a ledger may be appended to,
sealed, truncated, replaced, or created. A tail never writes, never waits and holds no lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from hal0_budget.durable import NotRegular, opened
from hal0_budget.errors import LedgerDamaged, from_os_error
from hal0_budget.model.records import Entry
from hal0_budget.stores.files.blocks import Blocks, NotALedger, blocks_backwards, ended_blocks
from hal0_budget.stores.files.row_format import PlainRow, is_blank, lines_and_rows, parse_row, voids_of
from hal0_budget.stores.files.torn_writes import whole_object
from hal0_budget.strict_json import Unreadable


class FileTail:
    """Yields the last `last` rows of the ledger at `path`, then rows as they are appended.

    `last` is None for all rows; `since` leaves out the rows of days before it (UTC).
    """

    def __init__(self, path: Path, last: int | None = None, since: date | None = None) -> None:
        self.path = path
        self._last = last
        self._since = "" if since is None else since.isoformat()
        self._voided: frozenset[str] = frozenset()
        self._is_begun = False
        self._fd: int | None = None
        self._at = 0
        # The last line without its newline, once it was yielded as a row.
        self._yielded_rest = b""

    def read(self) -> Iterator[Entry | str]:
        """The rows that were appended since the last `read`, in the order of the ledger, and a sentence for
        each unreadable line.

        Raises LedgerDamaged if the file at `path` is not a ledger, PermissionRefused, WriteFailed.
        """
        try:
            yield from self._read()
        except (NotRegular, NotALedger) as error:
            what = error.strerror if isinstance(error, NotRegular) else error
            raise LedgerDamaged(f"{self.path}: {what}", path=str(self.path)) from None
        except OSError as error:
            raise from_os_error(error) from error

    def close(self) -> None:
        """Close the file. A `read` after this yields the whole ledger."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _read(self) -> Iterator[Entry | str]:
        if self._fd is not None:
            yield from self._gained(self._fd)
            if _has_its_name(self.path, self._fd):
                return
            # A writer that still had the old file open has written by now.
            yield from self._gained(self._fd)
            self.close()
        with suppress(FileNotFoundError, NotADirectoryError), opened(self.path, os.O_RDONLY) as fd:
            # In a ledger that is created or replaces another, every row is new.
            self._at = 0 if self._is_begun else self._begin(fd)
            self._fd, self._yielded_rest = os.dup(fd), b""
        self._is_begun = True
        if self._fd is not None:
            yield from self._gained(self._fd)

    def _begin(self, fd: int) -> int:
        """The byte at which the last rows of an open ledger begin. Notes which of them are voided."""
        at = 0 if self._last is None else self._begin_of(fd, self._last)
        self._voided = _voided_from(fd, at)
        return at

    def _begin_of(self, fd: int, last: int) -> int:
        size, found = os.fstat(fd).st_size, 0
        for end, row in _rows_backwards(fd, size):
            if found == last:
                return min(end, size)
            found += row is not None and row[0] >= self._since
        return 0

    def _gained(self, fd: int) -> Iterator[Entry | str]:
        """What an open ledger has behind the rows that were yielded."""
        if os.fstat(fd).st_size < self._at:
            yield f"{self.path}: shorter than it was; read again from its beginning"
            self._at, self._yielded_rest = 0, b""
        blocks = Blocks(fd, self._at)
        for block in blocks:
            for line, row in lines_and_rows(block):
                byte, self._at = self._at, self._at + len(line) + 1
                yielded, self._yielded_rest = self._yielded_rest, b""
                if line != yielded:
                    yield from self._entry(byte, line, row)
        rest = blocks.rest
        if rest != self._yielded_rest and whole_object(rest) is not None:
            self._yielded_rest = rest
            for line, row in lines_and_rows(rest + b"\n"):
                yield from self._entry(self._at, line, row)

    def _entry(self, byte: int, line: bytes, row: PlainRow | None) -> Iterator[Entry | str]:
        """The entry of a line, if it is of a day asked for; why a line is unreadable. Nothing for blanks."""
        if is_blank(line) or (row is not None and row[0] < self._since):
            return
        try:
            found = parse_row(line)
        except Unreadable as error:
            yield f"{self.path}: the line at byte {byte} is unreadable: {error}"
        else:
            yield Entry(found, found.request_id in self._voided)


def _has_its_name(path: Path, fd: int) -> bool:
    """Whether an open file still has its name, or no other file has it."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _voided_from(fd: int, at: int) -> frozenset[str]:
    """The request ids that the rows of an open ledger void, from the byte `at` on. Raises NotALedger."""
    found = set()
    for block in ended_blocks(fd, at):
        if b'"voids"' in block or b"\\" in block:
            found |= {voids_of(line) for line in block.split(b"\n")}
    return frozenset(voided for voided in found if voided)


def _rows_backwards(fd: int, size: int) -> Iterator[tuple[int, PlainRow | None]]:
    """The byte behind each line of an open ledger and its row, if it is one, the last line first.

    Raises NotALedger.
    """
    for byte, block in blocks_backwards(fd, size):
        lines = block
        if not block.endswith(b"\n"):
            lines = block + b"\n" if whole_object(block) is not None else b""
        end = byte + len(lines)
        for line, row in reversed([*lines_and_rows(lines)]):
            yield end, row
            end -= len(line) + 1
