"""What writes to a ledger: one step at a time, under the lock, durable before it is reported.

hal0 appends without our lock, so a writer never truncates, and writes each step with one call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hal0_budget.errors import LedgerDamaged, WriteFailed
from hal0_budget.store.durable import NotRegular, opened, size_of, sync_dir, write_whole
from hal0_budget.store.holds import Closing, Hold, Holds
from hal0_budget.store.ledger import BLOCK, Ledger, Reading
from hal0_budget.store.rows import Row, seal_of, void_id
from hal0_budget.store.trail import LENGTH

if TYPE_CHECKING:
    from hal0_budget.store.lookup import RowFinder

# How long another writer may take to finish a row that looks torn.
_TEAR_GRACE = 0.02

# How often the ledger was repaired.
EPOCH = 0


@contextmanager
def writing(
    ledger: Ledger, now: datetime, lock_timeout: float, request_ids: Collection[str] = ()
) -> Iterator[Writer]:
    """A writer to the ledger, alone with it until the end.

    Rows of `request_ids`, and what voids them, are looked for before the lock is taken: without a cache that
    takes as long as to read the ledger.
    Raises LockTimeout; LedgerDamaged where what stands in the ledger's place is no file; OSError.
    """
    with ExitStack() as stack:
        rows = None
        if request_ids:
            rows = _row_finder(stack, ledger)
            # What is wrong is said to whoever has the lock.
            with suppress(OSError):
                rows.prefetch(request_ids)
                rows.prefetch([void_id(each) for each in request_ids if rows.find(each)])
        with ledger.lock.held(lock_timeout):
            writer = Writer(ledger, now, stack, rows)
            try:
                yield writer
            except NotRegular as error:
                raise LedgerDamaged(f"{error.filename}: {error.strerror}", path=error.filename) from None
        writer.sync_holds()
        writer.catch_up()


class Writer:
    """The ledger, the journal of holds and the rows by request id of one persona, while the lock is held.

    Only `sync_holds` and `catch_up` come after that.
    """

    def __init__(self, ledger: Ledger, now: datetime, stack: ExitStack, rows: RowFinder | None) -> None:
        self._ledger = ledger
        self._now = now
        self._stack = stack
        self._unsynced: int | None = None
        self._rows = rows
        self._is_behind = False

    @property
    def holds(self) -> Holds:
        """The journal of holds, as far as it was read."""
        return self._ledger.holds

    def look(self) -> Reading:
        """What the ledger adds up to now, and what is held; the checkpoint is brought up to it.

        Raises OSError.
        """
        reading, fresh = self._ledger.look(self._now)
        if fresh is not None:
            self._ledger.keep(fresh)
        return reading

    def find(self, request_id: str) -> list[Row]:
        """Every row on record with that request id, newest first. Raises OSError."""
        if self._rows is None:
            self._rows = _row_finder(self._stack, self._ledger)
        return [found.row for found in self._rows.find(request_id)]

    def append(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """Record rows with one write, all or none, and close the holds that they settle.

        When this returns, the rows are on the disk. Raises WriteFailed, OSError where they may not be.
        """
        path = self._ledger.path
        with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
            size = size_of(fd)
            if size == 0:
                # Before the first row, so that whoever fails or dies here leaves it to the next.
                sync_dir(self._ledger.dir)
            _write_rows(path, fd, _seal(fd), b"".join(row.line() for row in rows))
            os.fsync(fd)
            if not _is_named(path, fd):
                raise WriteFailed(f"{path}: replaced while a row was written; nothing was acknowledged")
            # The rows are on the disk, and tell the rest again to whoever looks next.
            with suppress(OSError):
                if closings:
                    self.holds.append(*closings)
                self._note_growth(size, size_of(fd), self.look())

    def note(self, *entries: Hold | Closing) -> None:
        """Write holds and closings that no row tells of, durably. Raises OSError."""
        is_new = not self.holds.exists
        self.holds.append(*entries)
        if is_new:
            # So that the checkpoint knows of the journal, should it vanish.
            with suppress(OSError):
                self.look()

    def set_aside(self, hold: Hold) -> None:
        """Write a hold, which is durable once `writing` has ended. Raises OSError."""
        if self.holds.exists:
            self._unsynced = self.holds.write(self._stack, hold)
        else:
            self.note(hold)

    def sync_holds(self) -> None:
        """Make the hold that was set aside durable, once others have the lock: they count it by now, and
        their syncs and ours become one. Raises OSError.
        """
        if self._unsynced is not None:
            os.fsync(self._unsynced)

    def _note_growth(self, before: int, after: int, reading: Reading) -> None:
        """Note whether the cache is to be brought up to the ledger, which has grown.

        Not to one that is damaged: what the cache knows of its lines tells what was lost.
        """
        covered = self._rows.covered if self._rows is not None else None
        is_behind = before // LENGTH < after // LENGTH if covered is None else after - covered > LENGTH
        self._is_behind = is_behind and reading.damage is None

    def catch_up(self) -> None:
        """Cover a part of what the cache does not cover yet, once others have the lock."""
        if self._is_behind:
            from hal0_budget.store.catch_up import SLICE, catch_up

            with suppress(OSError), opened(self._ledger.path, os.O_RDONLY) as fd:
                catch_up(self._ledger.cache(), fd, EPOCH, SLICE)

    def sync(self) -> None:
        """Make sure that what was found on record is on the disk, with its newline.

        Raises WriteFailed where it is on record no more, OSError.
        """
        path = self._ledger.path
        with opened(path, os.O_RDWR | os.O_APPEND) as fd:
            searched = self._rows.searched if self._rows is not None else None
            if searched is not None and not os.path.samestat(searched, os.fstat(fd)):
                raise WriteFailed(f"{path}: replaced while a row was looked for; nothing was acknowledged")
            if seal := _seal(fd):
                write_whole(fd, seal)
            os.fsync(fd)
            if not _is_named(path, fd):
                raise WriteFailed(f"{path}: replaced while it was synced; nothing was acknowledged")


def _row_finder(stack: ExitStack, ledger: Ledger) -> RowFinder:
    # A charge whose id is made just now needs none.
    from hal0_budget.store.lookup import RowFinder

    rows = RowFinder(ledger.path, ledger.cache, EPOCH)
    stack.callback(rows.close)
    return rows


def _write_rows(path: Path, fd: int, seal: bytes, rows: bytes) -> None:
    """Write a seal and rows with one call. Raises OSError where not every byte was taken, and then leaves
    nothing of the rows that counts.
    """
    written = os.write(fd, seal + rows)
    if written == len(seal + rows):
        return
    part = rows[: max(0, written - len(seal))]
    begin = os.lseek(fd, 0, os.SEEK_CUR) - len(part)
    # What cannot be blanked is left as a crash would leave it.
    with suppress(OSError), opened(path, os.O_RDWR) as other:
        if (
            part
            and os.path.samestat(os.fstat(other), os.fstat(fd))
            and os.pread(other, len(part), begin) == part
        ):
            os.pwrite(other, b" " * (len(part) - 1) + b"\n", begin)
            os.fsync(other)
    raise OSError(None, f"only a part of {len(seal + rows)} bytes could be written: is the disk full?")


def _is_named(path: os.PathLike[str], fd: int) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def _seal(fd: int) -> bytes:
    """What must stand before the next row: nothing, or what seals the tear at the end."""
    size = size_of(fd)
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return b""
    # hal0 may be in the middle of a write of its own: its row is whole in a moment.
    time.sleep(_TEAR_GRACE)
    size = size_of(fd)
    length = min(size, BLOCK)
    end = os.pread(fd, length, size - length)
    fragment = end[end.rfind(b"\n") + 1 :]
    return seal_of(fragment) if fragment else b""
