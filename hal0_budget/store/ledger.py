"""The ledger of one persona, as readers see it: incremental, lock-free, never edited.

hal0's own server appends to the same file without our lock, so a reader takes whole lines as
they come and ignores the fragment at the end. What holds set aside is read along with it, because
the row that settles a hold stands in the ledger.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.errors import LedgerDamaged, LockTimeout
from hal0_budget.store.checkpoint import Checkpoint, CheckpointLog, CheckpointUnusable
from hal0_budget.store.durable import NotRegular, opened, size_of
from hal0_budget.store.holds import Closing, Hold, Holds, HoldsDamaged
from hal0_budget.store.layout import LOCK
from hal0_budget.store.lock import Lock
from hal0_budget.store.tally import BadLine, Tally
from hal0_budget.store.trail import grown

if TYPE_CHECKING:
    from hal0_budget.store.cache import Cache

# A block of a scan, and the longest line: one that fills a block is refused unread.
BLOCK = 256 * 1024

LEDGER = "spend.jsonl"
CHECKPOINT = "spend.checkpoint"
HOLDS = "spend.holds"
CACHE = "spend.cache"


# Told how many bytes of a file were read, and how many it has.
Progress = Callable[[int, int], None]


class NotALedger(Exception):
    """What stands in the ledger's place cannot be it; says why."""


class Reading(NamedTuple):
    """What a ledger adds up to and what is held beside it, as far as it can be told.

    `damage` says why the sum cannot be relied on as a whole; the tally then is the high-water
    mark that the checkpoint remembers. Unreadable lines are in the tally.
    """

    path: Path
    tally: Tally
    held: Decimal
    damage: str | None = None

    def problems(self) -> tuple[str, ...]:
        """A sentence for the damage and for each unreadable line; empty for a sound ledger."""
        found = [] if self.damage is None else [f"{self.path}: {self.damage}"]
        found += [bad_line(self.path, bad) for bad in self.tally.bad_lines]
        if unnamed := self.tally.bad_count - len(self.tally.bad_lines):
            found.append(f"{self.path}: {unnamed} more unreadable lines")
        return tuple(found)

    def sound(self) -> Reading:
        """This reading. Raises LedgerDamaged where its sum cannot be relied on."""
        problems = self.problems()
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise LedgerDamaged(
                f"{problems[0]}{more}; to see all and set it right: hal0-budget verify "
                f"{self.path.parent.name} --repair",
                path=str(self.path),
                problems=list(problems),
            )
        return self


class Ledger:
    """The spending of one persona, in the folder `spend_dir`, made by the first append."""

    def __init__(self, spend_dir: Path) -> None:
        self.dir = spend_dir
        self.path = spend_dir / LEDGER
        self.checkpoint = CheckpointLog(spend_dir / CHECKPOINT)
        self._cache: Cache | None = None
        self.lock = Lock(spend_dir / LOCK)
        self.holds = Holds(spend_dir / HOLDS)

    def read(self, now: datetime, progress: Progress | None = None) -> Reading:
        """What the ledger adds up to, and whether that can be relied on.

        Reads the rows that came after the checkpoint, or all where there is none, and refreshes
        the checkpoint where that is possible without waiting. Raises OSError.
        """
        reading, fresh = self.look(now, progress)
        # The journal of holds must hear of settled ones before a checkpoint passes their rows.
        if fresh is not None and not fresh.tally.settled:
            seen = self.holds.position
            with suppress(OSError, LockTimeout, HoldsDamaged), self.lock.held(0):
                self.holds.read()
                # A hold that came meanwhile may be settled by a row that was read as one of no hold.
                if self.holds.position == seen:
                    self._save_if_newer(fresh)
        return reading

    def cache(self) -> Cache:
        """The cache beside the ledger, kept open for the next look-up."""
        if self._cache is None:
            # The gate does without, and so do most charges.
            from hal0_budget.store.cache import Cache

            self._cache = Cache(self.dir / CACHE)
        return self._cache

    def open_holds(self, now: datetime) -> tuple[Hold, ...]:
        """The holds that count at `now`, oldest first. Raises OSError."""
        settled = self.look(now)[0].tally.settled
        ended = {hold.hold_id for hold in self.holds.expired(now) if hold.on_expiry == "release"} | settled
        return tuple(hold for hold in self.holds.open() if hold.hold_id not in ended)

    def look(self, now: datetime, progress: Progress | None = None) -> tuple[Reading, Checkpoint | None]:
        """The reading, and the checkpoint that it is worth saving, if any. Writes nothing."""
        try:
            # Before the rest, which only grows: what is read next covers the mark.
            mark, unusable = self.checkpoint.load(), False
        except CheckpointUnusable:
            mark, unusable = None, True
        damage = self._read_holds(mark)
        tally = mark.tally if mark else Tally.starting(now)
        covered = tally.size
        fresh = None
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                size = size_of(fd)
                if unusable and size == 0:
                    raise NotALedger("the ledger is empty, but it has a checkpoint")
                if mark is not None and not mark.matches(fd, size):
                    what = f"shorter ({size} bytes) than" if size < covered else "not the one of"
                    raise NotALedger(f"the ledger is {what} its checkpoint ({covered} bytes)")
                if not tally.knows_hours_of(now):
                    tally, covered = _recounted(fd, tally, now), -1
                tally.watched = self.holds
                fragment = scan(fd, tally, progress=progress)
                told = mark is None or mark.has_holds == self.holds.exists
                if damage is None and not (tally.size == covered and told):
                    tally.forget_hours_before(now)
                    trail = grown(mark.trail if mark else b"", covered, fd, tally.size)
                    fresh = Checkpoint.of(tally, fd, has_holds=self.holds.exists, trail=trail)
                tally = tally.with_fragment(fragment)
        except FileNotFoundError:
            if unusable or covered:
                damage = "the ledger is gone, and its checkpoint says that there was one"
        except (NotRegular, NotALedger) as error:
            damage = error.strerror if isinstance(error, NotRegular) else str(error)
        return Reading(self.path, tally, self.holds.held(now, tally.settled), damage), fresh

    def keep(self, fresh: Checkpoint) -> None:
        """Save a checkpoint, once the journal knows which holds the rows that it passes have settled.

        The caller holds the lock. Raises OSError where the journal cannot be told.
        """
        if settled := sorted(fresh.tally.settled):
            self.holds.append(*(Closing(hold_id, "settled") for hold_id in settled))
        with suppress(OSError):
            self.checkpoint.save(fresh)

    def _read_holds(self, mark: Checkpoint | None) -> str | None:
        """Take what the journal of holds has gained; what is wrong with it, if anything."""
        try:
            self.holds.read()
        except (HoldsDamaged, NotRegular) as error:
            return f"its journal of holds, {HOLDS}: {error}"
        if mark and mark.has_holds and not self.holds.exists:
            return f"its journal of holds, {HOLDS}, is gone or empty"
        return None

    def _save_if_newer(self, fresh: Checkpoint) -> None:
        """Save a checkpoint that was read without the lock, unless one that covers more was saved."""
        try:
            current = self.checkpoint.load()
        except CheckpointUnusable:
            current = None
        if current is None or current.tally.size <= fresh.tally.size:
            self.checkpoint.save(fresh)


def _recounted(fd: int, known: Tally, now: datetime) -> Tally:
    """What `known` counted, with the hours that it dropped: a clock that stepped back needs them.

    Raises NotALedger where the rows no longer come to what they came to before.
    """
    tally = Tally.starting(now)
    scan(fd, tally, known.size)
    if not tally.agrees_with(known):
        raise NotALedger("the ledger no longer adds up to its checkpoint")
    return tally


def scan(fd: int, tally: Tally, until: int = sys.maxsize, progress: Progress | None = None) -> bytes:
    """Count the whole lines after those that `tally` has, up to the byte `until`; the fragment after
    the last newline. `progress` is told of each block.

    Memory stays at one block, however long the file. Raises NotALedger where a line fills a block.
    """
    while True:
        # No more than there is: a buffer of a whole block costs more than to read a row.
        size = min(size_of(fd), until)
        if size <= tally.size:
            return b""
        block = os.pread(fd, min(BLOCK, size - tally.size), tally.size)
        end = block.rfind(b"\n") + 1
        if end:
            tally.take(block[:end])
            if progress is not None:
                progress(tally.size, size)
        elif len(block) == BLOCK:
            line = f"line {tally.lines + 1} (byte {tally.size})"
            raise NotALedger(f"{line} is longer than {BLOCK} bytes")
        else:
            return block


def bad_line(path: Path, bad: BadLine) -> str:
    """The sentence that names an unreadable line."""
    return f"{path}: line {bad.line} (byte {bad.byte}) is unreadable: {bad.why}"
