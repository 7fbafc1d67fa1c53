"""The checkpoint: a saved tally of the ledger, so that only the first command reads the whole ledger.

It is derived: deleting it costs one scan. It is also a high-water mark: a ledger that is shorter than its
checkpoint, or does not match it, was damaged.

The file is a log with two kinds of lines: checkpoints, as JSON with a CRC-32, of which the last sound one
counts, and marks (see `marks`). Appending a line costs a tenth of the time of replacing the file, and after a
crash in the middle the previous line counts. A long log is replaced by its last checkpoint and the highest
marks.

Version 1: totals by day and by hour, unreadable lines, and the CRC-32 of the last ledger bytes that it
covers. Version 2: lines with only the days and hours that changed. Version 3: complete lines again, months
and years instead of days long past, marks. Of versions 1 and 2 only the size and the lifetime sum are used:
the ledger is scanned once and must agree with them.
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

# The end of the log that is read first: longer than one checkpoint and all marks between two cuts.
_TAIL = 32 * 1024
_MOST_MARKS = 8 * 1024
_LONGEST_LOG = 512 * 1024
# Longer than any log of this program. A longer file is not read.
_LONGEST = 2 * 1024 * 1024
_HEAD = b'{"crc32":'
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Checkpoint(NamedTuple):
    """A tally, the CRC-32 of the last ledger bytes that it covers, the ledger's epoch (see `LedgerMark`) and
    the trail of the last lines that it covers.

    If `is_outdated`, it is of an earlier version: only the tally's size, lifetime sum and number of bad
    lines are known.
    """

    tally: Tally
    crc: int
    epoch: int = 0
    trail: bytes = b""
    is_outdated: bool = False

    @classmethod
    def of(cls, tally: Tally, ledger: int, epoch: int, trail: bytes = b"", covered: int = 0) -> Checkpoint:
        """Return the checkpoint of a tally of `ledger`; `trail` is that of its first `covered` bytes."""
        # Imported here, because most checks find nothing new and make no checkpoint.
        from hal0_budget.stores.files.trail import grown

        trail = grown(trail, covered, ledger, tally.size)
        return cls(tally, LedgerMark.crc_of(ledger, tally.size), epoch, trail)

    def matches(self, ledger: int, size: int) -> bool:
        """Return whether the open `ledger`, of `size` bytes, is long enough and has the same last covered
        bytes.
        """
        return size >= self.tally.size and LedgerMark.crc_of(ledger, self.tally.size) == self.crc

    def mark(self) -> LedgerMark:
        """Return the checkpoint as a mark: it is saved only after an fsync of the bytes that it covers."""
        return LedgerMark(self.epoch, self.tally.size, self.crc)


class Saved(NamedTuple):
    """The contents of the file: the last checkpoint, the highest marks, and why it is unusable, if it is."""

    checkpoint: Checkpoint | None = None
    marks: Marks = Marks()
    unusable: str | None = None


class CheckpointLog:
    """The checkpoint file at `path`. Each call reads only what was appended since the last one."""

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
        """Read the file. The caller may change the tally of the result. Raises OSError."""
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
        """Append `checkpoint`, and the mark of the journal of holds.

        The caller holds the lock, has synced the ledger, and must not change the tally later. The checkpoint
        is not synced: if a power cut loses it, that costs a scan and nothing else. Raises OSError.
        """
        marks = self._saved.marks.merged(Marks(checkpoint.mark(), holds))
        line = _line(_to_json(checkpoint, self._owner))
        if self._is_written(marks.lines(self._owner) + line + b"\n"):
            self._saved, self._last, self._marks_size = Saved(checkpoint, marks), (line, checkpoint), 0

    def renew(self, checkpoint: Checkpoint | None, marks: Marks) -> None:
        """Replace the file durably by one with only that checkpoint, if any, and those marks.

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
        """Return whether many marks followed the last checkpoint at the last read."""
        return self._marks_size > _MOST_MARKS

    def cut(self, marks: Marks) -> None:
        """Replace a log with many marks by its last checkpoint and `marks`, the highest marks.

        The caller holds the lock. Raises OSError.
        """
        if self.is_long():
            self._replace(marks.lines(self._owner) + self._last[0] + b"\n")

    def _forget(self) -> None:
        self._growth.forget()
        self._saved, self._last, self._marks_size = Saved(), (b"", None), 0

    def _is_written(self, text: bytes) -> bool:
        """Append `text` to the log, or replace a long log by it; return False if it must be read again."""
        try:
            with opened(self.path, os.O_WRONLY | os.O_APPEND) as fd:
                if size_of(fd) <= _LONGEST_LOG:
                    # The newline ends an incomplete line after a crash.
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
        """Process what was appended to the open file. Raises OSError."""
        if not gained.is_more:
            self._saved, self._marks_size = Saved(), 0
        if self._growth.size > _LONGEST:
            self._saved = Saved(unusable=f"longer than {_LONGEST} bytes")
            return
        self._parse(gained.data)
        if self._saved.checkpoint is None and not gained.is_more and self._growth.size > _TAIL:
            self._parse(os.pread(fd, self._growth.size, 0))

    def _parse(self, data: bytes) -> None:
        """Find the last sound checkpoint among the lines of `data`, and the highest marks."""
        marks, before = marks_in(data, self._owner).merged(self._saved.marks), self._saved.checkpoint
        line, body, rest = _last_good_line(data)
        if body is None:
            self._marks_size += rest
            unusable = None
            if before is None and not all(map(may_be_mark, data.split(b"\n"))):
                unusable = "no line has a valid checksum"
            self._saved = Saved(before, marks, unusable)
            return
        checkpoint = self._checkpoint_of(line, body)
        if checkpoint is None:
            self._saved = Saved(None, marks, "its last sound line is not a checkpoint")
            return
        self._last, self._marks_size = (line, checkpoint), rest
        if not checkpoint.is_outdated:
            marks = marks.merged(Marks(ledger=checkpoint.mark()))
        elif b'"has_holds":true' in body:
            # There was a journal of holds.
            marks = marks.merged(Marks(holds=HoldsMark(size=1)))
        self._saved = Saved(checkpoint, marks)

    def _checkpoint_of(self, line: bytes, body: bytes) -> Checkpoint | None:
        known, checkpoint = self._last
        if line == known and checkpoint is not None:
            return checkpoint
        try:
            return _from_json(json.loads(body), self._persona, self._owner)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError):
            return None


def _line(found: dict[str, object]) -> bytes:
    """Return the line of a checkpoint, without its newline."""
    body = _ENCODER.encode(found).encode("ascii")
    return b'%s%d,"checkpoint":%s}' % (_HEAD, crc32(body), body)


def _last_good_line(data: bytes) -> tuple[bytes, bytes | None, int]:
    """Return the last line of `data` that is a checkpoint with a valid checksum, the bytes of the checkpoint,
    and how many bytes follow the line. Without such a line: b"", None and the size of `data`.
    """
    data = b"\n" + data + b"\n"
    end = len(data)
    while (begin := data.rfind(b"\n" + _HEAD, 0, end)) >= 0:
        line = data[begin + 1 : data.find(b"\n", begin + 1)]
        body = _checked_body(line)
        if body is not None:
            return line, body, len(data) - 1 - (begin + 1 + len(line))
        end = begin + 1
    return b"", None, len(data) - 2


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
    """Return the checkpoint in the body of a line; None if its version is unknown, or it has another owner.

    Raises LookupError, TypeError, AttributeError, ValueError, ArithmeticError for an invalid body.
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
