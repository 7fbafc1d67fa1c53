"""The checkpoint: a tally kept beside the ledger, so that nobody reads the whole ledger twice.

It is derived, and deleting it costs one scan. It is also the high-water mark: a ledger that is
shorter than its checkpoint, or does not match it, was damaged.

The file is a short log: every line is a whole checkpoint with its own CRC-32, the last good one
counts, and a log that grows long is replaced by its last line. Appending costs a tenth of what
replacing a file does, and a crash in the middle leaves the line before. Version 1: totals by day
and by hour, unreadable lines, and the CRC-32 of the ledger's last bytes that it covers.
"""

from __future__ import annotations

import json
import os
from binascii import crc32
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hal0_budget.money import plain
from hal0_budget.store.durable import NotRegular, opened, size_of, write_whole
from hal0_budget.store.tally import BadLine, Tally

VERSION = 1

# How many of the ledger's last covered bytes must be the same for the two to match.
_MATCHED = 4096

# A log of so many lines, or of so few bytes, is still short.
_LINES = 8
_SHORT = 16 * 1024
_LONGEST_LOG = 512 * 1024

# Longer than the line of any ledger: a century and a half of days. What is longer is not read.
_LONGEST_LINE = 2 * 1024 * 1024
_HEAD = b'{"crc32":'


class CheckpointUnusable(Exception):
    """A checkpoint is there and cannot be used; says why."""


class Checkpoint(NamedTuple):
    """A tally, the CRC-32 of the last bytes that it covers, and whether there is a journal of holds."""

    tally: Tally
    crc: int
    has_holds: bool

    @classmethod
    def of(cls, tally: Tally, ledger: int, *, has_holds: bool) -> Checkpoint:
        """The checkpoint of a tally of the open file `ledger`."""
        return cls(tally, last_crc(ledger, tally.size), has_holds)

    def matches(self, ledger: int) -> bool:
        """Whether the open file `ledger` still begins as it did, as far as its size and the last
        bytes covered tell.
        """
        return size_of(ledger) >= self.tally.size and last_crc(ledger, self.tally.size) == self.crc


def load(path: Path) -> Checkpoint | None:
    """The last good checkpoint at `path`; None where there is no file.

    Raises CheckpointUnusable where none of the file's lines is good, OSError.
    """
    try:
        with opened(path, os.O_RDONLY) as fd:
            size = size_of(fd)
            if size > _LONGEST_LINE:
                raise CheckpointUnusable(f"longer than {_LONGEST_LINE} bytes")
            data = os.pread(fd, size, 0)
    except FileNotFoundError:
        return None
    except NotRegular as error:
        raise CheckpointUnusable(error.strerror) from None
    for line in reversed(data.split(b"\n")):
        body = _checked_body(line)
        if body is not None:
            try:
                return _from_json(json.loads(body))
            except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):
                raise CheckpointUnusable("its last good line is no checkpoint") from None
    raise CheckpointUnusable("none of its lines has the right checksum")


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Make `checkpoint` the last one at `path`; the caller holds the lock. Raises OSError.

    Without fsync: after a power cut an old checkpoint, or none, costs a scan and nothing else.
    """
    body = json.dumps(_to_json(checkpoint), separators=(",", ":")).encode("ascii")
    line = b'%s%d,"checkpoint":%s}\n' % (_HEAD, crc32(body), body)
    with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
        size = size_of(fd)
        longest = min(max(_SHORT, _LINES * len(line)), _LONGEST_LOG)
        if size == 0 or (size + len(line) <= longest and os.pread(fd, 1, size - 1) == b"\n"):
            write_whole(fd, line)
            return
    temporary = path.with_name(f".{path.name}.new")
    with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        write_whole(fd, line)
    os.replace(temporary, path)


def _checked_body(line: bytes) -> bytes | None:
    head, found, rest = line.partition(b',"checkpoint":')
    body = rest[:-1]
    return body if found and head == b"%s%d" % (_HEAD, crc32(body)) else None


def last_crc(ledger: int, size: int) -> int:
    """The CRC-32 of the last bytes of the first `size` of an open file: what tells it from another."""
    length = min(size, _MATCHED)
    return crc32(os.pread(ledger, length, size - length))


def _to_json(checkpoint: Checkpoint) -> dict[str, object]:
    tally = checkpoint.tally
    return {
        "version": VERSION,
        "size": tally.size,
        "crc": checkpoint.crc,
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


def _from_json(found: dict[str, Any]) -> Checkpoint:
    if found["version"] != VERSION:
        raise CheckpointUnusable(f"version {found['version']} is not known to this program")
    tally = Tally(found["hours_from"])
    tally.size = found["size"]
    tally.lines = found["lines"]
    tally.rows = found["rows"]
    tally.torn = found["torn"]
    tally.lifetime = Decimal(found["lifetime"])
    tally.unconfirmed = Decimal(found["unconfirmed"])
    tally.hours = found["hours"]
    tally.days = found["days"]
    tally.bad_count = found["bad_count"]
    tally.bad_lines = [BadLine(line, byte, why) for line, byte, why in found["bad_lines"]]
    return Checkpoint(tally, found["crc"], found["has_holds"])
