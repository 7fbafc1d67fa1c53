"""The ledger of one persona: appended to durably, read incrementally, never edited.

hal0's own server appends to the same file without our lock, so a reader takes whole lines as
they come and ignores the fragment at the end, and a writer never truncates.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hal0_budget.errors import LedgerDamaged, LockTimeout, WriteFailed
from hal0_budget.store import checkpoint
from hal0_budget.store.checkpoint import Checkpoint, CheckpointUnusable
from hal0_budget.store.durable import NotRegular, make_dirs, opened, sync_dir, write_whole
from hal0_budget.store.lock import locked
from hal0_budget.store.rows import Row, seal_of
from hal0_budget.store.tally import BadLine, Tally

# A block of a scan, and the longest line: one that fills a block is refused unread.
BLOCK = 256 * 1024

# How long another writer may take to finish a row that looks torn.
_TEAR_GRACE = 0.02


class Reading(NamedTuple):
    """What a ledger adds up to, as far as it can be told.

    `damage` says why the sum cannot be relied on as a whole; the tally then is the high-water
    mark that the checkpoint remembers. Unreadable lines are in the tally.
    """

    path: Path
    tally: Tally
    damage: str | None = None

    def problems(self) -> tuple[str, ...]:
        """A sentence for the damage and for each unreadable line; empty for a sound ledger."""
        found = [] if self.damage is None else [f"{self.path}: {self.damage}"]
        found += [_bad_line(self.path, bad) for bad in self.tally.bad_lines]
        if unnamed := self.tally.bad_count - len(self.tally.bad_lines):
            found.append(f"{self.path}: {unnamed} more unreadable lines")
        return tuple(found)

    def sound(self) -> Reading:
        """This reading. Raises LedgerDamaged where its sum cannot be relied on."""
        problems = self.problems()
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise LedgerDamaged(
                f"{problems[0]}{more}; mend or restore the ledger, then delete "
                f"{self.path.with_name(CHECKPOINT)} to count it afresh",
                path=str(self.path),
                problems=list(problems),
            )
        return self


LEDGER = "spend.jsonl"
CHECKPOINT = "spend.checkpoint"
LOCK = "spend.lock"


class Ledger:
    """The spending of one persona, in the folder `spend_dir`, made by the first append."""

    def __init__(self, spend_dir: Path) -> None:
        self.dir = spend_dir
        self.path = spend_dir / LEDGER
        self.checkpoint = spend_dir / CHECKPOINT
        self.lock = spend_dir / LOCK

    def read(self, now: datetime) -> Reading:
        """What the ledger adds up to, and whether that can be relied on.

        Reads the rows that came after the checkpoint, or all where there is none, and refreshes
        the checkpoint where that is possible without waiting. Raises OSError.
        """
        reading, fresh = self._read(now)
        if fresh is not None:
            with suppress(OSError, LockTimeout), locked(self.lock, 0):
                self._save_if_newer(fresh)
        return reading

    def append(self, row: Row, now: datetime, lock_timeout: float) -> None:
        """Record a row: when this returns, it is on the disk.

        Raises LedgerDamaged where what stands there is no file; LockTimeout; WriteFailed and
        OSError where the row may not be on the disk.
        """
        with self.locked(lock_timeout):
            try:
                self._append(row)
            except NotRegular as error:
                raise LedgerDamaged(f"{self.path}: {error.strerror}", path=str(self.path)) from None
            # The row is on the disk; without a checkpoint the next command finds it there.
            with suppress(OSError):
                _, fresh = self._read(now)
                if fresh is not None:
                    checkpoint.save(self.checkpoint, fresh)

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the persona's lock, made where missing. Raises LockTimeout, OSError."""
        make_dirs(self.dir)
        with locked(self.lock, timeout):
            yield

    def _append(self, row: Row) -> None:
        with opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
            if os.fstat(fd).st_size == 0:
                # Before the first row, so that whoever fails or dies here leaves it to the next.
                sync_dir(self.dir)
            write_whole(fd, _seal(fd) + row.line())
            os.fsync(fd)
            if not self._names(fd):
                raise WriteFailed(f"{self.path}: replaced while a row was written; nothing was acknowledged")

    def _names(self, fd: int) -> bool:
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(fd))

    def _read(self, now: datetime) -> tuple[Reading, Checkpoint | None]:
        """The reading, and the checkpoint that it is worth saving, if any."""
        unusable = None
        try:
            # Before the ledger: it only grows, so what is read next covers the mark.
            mark = checkpoint.load(self.checkpoint)
        except CheckpointUnusable as error:
            mark, unusable = None, str(error)
        known = mark.tally if mark else Tally.starting(now)
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                if unusable is not None and os.fstat(fd).st_size == 0:
                    return Reading(self.path, known, "the ledger is empty, but it has a checkpoint"), None
                return self._read_after(fd, mark, known, now)
        except FileNotFoundError:
            if unusable is not None or known.size:
                return Reading(
                    self.path, known, "the ledger is gone, and its checkpoint says that there was one"
                ), None
            return Reading(self.path, known), None
        except NotRegular as error:
            return Reading(self.path, known, error.strerror), None

    def _read_after(
        self, fd: int, mark: Checkpoint | None, known: Tally, now: datetime
    ) -> tuple[Reading, Checkpoint | None]:
        if mark and not mark.matches(fd):
            size = os.fstat(fd).st_size
            what = f"shorter ({size} bytes) than" if size < known.size else "not the one that belongs to"
            return Reading(
                self.path, known, f"the ledger is {what} its checkpoint ({known.size} bytes)"
            ), None
        tally, size_before = known, known.size
        if not known.knows_hours_of(now):
            # A clock that stepped back needs hours that were dropped. They are counted again, and
            # the rows must come to what they came to before.
            tally, size_before = Tally.starting(now), 0
            if scan(fd, tally, known.size) is None or not tally.agrees_with(known):
                return Reading(self.path, known, "the ledger no longer adds up to its checkpoint"), None
        fragment = scan(fd, tally)
        if fragment is None:
            long = f"line {tally.lines + 1} (byte {tally.size}) is longer than {BLOCK} bytes"
            return Reading(self.path, tally, long), None
        fresh = None
        if tally.size != size_before:
            tally.forget_hours_before(now)
            fresh = Checkpoint.of(tally, fd)
        return Reading(self.path, tally.with_fragment(fragment)), fresh

    def _save_if_newer(self, fresh: Checkpoint) -> None:
        """Save a checkpoint that was read without the lock, unless one that covers more was saved."""
        try:
            current = checkpoint.load(self.checkpoint)
        except CheckpointUnusable:
            current = None
        if current is None or current.tally.size <= fresh.tally.size:
            checkpoint.save(self.checkpoint, fresh)


def scan(fd: int, tally: Tally, until: int = sys.maxsize) -> bytes | None:
    """Count the whole lines after those that `tally` has, up to the byte `until`; the fragment after
    the last newline.

    None where the next line is longer than a block: what has such a line is no ledger. Memory
    stays at one block, however long the file.
    """
    while True:
        block = os.pread(fd, min(BLOCK, until - tally.size), tally.size)
        end = block.rfind(b"\n") + 1
        if end:
            tally.take(block[:end])
        elif len(block) == BLOCK:
            return None
        else:
            return block


def _seal(fd: int) -> bytes:
    """What must stand before the next row: nothing, or what seals the tear at the end."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return b""
    # hal0 may be in the middle of a write of its own: its row is whole in a moment.
    time.sleep(_TEAR_GRACE)
    size = os.fstat(fd).st_size
    length = min(size, BLOCK)
    end = os.pread(fd, length, size - length)
    fragment = end[end.rfind(b"\n") + 1 :]
    return seal_of(fragment) if fragment else b""


def _bad_line(path: Path, bad: BadLine) -> str:
    return f"{path}: line {bad.line} (byte {bad.byte}) is unreadable: {bad.why}"
