"""The checkpoint: a tally kept beside the ledger, so that no command but the first reads the whole ledger.

It is derived, and deleting it costs one scan. It is also a high-water mark: a ledger that is shorter than its
checkpoint, or does not match it, was damaged.

The file is a log of two kinds of line: a whole checkpoint, as JSON with a CRC-32, of which the last good one
counts, and marks (see `marks`). Appending a line costs a tenth of what replacing the file does, and a crash
in the middle leaves the line before. A log that grew long is replaced by its last checkpoint and the highest
marks.

Version 1: totals by day and by hour, unreadable lines, and the CRC-32 of the last ledger bytes that it
covers; whole lines only. Version 2: lines with only the days and hours that changed. Version 3: whole lines
again, days long past by month and year, marks. Of versions 1 and 2 only the size and the lifetime sum are
used: the ledger is scanned once and must come to them.
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64, b2a_base64, crc32
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hal0_budget.durable import NotRegular, opened, replace, size_of, write_whole
from hal0_budget.model.money import plain
from hal0_budget.stores.files.growth import Gained, Growth
from hal0_budget.stores.files.marks import HoldsMark, LedgerMark, Marks, marks_in, may_be_mark, owner_of
from hal0_budget.stores.files.tally import BadLine, Tally

VERSION = 3

# The end of the log that a reader looks at first: longer than a whole line and all marks between two
# cuts.
_TAIL = 32 * 1024
_MOST_MARKS = 8 * 1024
_LONGEST_LOG = 512 * 1024
# Longer than the log of any ledger. What is longer is not read.
_LONGEST = 2 * 1024 * 1024
_HEAD = b'{"crc32":'
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Checkpoint(NamedTuple):
    """A tally, the CRC-32 of the last ledger bytes that it covers, the ledger's epoch (see `LedgerMark`) and
    the trail of the last lines that it covers.

    Of one that `is_outdated`, of an earlier version, only the tally's size, lifetime sum and number of bad
    lines are known.
    """

    tally: Tally
    crc: int
    epoch: int = 0
    trail: bytes = b""
    is_outdated: bool = False

    @classmethod
    def of(cls, tally: Tally, ledger: int, epoch: int, trail: bytes = b"", covered: int = 0) -> Checkpoint:
        """The checkpoint of a tally of the open `ledger`, whose first `covered` bytes have that trail."""
        # Most checks find nothing new and make no checkpoint.
        from hal0_budget.stores.files.trail import grown

        trail = grown(trail, covered, ledger, tally.size)
        return cls(tally, LedgerMark.crc_of(ledger, tally.size), epoch, trail)

    def matches(self, ledger: int, size: int) -> bool:
        """Whether the open file `ledger`, of so many bytes, still begins as it did, as far as its size
        and the last bytes covered tell.
        """
        return size >= self.tally.size and LedgerMark.crc_of(ledger, self.tally.size) == self.crc

    def mark(self) -> LedgerMark:
        """The mark that the checkpoint is, because it is saved after an fsync of what it covers."""
        return LedgerMark(self.epoch, self.tally.size, self.crc)


class Saved(NamedTuple):
    """What the file says: the last checkpoint, the highest marks, and why it is unusable, if it is."""

    checkpoint: Checkpoint | None = None
    marks: Marks = Marks()
    unusable: str | None = None


class CheckpointLog:
    """The checkpoint file at `path`. What was read or written of it last is not read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._persona = path.parent.name
        self._owner = owner_of(path)
        self._growth = Growth()
        self._saved = Saved()
        # The last checkpoint with its line, and how many bytes of marks follow it.
        self._last: tuple[bytes, Checkpoint | None] = (b"", None)
        self._marks_size = 0

    def load(self) -> Saved:
        """What the file says; the tally is the caller's to go on with. Raises OSError."""
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                gained = self._growth.gained(fd, _TAIL)
                if gained is not None:
                    self._read(fd, gained)
        except FileNotFoundError:
            self._forget()
        except NotRegular as error:
            self._forget()
            return Saved(unusable=error.strerror)
        checkpoint = self._saved.checkpoint
        if checkpoint is None:
            return self._saved
        tally = checkpoint.tally.copy()
        # Settled holds belong to the scan that found them, not to the checkpoint.
        tally.settled.clear()
        return self._saved._replace(checkpoint=checkpoint._replace(tally=tally))

    def save(self, checkpoint: Checkpoint, holds: HoldsMark) -> None:
        """Make `checkpoint` the last one, with the mark of the journal of holds.

        The caller holds the lock, has synced the ledger, and does not go on with the tally. The checkpoint is
        not synced: after a power cut an old one, or none, costs a scan and nothing else. Raises OSError.
        """
        marks = self._saved.marks.merged(Marks(checkpoint.mark(), holds))
        line = _line(_to_json(checkpoint, self._owner))
        if self._is_written(marks.lines(self._owner) + line + b"\n"):
            self._saved, self._last, self._marks_size = Saved(checkpoint, marks), (line, checkpoint), 0

    def renew(self, checkpoint: Checkpoint | None, marks: Marks) -> None:
        """Replace the file durably by one with that checkpoint, if any, and those marks alone.

        The caller holds the lock. Raises OSError.
        """
        line = b"" if checkpoint is None else _line(_to_json(checkpoint, self._owner)) + b"\n"
        replace(self.path, marks.lines(self._owner) + line)
        self._forget()

    def append_mark(self, marks: Marks) -> None:
        """Append marks. Needs no lock. Raises OSError."""
        with opened(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as fd:
            text = b"\n" + marks.lines(self._owner)
            write_whole(fd, text)
            if self._growth.advance(fd, text):
                self._saved = self._saved._replace(marks=self._saved.marks.merged(marks))
                self._marks_size += len(text)

    def is_long(self) -> bool:
        """Whether there are many marks behind the last checkpoint, as the file was last read."""
        return self._marks_size > _MOST_MARKS

    def cut(self, marks: Marks) -> None:
        """Replace a log with many marks by its last checkpoint and `marks`, the highest of all.

        The caller holds the lock. Raises OSError.
        """
        if self.is_long():
            self._replace(marks.lines(self._owner) + self._last[0] + b"\n")

    def _forget(self) -> None:
        self._growth.forget()
        self._saved, self._last, self._marks_size = Saved(), (b"", None), 0

    def _is_written(self, text: bytes) -> bool:
        """Write `text` to the end of the log, or in place of one that is long. False if the log must be read
        again to know what it says.
        """
        try:
            with opened(self.path, os.O_WRONLY | os.O_APPEND) as fd:
                if size_of(fd) <= _LONGEST_LOG:
                    # What a crash left of a line before ends here.
                    text = b"\n" + text
                    write_whole(fd, text)
                    return self._growth.advance(fd, text)
        except FileNotFoundError:
            pass
        self._replace(text)
        return False

    def _replace(self, text: bytes) -> None:
        temporary = self.path.with_name(f".{self.path.name}.new")
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            write_whole(fd, text)
            os.replace(temporary, self.path)

    def _read(self, fd: int, gained: Gained) -> None:
        """Take what the open file gained. Raises OSError."""
        if not gained.is_more:
            self._saved, self._marks_size = Saved(), 0
        if self._growth.size > _LONGEST:
            self._saved = Saved(unusable=f"longer than {_LONGEST} bytes")
            return
        self._take(gained.data)
        if self._saved.checkpoint is None and not gained.is_more and self._growth.size > _TAIL:
            self._take(os.pread(fd, self._growth.size, 0))

    def _take(self, data: bytes) -> None:
        """Take the last good checkpoint among the lines of `data`, and the highest marks."""
        marks, before = marks_in(data, self._owner).merged(self._saved.marks), self._saved.checkpoint
        line, body, behind = _last_good_line(data)
        if body is None:
            self._marks_size += behind
            unusable = None
            if before is None and not all(map(may_be_mark, data.split(b"\n"))):
                unusable = "no line has a valid checksum"
            self._saved = Saved(before, marks, unusable)
            return
        checkpoint = self._parsed(line, body)
        if checkpoint is None:
            self._saved = Saved(None, marks, "its last good line is not a checkpoint")
            return
        self._last, self._marks_size = (line, checkpoint), behind
        if not checkpoint.is_outdated:
            marks = marks.merged(Marks(ledger=checkpoint.mark()))
        elif b'"has_holds":true' in body:
            # There was a journal of holds.
            marks = marks.merged(Marks(holds=HoldsMark(size=1)))
        self._saved = Saved(checkpoint, marks)

    def _parsed(self, line: bytes, body: bytes) -> Checkpoint | None:
        known, checkpoint = self._last
        if line == known and checkpoint is not None:
            return checkpoint
        try:
            return _from_json(json.loads(body), self._persona, self._owner)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError):
            return None


def _line(found: dict[str, object]) -> bytes:
    """The line of a checkpoint, without its newline."""
    body = _ENCODER.encode(found).encode("ascii")
    return b'%s%d,"checkpoint":%s}' % (_HEAD, crc32(body), body)


def _last_good_line(data: bytes) -> tuple[bytes, bytes | None, int]:
    """The last line of `data` that has a checkpoint with a valid checksum, the checkpoint's bytes, and how
    many bytes follow the line; without one, no checkpoint and the size of `data`.
    """
    data = b"\n" + data
    end = len(data)
    while (begin := data.rfind(b"\n" + _HEAD, 0, end)) >= 0:
        line = data[begin + 1 :].partition(b"\n")[0]
        body = _checked_body(line)
        if body is not None:
            return line, body, len(data) - (begin + 1 + len(line))
        end = begin + 1
    return b"", None, len(data) - 1


def _checked_body(line: bytes) -> bytes | None:
    head, found, rest = line.partition(b',"checkpoint":')
    body = rest[:-1]
    return body if found and head == b"%s%d" % (_HEAD, crc32(body)) else None


def _to_json(checkpoint: Checkpoint, owner: str) -> dict[str, object]:
    tally = checkpoint.tally
    return {
        "version": VERSION,
        "owner": owner,
        "epoch": checkpoint.epoch,
        "size": tally.size,
        "crc": checkpoint.crc,
        "trail": b2a_base64(checkpoint.trail, newline=False).decode("ascii"),
        "lines": tally.lines,
        "rows": tally.rows,
        "torn": tally.torn,
        "lifetime": plain(tally.lifetime),
        "unconfirmed": plain(tally.unconfirmed),
        "hours_from": tally.hours_from,
        "hours": tally.hours,
        "days": tally.days,
        "bad_count": tally.bad_count,
        "bad_lines": [[bad.line, bad.byte, bad.why] for bad in tally.bad_lines],
    }


def _from_json(found: dict[str, Any], persona: str, owner: str) -> Checkpoint | None:
    """The checkpoint that a line's body is; None if its version is not known, or it is another persona's.

    Raises on a wrong body.
    """
    if found["version"] not in (1, 2, VERSION) or found.get("owner", owner) != owner:
        return None
    tally = Tally(persona, found["hours_from"])
    tally.size = found["size"]
    tally.lifetime = Decimal(found["lifetime"])
    tally.bad_count = found["bad_count"]
    if found["version"] < VERSION:
        return Checkpoint(tally, found["crc"], is_outdated=True)
    tally.lines = found["lines"]
    tally.rows = found["rows"]
    tally.torn = found["torn"]
    tally.unconfirmed = Decimal(found["unconfirmed"])
    tally.days = found["days"]
    tally.hours = {hour: usd for hour, usd in found["hours"].items() if hour >= tally.hours_from}
    tally.bad_lines = [BadLine(line, byte, why) for line, byte, why in found["bad_lines"]]
    return Checkpoint(tally, found["crc"], found["epoch"], a2b_base64(found["trail"]))
