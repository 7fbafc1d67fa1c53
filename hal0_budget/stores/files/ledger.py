"""The ledger of one persona, as readers see it: incremental, lock-free, never edited.

hal0's own server appends to the same file without our lock, so a reader counts whole lines and ignores
the fragment at the end. The journal of holds is read with it, because the row that settles a hold is in
the ledger.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.durable import FOLDERS_ABOVE, NotRegular, opened, size_of, sync_dirs
from hal0_budget.errors import LockTimeout
from hal0_budget.model.records import Closing, Hold
from hal0_budget.model.usage import Usage
from hal0_budget.stores.files.blocks import Blocks, LongLine, NotALedger
from hal0_budget.stores.files.checkpoint import Checkpoint, CheckpointLog, Saved
from hal0_budget.stores.files.holds import Holds
from hal0_budget.stores.files.layout import LOCK
from hal0_budget.stores.files.lock import Lock
from hal0_budget.stores.files.marks import AllMarks, MarkLog, Marks
from hal0_budget.stores.files.tally import BadLine, Tally

if TYPE_CHECKING:
    from hal0_budget.stores.base import Progress
    from hal0_budget.stores.files.cache import Cache

LEDGER = "spend.jsonl"
CHECKPOINT = "spend.checkpoint"
HOLDS = "spend.holds"
CACHE = "spend.cache"

# Files that are only ever made from a ledger with rows. The first two are those of earlier versions.
_DERIVED = ("spend.index", "spend.summary", "spend.cache")


class Reading(NamedTuple):
    """The sums of a ledger, and the USD that its open holds hold.

    `damage` says why the sums as a whole cannot be relied on; the tally is then that of the checkpoint.
    The tally lists unreadable lines. `marks` are the highest marks before this reading.
    """

    path: Path
    tally: Tally
    held: Decimal
    damage: str | None = None
    marks: Marks = Marks()

    def problems(self) -> tuple[str, ...]:
        """A sentence for the damage and for each unreadable line; empty for a sound ledger."""
        found = [] if self.damage is None else [f"{self.path}: {self.damage}"]
        found += [bad_line(self.path, bad) for bad in self.tally.bad_lines]
        if unnamed := self.tally.bad_count - len(self.tally.bad_lines):
            found.append(f"{self.path}: {unnamed} more unreadable lines")
        return tuple(found)

    def usage(self, now: datetime) -> Usage:
        """The reading as the interface of stores has it."""
        tally = self.tally
        spent, problems, source = tally.spent(now), self.problems(), str(self.path)
        return Usage(spent, self.held, tally.unconfirmed, self.damage, problems, tally.persona, source, self)


class Ledger:
    """The spending of one persona in the folder `spend_dir`, which the first append creates."""

    def __init__(self, spend_dir: Path) -> None:
        self.dir = spend_dir
        self.persona = spend_dir.name
        self.path = spend_dir / LEDGER
        self.checkpoint = CheckpointLog(spend_dir / CHECKPOINT)
        self._cache: Cache | None = None
        self.lock = Lock(spend_dir / LOCK)
        self.marks = MarkLog(self.lock)
        self.holds = Holds(spend_dir / HOLDS)

    def read(self, now: datetime, progress: Progress | None = None) -> Reading:
        """Read the rows after the checkpoint, or all if there is none.

        Saves a new checkpoint if the lock is free. Raises OSError.
        """
        reading, fresh = self.look(now, progress)
        # The journal must record settled holds before a checkpoint passes their rows.
        if fresh is not None and not fresh.tally.settled:
            seen = self.holds.position
            with suppress(OSError, LockTimeout), self.lock.held(0):
                self.holds.read((reading.marks.holds,))
                # A row that settles a hold opened since our read may have been counted as unrelated.
                if self.holds.position == seen and self.holds.damage is None:
                    self._save_if_newer(fresh, reading.marks)
        return reading

    def cache(self) -> Cache:
        """The cache of the ledger, kept open for the next search."""
        if self._cache is None:
            # `check` and most charges do not need it.
            from hal0_budget.stores.files.cache import Cache

            self._cache = Cache(self.dir / CACHE)
        return self._cache

    def open_holds(self, now: datetime) -> tuple[Hold, ...]:
        """The holds that count at `now`, oldest first. Raises OSError."""
        settled = self.look(now)[0].tally.settled
        ended = {hold.hold_id for hold in self.holds.expired(now) if hold.on_expiry == "release"} | settled
        return tuple(hold for hold in self.holds.open() if hold.hold_id not in ended)

    def look(
        self, now: datetime, progress: Progress | None = None, ledger: int | None = None
    ) -> tuple[Reading, Checkpoint | None]:
        """The reading, and the new checkpoint if one should be saved. Writes nothing. Raises OSError.

        `ledger` is the descriptor of the ledger if the caller has it open.
        """
        # Load checkpoint and marks first: the files only grow, so what is read next cannot be behind them.
        saved = self.checkpoint.load()
        all_marks = AllMarks(self.marks.read(), saved.marks)
        marks = all_marks.highest()
        self.holds.read(all_marks.holds())
        damage = None if self.holds.damage is None else f"its journal of holds, {HOLDS}: {self.holds.damage}"
        damage = all_marks.damage() or damage
        known = saved.checkpoint
        if known is not None and known.epoch < marks.ledger.epoch:
            # From before a repair.
            known = None
        tally = Tally.starting(self.persona, now) if known is None else known.tally
        fresh = None
        try:
            with opened(self.path, os.O_RDONLY) if ledger is None else nullcontext(ledger) as fd:
                self.require_whole(fd, saved, all_marks)
                before = 0 if known is None else known.tally.size
                tally, fragment, is_new = self._counted(fd, known, now, progress)
                if damage is None and is_new:
                    tally.condense(now)
                    trail = b"" if known is None else known.trail
                    fresh = Checkpoint.of(tally, fd, marks.ledger.epoch, trail, before)
                tally = tally.with_fragment(fragment)
        except FileNotFoundError:
            damage = self.missing(saved, marks) or damage
        except (NotRegular, NotALedger) as error:
            damage = error.strerror if isinstance(error, NotRegular) else str(error)
        held = self.holds.held(now, tally.settled)
        return Reading(self.path, tally, held, damage, marks), fresh

    def recount(self, now: datetime) -> Checkpoint | None:
        """The checkpoint of all rows of the ledger, which ignores the saved one; None if there is no ledger.

        Its epoch is 0. Writes nothing. Raises NotALedger, OSError.
        """
        tally = Tally.starting(self.persona, now)
        tally.open_holds = self.holds
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                scan(fd, tally)
                tally.condense(now)
                return Checkpoint.of(tally, fd, epoch=0)
        except FileNotFoundError:
            return None

    def all_marks(self) -> AllMarks:
        """The marks of both files. Raises OSError."""
        return AllMarks(self.marks.read(), self.checkpoint.load().marks)

    def keep(self, fresh: Checkpoint, marks: Marks, synced: int) -> None:
        """Save a checkpoint. The first `synced` bytes of the ledger are durable; if it covers more, the
        ledger is synced first, and the journal records which holds the rows have settled.

        The caller holds the lock. Raises OSError if the journal or the ledger cannot be synced.
        """
        if fresh.tally.size > synced:
            with opened(self.path, os.O_RDONLY) as fd:
                os.fsync(fd)
            if not marks.ledger.size:
                # hal0 may have created the ledger.
                sync_dirs(self.dir, FOLDERS_ABOVE)
        if not self.holds.is_marked(marks.holds):
            self.holds.sync()
            marks = marks._replace(holds=self.holds.mark())
        if settled := sorted(fresh.tally.settled):
            self.holds.append(*(Closing(hold_id, "settled") for hold_id in settled))
            marks = marks._replace(holds=self.holds.mark())
        with suppress(OSError):
            self.checkpoint.save(fresh, marks.holds)
            self.marks.append(Marks(fresh.mark(), marks.holds))
            self.cut_marks()

    def cut_marks(self) -> None:
        """Keep the logs of marks short. The journal is synced first, so that the mark that is kept covers
        every mark that another process may be about to append.

        The caller holds the lock and has read the journal, which must be sound. Raises OSError.
        """
        if self.marks.is_long() or self.checkpoint.is_long():
            with suppress(FileNotFoundError), opened(self.holds.path, os.O_RDONLY) as fd:
                os.fsync(fd)
            marks = self.all_marks().highest().merged(Marks(holds=self.holds.mark()))
            self.marks.cut(marks)
            self.checkpoint.cut(marks)

    def require_whole(self, fd: int, saved: Saved, all_marks: AllMarks) -> None:
        """Raise NotALedger if the open ledger is not the one of its checkpoint and marks, or is shorter."""
        size = size_of(fd)
        if saved.unusable and size == 0:
            raise NotALedger("the ledger is empty, but it has a checkpoint")
        marks = {*all_marks.ledger()}
        if saved.checkpoint is not None and saved.checkpoint.is_outdated:
            marks.add(saved.checkpoint.mark())
        for mark in sorted(marks, reverse=True):
            if size < mark.size:
                raise NotALedger(
                    f"the ledger is shorter ({size} bytes) than its checkpoint ({mark.size} bytes)"
                )
            if mark.crc_of(fd, mark.size) != mark.crc:
                raise NotALedger(f"the ledger is not the one of its checkpoint ({mark.size} bytes)")

    def _counted(
        self, fd: int, known: Checkpoint | None, now: datetime, progress: Progress | None
    ) -> tuple[Tally, bytes, bool]:
        """The sums of the open ledger, continued from `known`; the fragment at its end; and whether rows were
        added. Raises NotALedger.
        """
        tally = Tally.starting(self.persona, now) if known is None else known.tally
        covered = tally.size
        if known is not None and (known.is_outdated or not tally.knows(now)):
            tally, covered = _recounted(fd, known, now), -1
        tally.open_holds = self.holds
        fragment = scan(fd, tally, progress=progress)
        return tally, fragment, tally.size != covered

    def missing(self, saved: Saved, marks: Marks) -> str | None:
        """Why a missing ledger is damage; None if there is no sign that it ever existed."""
        was_there = (
            saved.unusable
            or (saved.checkpoint is not None and saved.checkpoint.tally.size)
            or marks.ledger.size
            or self.holds.ledger_size()
            or any(os.path.lexists(self.dir / name) for name in _DERIVED)
        )
        return "the ledger is gone, and its checkpoint says that there was one" if was_there else None

    def _save_if_newer(self, fresh: Checkpoint, marks: Marks) -> None:
        """Save a checkpoint that was read without the lock, unless one that covers more was saved.

        Raises OSError.
        """
        saved = self.checkpoint.load()
        if self.marks.read().merged(saved.marks).ledger <= fresh.mark():
            with opened(self.path, os.O_RDONLY) as fd:
                if fresh.matches(fd, size_of(fd)):
                    self.keep(fresh, marks, synced=0)


def _recounted(fd: int, known: Checkpoint, now: datetime) -> Tally:
    """The sums of the rows of `known` with all hours and days, which a clock that stepped back needs.

    Raises NotALedger if the rows no longer have the sum of the checkpoint.
    """
    before = known.tally
    tally = Tally.starting(before.persona, now)
    scan(fd, tally, before.size)
    if known.is_outdated:
        # Rows of other personas were not counted as bad before.
        agrees = tally.lifetime == before.lifetime and tally.bad_count >= before.bad_count
    else:
        agrees = tally.agrees_with(before)
    if not agrees:
        raise NotALedger("the ledger no longer adds up to its checkpoint")
    return tally


def scan(fd: int, tally: Tally, until: int = sys.maxsize, progress: Progress | None = None) -> bytes:
    """Count the whole lines after those that `tally` has, up to the byte `until`; returns the fragment after
    the last newline. `progress` is called after each block.

    Raises NotALedger if a line is longer than a block.
    """
    blocks = Blocks(fd, tally.size, until, progress)
    try:
        for block in blocks:
            tally.take(block)
    except LongLine as error:
        raise LongLine(error.byte, tally.lines + 1) from None
    return blocks.rest


def bad_line(path: Path, bad: BadLine) -> str:
    """The sentence that names an unreadable line."""
    return f"{path}: line {bad.line} (byte {bad.byte}) is unreadable: {bad.why}"
