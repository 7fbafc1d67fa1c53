"""The transaction of the file store: each step is one write under the lock, and durable when it returns.

hal0 appends to the ledger without our lock, so a writer never truncates it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from hal0_budget.durable import (
    FOLDERS_ABOVE,
    NotRegular,
    append_whole,
    fsync,
    opened,
    rewrite,
    size_of,
    sync_dirs,
    write_whole,
)
from hal0_budget.errors import InvalidCharge, LedgerDamaged, WriteFailed
from hal0_budget.model.ids import void_id
from hal0_budget.model.records import Closing, Hold, Row
from hal0_budget.model.usage import Usage
from hal0_budget.stores.files.blocks import BLOCK
from hal0_budget.stores.files.holds import Holds
from hal0_budget.stores.files.ledger import Ledger, Reading
from hal0_budget.stores.files.marks import HoldsMark, Marks
from hal0_budget.stores.files.trail import LENGTH

if TYPE_CHECKING:
    from hal0_budget.stores.files.lookup import RowFinder

# Seconds that another writer gets to finish a row that looks torn.
_TEAR_GRACE = 0.02

# The most bytes of the ledger's end that are written again before an fsync.
_MOST_REWRITTEN = 4 * 1024 * 1024


@contextmanager
def writing(
    ledger: Ledger, clock: Callable[[], datetime], lock_timeout: float, request_ids: Collection[str] = ()
) -> Iterator[Writer]:
    """A transaction on the ledger, under its lock. The clock is read after the lock is acquired.

    The rows of `request_ids`, and the rows that void them, are searched before that: without a cache the
    search reads the whole ledger.
    Raises LockTimeout; LedgerDamaged if the file at the ledger's path is no regular file; OSError.
    """
    with ExitStack() as stack:
        rows = None
        if request_ids:
            rows = _row_finder(stack, ledger)
            # If it fails, it fails again under the lock, where the failure is reported.
            with suppress(OSError):
                rows.prefetch([void_id(each) for each in rows.prefetch(request_ids)])
        with ledger.lock.held(lock_timeout):
            writer = Writer(ledger, clock(), stack, rows)
            try:
                yield writer
            except NotRegular as error:
                raise LedgerDamaged(f"{error.filename}: {error.strerror}", path=error.filename) from None
        writer.sync_holds()
        writer.catch_up()


class Writer:
    """The ledger and the journal of holds of one persona while its lock is held; see `Transaction`.

    Only `sync_holds` and `catch_up` are called after the lock is released.
    """

    def __init__(self, ledger: Ledger, now: datetime, stack: ExitStack, rows: RowFinder | None) -> None:
        self.now = now
        self._ledger = ledger
        self._stack = stack
        self._unsynced: tuple[int, HoldsMark] | None = None
        self._rows = rows
        self._is_behind = False
        # Whether the journal of holds was read, or read again after rows were appended.
        self._is_read = False
        # Holds that rows settle and whose end the journal has not recorded yet.
        self._settled: Collection[str] = ()
        # How many bytes of the ledger, from its start, are known to be synced.
        self._synced = 0

    def usage(self) -> Usage:
        """See `Transaction`."""
        return self._look().usage(self.now)

    def find_hold(self, hold_id: str) -> Hold | None:
        """See `Transaction`."""
        holds = self._holds()
        return None if hold_id in self._settled else holds.find(hold_id)

    def closing(self, hold_id: str) -> Closing | None:
        """See `Transaction`."""
        holds = self._holds()
        return Closing(hold_id, "settled") if hold_id in self._settled else holds.closed.get(hold_id)

    def hold_settled_by(self, request_id: str) -> str | None:
        """See `Transaction`."""
        closed = self._holds().closed.values()
        return next((closing.hold_id for closing in closed if closing.request_id == request_id), None)

    def expired_holds(self) -> list[Hold]:
        """See `Transaction`."""
        return [hold for hold in self._holds().expired(self.now) if hold.hold_id not in self._settled]

    def are_holds_sound(self) -> bool:
        """See `Transaction`."""
        return self._holds().damage is None

    def confirm_holds(self) -> None:
        """See `Transaction`."""
        self._holds().sync_again()

    def _holds(self) -> Holds:
        """The journal of holds, read if it was not yet. Raises OSError."""
        if not self._is_read:
            self._look()
        return self._ledger.holds

    def _look(self, ledger: int | None = None) -> Reading:
        """Read the ledger and the journal up to their ends, and save a new checkpoint.

        `ledger` is the descriptor of the ledger if it is open. Raises OSError.
        """
        reading, fresh = self._ledger.look(self.now, ledger=ledger)
        if fresh is not None:
            self._ledger.keep(fresh, reading.marks, self._synced)
        self._settled = reading.tally.settled
        self._is_read = True
        return reading

    def find_rows(self, request_id: str) -> list[Row]:
        """See `Transaction`."""
        if self._rows is None:
            self._rows = _row_finder(self._stack, self._ledger)
        return [found.row for found in self._rows.find(request_id)]

    def record(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """See `Transaction`."""
        path, lines = self._ledger.path, [row.line() for row in rows]
        if any(len(line) > BLOCK for line in lines):
            # The void of a long row of hal0 repeats its names.
            raise InvalidCharge(f"a row of more than {BLOCK} bytes cannot be read; nothing was recorded")
        if closings:
            # They are appended to the journal, which must be read before that.
            self._holds()
        with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
            size = size_of(fd)
            if size == 0 or not self._is_marked():
                # Before our first row: hal0, or a process that then died, may have made the file.
                sync_dirs(self._ledger.dir, FOLDERS_ABOVE)
            before = size
            self._write_again(fd, size)
            self._ledger.lock.require_named()
            append_whole(path, fd, _seal(fd), b"".join(lines))
            size = size_of(fd)
            fsync(path, fd, before)
            if not _is_named(path, fd):
                raise WriteFailed(f"{path}: replaced while a row was written; nothing was acknowledged")
            self._synced = size
            self._is_read = False
            # The rows are durable. What follows is best effort: the next reader does it again.
            with suppress(OSError):
                if closings:
                    self._append_closings(closings)
                self._note_growth(before, size, self._look(fd))

    def resolve(self, *closings: Closing) -> None:
        """See `Transaction`."""
        self._ledger.lock.require_named()
        self._holds()
        self._append_closings(closings)

    def open_hold(self, hold: Hold) -> Hold:
        """See `Transaction`. The hold is durable once `writing` has ended."""
        hold = hold._replace(ledger_size=self._ledger_size())
        self._ledger.lock.require_named()
        holds = self._holds()
        sound = holds.damage is None
        fd = holds.write(self._stack, hold)
        if not sound:
            # The marks must stay those of the journal before it was damaged.
            self._unsynced = None if fd is None else (fd, HoldsMark())
        elif fd is None:
            self._mark(holds.mark())
        else:
            self._unsynced = fd, holds.mark()
            with suppress(OSError):
                self._ledger.cut_marks()
        return hold

    def sync_holds(self) -> None:
        """Make the opened hold durable after the lock is released, so that concurrent fsyncs coalesce
        (group commit); then mark it. Raises OSError.
        """
        if self._unsynced is not None:
            fd, mark = self._unsynced
            fsync(self._ledger.holds.path, fd, 0)
            if mark.size:
                self._mark(mark)

    def _ledger_size(self) -> int:
        """The size of the ledger in bytes, 0 if there is none. Raises OSError."""
        try:
            return os.stat(self._ledger.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def _append_closings(self, closings: tuple[Closing, ...]) -> None:
        holds = self._ledger.holds
        sound = holds.damage is None
        holds.append(*closings)
        if sound:
            self._mark(holds.mark())

    def _mark(self, holds: HoldsMark) -> None:
        """Append the mark of the durable journal to both files that keep marks.

        Best effort: the hold is durable without its mark, but its loss would not be detected.
        """
        marks = Marks(holds=holds)
        with suppress(OSError):
            self._ledger.marks.append(marks)
        with suppress(OSError):
            self._ledger.checkpoint.append_mark(marks)

    def _is_marked(self) -> bool:
        """Whether a mark covers a part of the ledger. If so, the name of the ledger is durable."""
        ledger = self._ledger
        return ledger.marks.known().ledger.size > 0 or ledger.all_marks().highest().ledger.size > 0

    def _write_again(self, fd: int, size: int) -> None:
        """Write again what may not be synced, because the fsync of an earlier command may have failed."""
        start = max(self._ledger.marks.known().ledger.size, self._synced)
        if start < size:
            start = max(self._ledger.marks.read().ledger.size, self._synced)
        if start < size:
            rewrite(self._ledger.path, fd, max(start, size - _MOST_REWRITTEN), size)

    def _note_growth(self, before: int, after: int, reading: Reading) -> None:
        """Find out whether the cache is far behind the ledger. If the ledger is damaged, the cache is not
        changed: its checksums of the lines show what was lost.
        """
        covered = self._rows.covered if self._rows is not None else None
        is_behind = before // LENGTH < after // LENGTH if covered is None else after - covered > LENGTH
        self._is_behind = is_behind and reading.damage is None

    def catch_up(self) -> None:
        """Extend the cache by a part of what it does not cover, after the lock is released. Best effort."""
        if self._is_behind:
            from hal0_budget.stores.files.catch_up import SLICE, catch_up

            with suppress(OSError), opened(self._ledger.path, os.O_RDONLY) as fd:
                catch_up(self._ledger.cache(), fd, self._ledger.marks.read().ledger.epoch, SLICE)

    def confirm_rows(self) -> None:
        """See `Transaction`. The end of the ledger is written again before the fsync, and a missing newline
        is added.
        """
        path = self._ledger.path
        with opened(path, os.O_RDWR | os.O_APPEND) as fd:
            searched = self._rows.searched if self._rows is not None else None
            if searched is not None and not os.path.samestat(searched, os.fstat(fd)):
                raise WriteFailed(f"{path}: replaced while a row was looked for; nothing was acknowledged")
            if not self._is_marked():
                # Another program may have created the ledger.
                sync_dirs(self._ledger.dir, FOLDERS_ABOVE)
            size = size_of(fd)
            rewrite(path, fd, max(0, size - _MOST_REWRITTEN), size)
            if seal := _seal(fd):
                write_whole(fd, seal)
            size = size_of(fd)
            fsync(path, fd, max(0, size - _MOST_REWRITTEN))
            if not _is_named(path, fd):
                raise WriteFailed(f"{path}: replaced while it was synced; nothing was acknowledged")
            self._synced = size
        with suppress(OSError):
            self._look()


def _row_finder(stack: ExitStack, ledger: Ledger) -> RowFinder:
    # A charge with a generated id needs no search.
    from hal0_budget.stores.files.lookup import RowFinder

    rows = RowFinder(ledger.path, ledger.cache, ledger.marks.read().ledger.epoch)
    stack.callback(rows.close)
    return rows


def _is_named(path: os.PathLike[str], fd: int) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(fd))


def _seal(fd: int) -> bytes:
    """What must precede the next row: nothing, or the seal of the torn write at the end of the ledger."""
    size = size_of(fd)
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return b""
    # Imported before the end is read: an import between that and the write would give hal0 time to append.
    from hal0_budget.stores.files.torn_writes import is_several, seal_of

    # hal0 may be writing right now: then its row is complete in a moment.
    time.sleep(_TEAR_GRACE)
    size = size_of(fd)
    length = min(size, BLOCK)
    end = os.pread(fd, length, size - length)
    fragment = end[end.rfind(b"\n") + 1 :]
    # A sealed line counts as nothing. One that may contain a whole row is left for `verify --repair`.
    return b"\n" if is_several(fragment) else seal_of(fragment) if fragment else b""
