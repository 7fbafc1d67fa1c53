"""The checkpoint: a tally kept beside the ledger, so that nobody reads the whole ledger twice.

It is derived, and deleting it costs one scan. It is also the high-water mark: a ledger that is
shorter than its checkpoint, or does not match it, was damaged.

The file is a short log of lines with a CRC-32 each: first a whole checkpoint, then changes of it,
each with those days and hours alone that are not as in the whole one that it names by its CRC-32. The
last good line counts, and a log that grows long is replaced by one whole line. Appending a change
costs a tenth of what replacing a file does, and a crash in the middle leaves the line before.

Version 1: totals by day and by hour, unreadable lines, and the CRC-32 of the ledger's last bytes that
it covers; whole lines only. Version 2: changes.
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64, b2a_base64, crc32
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from hal0_budget.money import plain
from hal0_budget.store.durable import NotRegular, identity_of, opened, write_whole
from hal0_budget.store.tally import BadLine, Tally
from hal0_budget.store.trail import newest

VERSION = 2

# How many of the ledger's last covered bytes must be the same for the two to match.
_MATCHED = 4096

# So many bytes of changes may follow a whole checkpoint, which is read each time that they are.
_MOST_CHANGES = 16 * 1024

# Longer than the line of any ledger: a century and a half of days. What is longer is not read.
_LONGEST = 2 * 1024 * 1024
_HEAD = b'{"crc32":'


class CheckpointUnusable(Exception):
    """A checkpoint is there and cannot be used; says why."""


class Checkpoint(NamedTuple):
    """A tally, the CRC-32 of the last bytes that it covers, whether there is a journal of holds, and the
    trail of the last lines covered.
    """

    tally: Tally
    crc: int
    has_holds: bool
    trail: bytes = b""

    @classmethod
    def of(cls, tally: Tally, ledger: int, *, has_holds: bool, trail: bytes) -> Checkpoint:
        """The checkpoint of a tally of the open file `ledger`."""
        return cls(tally, last_crc(ledger, tally.size), has_holds, trail)

    def matches(self, ledger: int, size: int) -> bool:
        """Whether the open file `ledger`, of so many bytes, still begins as it did, as far as its size
        and the last bytes covered tell.
        """
        return size >= self.tally.size and last_crc(ledger, self.tally.size) == self.crc


class _Whole(NamedTuple):
    """A whole checkpoint as changes go by it: the CRC-32 of its line's body, its bytes, days and hours, how
    many lines of the ledger it covers, and their trail.
    """

    crc: int
    size: int
    days: dict[str, str]
    hours: dict[str, str]
    lines: int
    trail: bytes


class CheckpointLog:
    """The checkpoint file at `path`. What was read or written of it last is not read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int, int, int] | None = None
        self._last: Checkpoint | None = None
        self._whole: _Whole | None = None

    def load(self) -> Checkpoint | None:
        """The last good checkpoint, for the caller to go on with; None where there is no file.

        Raises CheckpointUnusable where none of the file's lines can be used, OSError.
        """
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                identity = identity_of(os.fstat(fd))
                if identity != self._identity or self._last is None:
                    self._identity = None
                    self._last, self._whole = _read(fd, identity[2])
                    self._identity = identity
        except FileNotFoundError:
            return None
        except NotRegular as error:
            raise CheckpointUnusable(error.strerror) from None
        tally = self._last.tally.copy()
        # Of the moment when it was written, and no part of it.
        tally.settled.clear()
        return self._last._replace(tally=tally)

    def save(self, checkpoint: Checkpoint) -> None:
        """Make `checkpoint` the last one; the caller holds the lock, and does not go on with it.

        Without fsync: after a power cut an old checkpoint, or none, costs a scan and nothing else.
        Raises OSError.
        """
        if self._append_change(checkpoint):
            return
        line, crc = _line(_to_json(checkpoint))
        temporary = self.path.with_name(f".{self.path.name}.new")
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            write_whole(fd, line)
            os.replace(temporary, self.path)
            tally = checkpoint.tally
            self._remember(
                checkpoint, _Whole(crc, len(line), tally.days, tally.hours, tally.lines, checkpoint.trail), fd
            )

    def _append_change(self, checkpoint: Checkpoint) -> bool:
        """Append `checkpoint` as a change; False where there is nothing known that it would change, or
        too much follows that.
        """
        try:
            with opened(self.path, os.O_WRONLY | os.O_APPEND) as fd:
                identity = identity_of(os.fstat(fd))
                whole = self._whole if identity == self._identity else None
                if whole is None or identity[2] > whole.size + _MOST_CHANGES:
                    return False
                write_whole(fd, _line(_to_json(checkpoint, whole))[0])
                self._remember(checkpoint, whole, fd)
                return True
        except FileNotFoundError:
            return False

    def _remember(self, checkpoint: Checkpoint, whole: _Whole, fd: int) -> None:
        self._identity, self._last, self._whole = identity_of(os.fstat(fd)), checkpoint, whole


def _read(fd: int, size: int) -> tuple[Checkpoint, _Whole | None]:
    """The last good checkpoint of an open file, and the whole one that more changes may go by.

    Raises CheckpointUnusable, OSError.
    """
    if size > _LONGEST:
        raise CheckpointUnusable(f"longer than {_LONGEST} bytes")
    data = os.pread(fd, size, 0)
    lines = data.split(b"\n")
    for line in reversed(lines):
        body = _checked_body(line)
        if body is not None:
            try:
                found = _from_json(body, lines)
            except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError):
                raise CheckpointUnusable("its last good line is no checkpoint") from None
            if found is not None:
                checkpoint, whole = found
                # Nothing is appended to half a line.
                return checkpoint, whole if data.endswith(b"\n") else None
    raise CheckpointUnusable("none of its lines has the right checksum and goes by one that has")


def _line(found: dict[str, object]) -> tuple[bytes, int]:
    """The line of a checkpoint, and the CRC-32 of its body."""
    body = json.dumps(found, separators=(",", ":")).encode("ascii")
    crc = crc32(body)
    return b'%s%d,"checkpoint":%s}\n' % (_HEAD, crc, body), crc


def _checked_body(line: bytes) -> bytes | None:
    head, found, rest = line.partition(b',"checkpoint":')
    body = rest[:-1]
    return body if found and head == b"%s%d" % (_HEAD, crc32(body)) else None


def last_crc(ledger: int, size: int) -> int:
    """The CRC-32 of the last bytes of the first `size` of an open file: what tells it from another."""
    length = min(size, _MATCHED)
    return crc32(os.pread(ledger, length, size - length))


def _to_json(checkpoint: Checkpoint, whole: _Whole | None = None) -> dict[str, object]:
    """A checkpoint as its line has it; where `whole` is given, as a change of that."""
    tally = checkpoint.tally
    found = {
        "version": VERSION,
        "size": tally.size,
        "crc": checkpoint.crc,
        "trail": b2a_base64(checkpoint.trail, newline=False).decode("ascii"),
        "has_holds": checkpoint.has_holds,
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
    if whole is None:
        return found
    changes = {"hours": _changed(tally.hours, whole.hours), "days": _changed(tally.days, whole.days)}
    trail = newest(checkpoint.trail, tally.lines - whole.lines)
    return found | changes | {"since": whole.crc, "trail": b2a_base64(trail, newline=False).decode("ascii")}


def _changed(sums: dict[str, str], before: dict[str, str]) -> dict[str, str]:
    return {time: usd for time, usd in sums.items() if before.get(time) != usd}


def _from_json(body: bytes, lines: Sequence[bytes]) -> tuple[Checkpoint, _Whole] | None:
    """The checkpoint of a line's body, and the whole one that it changes, which may be itself.

    None where that is not there. Raises CheckpointUnusable, and all that a wrong body may raise.
    """
    found = json.loads(body)
    if found["version"] not in (1, VERSION):
        raise CheckpointUnusable(f"version {found['version']} is not known to this program")
    crc = found.get("since", crc32(body))
    whole = _whole(crc, lines)
    if whole is None:
        return None
    tally = Tally(found["hours_from"])
    tally.size = found["size"]
    tally.lines = found["lines"]
    tally.rows = found["rows"]
    tally.torn = found["torn"]
    tally.lifetime = Decimal(found["lifetime"])
    tally.unconfirmed = Decimal(found["unconfirmed"])
    tally.days = whole.days | found["days"]
    hours = whole.hours | found["hours"]
    tally.hours = {hour: usd for hour, usd in hours.items() if hour >= tally.hours_from}
    tally.bad_count = found["bad_count"]
    tally.bad_lines = [BadLine(line, byte, why) for line, byte, why in found["bad_lines"]]
    trail = a2b_base64(found.get("trail", ""))
    if "since" in found:
        trail = newest(whole.trail + trail)
    return Checkpoint(tally, found["crc"], found["has_holds"], trail), whole


def _whole(crc: int, lines: Sequence[bytes]) -> _Whole | None:
    """The whole checkpoint whose line has that CRC-32."""
    for line in lines:
        if line.startswith(b"%s%d," % (_HEAD, crc)) and (body := _checked_body(line)) is not None:
            found = json.loads(body)
            if "since" not in found:
                # One that was written before there was a trail has none.
                trail = a2b_base64(found.get("trail", ""))
                return _Whole(crc, len(line) + 1, found["days"], found["hours"], found["lines"], trail)
    return None
