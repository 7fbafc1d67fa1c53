"""The audit of rows: each line by itself, next to the others, and against what was recorded of it."""

from __future__ import annotations

from binascii import crc32
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from hal0_budget.stores.base import Finding
from hal0_budget.stores.files.blocks import Blocks, LongLine, numbered_lines
from hal0_budget.stores.files.finding import damage
from hal0_budget.stores.files.row_format import TORN_MARK, lines_and_rows, parse_row
from hal0_budget.stores.files.segments import hash_of
from hal0_budget.stores.files.torn_writes import is_several
from hal0_budget.stores.files.trail import Line
from hal0_budget.strict_json import Unreadable

# How far to look for a line that is not where it was.
_AHEAD = 64

# How many request ids are compared in one pass over a ledger.
_IDS_AT_ONCE = 500_000


class FoundLine(NamedTuple):
    """A line as it is now: its number, first byte, length and CRC-32."""

    number: int
    byte: int
    length: int
    crc: int


class LineReader:
    """Every whole line of an open ledger, and what is wrong with each by itself.

    `voids` has the number and first byte of the row that takes back each request id.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._persona = path.parent.name
        self._own = b'"persona_id":"%s"' % self._persona.encode()
        self.count = 0
        self.rows = 0
        self.findings: list[Finding] = []
        self.voids: dict[str, tuple[int, int]] = {}

    def lines(self) -> Iterator[FoundLine]:
        """The lines, first to last; `findings` and `voids` grow as they are read. Raises NotALedger."""
        byte, blocks = 0, Blocks(self._fd)
        try:
            for block in blocks:
                has_others = block.count(self._own) != block.count(b"\n")
                has_voids = b'"voids"' in block
                for line, row in lines_and_rows(block):
                    self.count += 1
                    self.rows += row is not None
                    if row is None or has_others or (has_voids and b'"voids"' in line):
                        self._examine(line, byte)
                    yield FoundLine(self.count, byte, len(line), crc32(line))
                    byte += len(line) + 1
        except LongLine as error:
            raise LongLine(error.byte, self.count + 1) from None
        if is_several(blocks.rest):
            self._say("damage", byte, "unreadable: several writes on one line", 1)
        elif blocks.rest:
            self._say("notice", byte, "unfinished: acknowledged to nobody, sealed by the next charge", 1)

    def _examine(self, line: bytes, byte: int) -> None:
        """Note what is wrong with a line, and which request id it takes back."""
        try:
            row = parse_row(line)
        except Unreadable as error:
            if line.endswith(TORN_MARK):
                self._say("notice", byte, "a sealed tear: acknowledged to nobody")
            elif line.strip():
                self._say("damage", byte, f"unreadable: {error}")
            return
        if row.persona_id != self._persona:
            self._say("damage", byte, f"a row of persona {row.persona_id!r}")
        if row.voids is not None:
            self.voids[row.voids] = (self.count, byte)

    def _say(self, severity: Literal["damage", "notice"], byte: int, what: str, ahead: int = 0) -> None:
        self.findings.append(Finding(severity, str(self._path), self.count + ahead, byte, what))


def differences(path: Path, recorded: Iterator[Line], present: Iterator[FoundLine]) -> Iterator[Finding]:
    """Each place at which the lines that are present are not the lines that were recorded, in order."""
    old: deque[Line] = deque(islice(recorded, _AHEAD))
    new: deque[FoundLine] = deque(islice(present, _AHEAD))
    while old and new:
        gone = _place_of(new[0], old)
        moved = _place_of(old[0], new)
        if gone == 0:
            dropped, taken = 1, 1
        elif gone is not None and (moved is None or gone <= moved):
            dropped, taken = gone, 0
            yield _damage_at(path, new[0], f"recorded before it, and gone: {gone} of the lines")
        elif moved is not None:
            dropped, taken = 0, moved
            for line in islice(new, moved):
                yield _damage_at(path, line, "was not recorded here: inserted, doubled or moved")
        else:
            dropped, taken = 1, 1
            yield _damage_at(path, new[0], "is not the line that was recorded")
        for _ in range(dropped):
            old.popleft()
        for _ in range(taken):
            new.popleft()
        old.extend(islice(recorded, dropped))
        new.extend(islice(present, taken))
    if old:
        count = len(old) + sum(1 for _ in recorded)
        yield damage(path, f"the last {count} recorded lines are gone")
    deque(present, maxlen=0)


def duplicates(fd: int, path: Path, count: int) -> Iterator[Finding]:
    """Every request id that is on more than one of `count` lines.

    Compares a part of the ids at a time, so that memory stays flat.
    """
    parts = count // _IDS_AT_ONCE + 1
    for part in range(parts):
        seen: set[int] = set()
        again: set[int] = set()
        for _, _, _, row in numbered_lines(fd):
            if row is not None and (crc := hash_of(row[2])) % parts == part:
                (again if crc in seen else seen).add(crc)
        if not again:
            continue
        first: dict[str, int] = {}
        for number, byte, _, row in numbered_lines(fd):
            if row is not None and hash_of(row[2]) in again:
                before = first.setdefault(row[2], number)
                if before != number:
                    what = f"request id {row[2]!r} stands on line {before} already"
                    yield Finding("notice", str(path), number, byte, what)


def baseless(fd: int, path: Path, voids: dict[str, tuple[int, int]]) -> Iterator[Finding]:
    """Every void of a request id that no row of the ledger has."""
    left = dict(voids)
    if left:
        for _, _, _, row in numbered_lines(fd):
            if row is not None:
                left.pop(row[2], None)
    for voided, (number, byte) in left.items():
        yield Finding("damage", str(path), number, byte, f"voids {voided!r}, which was never charged")


def _place_of(line: Line | FoundLine, lines: Iterable[Line | FoundLine]) -> int | None:
    """How far ahead the same line is; None if it is not among `lines`."""
    for place, other in enumerate(lines):
        if (other.crc, other.length) == (line.crc, line.length):
            return place
    return None


def _damage_at(path: Path, line: FoundLine, what: str) -> Finding:
    return Finding("damage", str(path), line.number, line.byte, what)
