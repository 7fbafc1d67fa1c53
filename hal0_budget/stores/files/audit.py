"""Reading everything that a persona has on disk, and saying what is wrong and where.

Damage is what a gate must not judge on; a notice is what somebody should know. Memory stays flat,
however long the ledger.
"""

from __future__ import annotations

import os
from binascii import crc32
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from hal0_budget.errors import BudgetError
from hal0_budget.model.money import dollars
from hal0_budget.stores.base import Audit, Finding
from hal0_budget.stores.files.cache import Cache
from hal0_budget.stores.files.cache_audit import CacheAudit
from hal0_budget.stores.files.checkpoint import Saved
from hal0_budget.stores.files.durable import NotRegular, opened
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import BLOCK, CACHE, CHECKPOINT, HOLDS, Ledger, NotALedger, scan
from hal0_budget.stores.files.marks import AllMarks
from hal0_budget.stores.files.persona_file import read_persona
from hal0_budget.stores.files.row_format import TORN_MARK, Unreadable, is_several, lines_and_ids, parse_row
from hal0_budget.stores.files.segments import hash_of
from hal0_budget.stores.files.tally import Tally
from hal0_budget.stores.files.trail import Line, lines_of

# How far to look for a line that is not where it was.
_AHEAD = 64

# How many request ids are compared in one pass over a ledger.
_IDS_AT_ONCE = 500_000


def audit(home: Home, persona: str, now: datetime) -> Audit:
    """Read every file, row and id of a persona. Changes nothing, takes no lock.

    Raises InvalidId, AgentUnknown, PersonaNotFound; OSError.
    """
    ledger = Ledger(home.spend_dir(persona))
    found = [*_of_persona(home, persona)]
    saved = ledger.checkpoint.load()
    marks = AllMarks(ledger.marks.read(), saved.marks)
    found += [*_of_holds(ledger, marks, now), *_leftovers(ledger)]
    if (damage := marks.damage()) is not None:
        found.append(_damage(ledger.path, damage))
    lines = rows = 0
    try:
        with opened(ledger.path, os.O_RDONLY) as fd:
            found += _of_checkpoint(fd, ledger, saved, marks, now)
            reader = _LineReader(fd, ledger.path)
            cache = CacheAudit(Cache(ledger.dir / CACHE, is_read_only=True), fd, marks.highest().ledger.epoch)
            recorded = _recorded(fd, cache, _trail(saved, marks))
            differences = [*_differences(ledger.path, recorded, reader.lines())]
            found += [*differences, *reader.findings]
            found += _of_cache(ledger.dir / CACHE, cache, is_same_ledger=not differences)
            lines, rows = reader.count, reader.rows
            found += _duplicates(fd, ledger.path, lines)
            found += _baseless(fd, ledger.path, reader.voids)
    except FileNotFoundError:
        if ledger.missing(saved, marks.highest()):
            found.append(_damage(ledger.path, "gone, and its checkpoint says that there was one"))
    except NotRegular as error:
        found.append(_damage(ledger.path, str(error.strerror)))
    except NotALedger as error:
        found.append(_damage(ledger.path, str(error)))
    return Audit(persona, lines, rows, tuple(found))


def _of_persona(home: Home, persona: str) -> Iterator[Finding]:
    path = home.persona_file(persona)
    try:
        file = read_persona(home, persona)
        file.budget()
    except BudgetError as error:
        if error.code != "persona.malformed":
            raise
        yield _damage(path, error.message.removeprefix(f"{path}: "))
        return
    for warning in file.warnings:
        yield _notice(path, warning.removeprefix(f"{path}: "))


def _of_holds(ledger: Ledger, marks: AllMarks, now: datetime) -> Iterator[Finding]:
    path = ledger.dir / HOLDS
    ledger.holds.read(marks.holds())
    if ledger.holds.damage is not None:
        yield _damage(path, ledger.holds.damage)
    for hold in ledger.holds.expired(now):
        then = "booked as unconfirmed" if hold.on_expiry == "book" else "given back"
        what = f"hold {hold.hold_id} of {dollars(hold.usd)} has expired; the next recording has it {then}"
        yield _notice(path, what)


def _leftovers(ledger: Ledger) -> Iterator[Finding]:
    for path in sorted(ledger.dir.glob(".*.new")):
        yield _notice(path, "left over from a crash; harmless")


def _of_checkpoint(
    fd: int, ledger: Ledger, saved: Saved, marks: AllMarks, now: datetime
) -> Iterator[Finding]:
    """What the checkpoint and the marks remember, against what the ledger adds up to."""
    if saved.unusable:
        yield _notice(ledger.checkpoint.path, f"unusable ({saved.unusable}); the next command rebuilds it")
    known, size, covered = saved.checkpoint, os.fstat(fd).st_size, max(marks.ledger()).size
    if size < covered:
        yield _damage(ledger.path, f"{size} bytes long, but its checkpoint covers {covered}")
        return
    if known is not None and known.mark() in marks.ledger() and not known.is_outdated:
        tally = Tally.starting(ledger.persona, now)
        scan(fd, tally, known.tally.size)
        if not (tally.size == known.tally.size and tally.agrees_with(known.tally)):
            now_is, was = dollars(tally.lifetime), dollars(known.tally.lifetime)
            yield _damage(ledger.path, f"adds up to {now_is} where {CHECKPOINT} remembers {was}, day by day")
            return
    try:
        ledger.require_whole(fd, saved, marks)
    except NotALedger:
        yield _damage(ledger.path, f"is not what it was when {CHECKPOINT} was written")


def _trail(saved: Saved, marks: AllMarks) -> list[Line]:
    """The last lines that the checkpoint knows; none if there is none, or it is from before a repair."""
    known = saved.checkpoint
    if known is None or known.mark() not in marks.ledger():
        return []
    return lines_of(known.trail, known.tally.size)


def _recorded(fd: int, cache: CacheAudit, trail: list[Line]) -> Iterator[Line]:
    """The lines that the cache knows, then those of the trail; lines between them as they now stand."""
    byte = 0
    for line in cache.lines():
        yield line
        byte = line.byte + line.length + 1
    last = trail[0].byte if trail else 0
    while byte < last and (block := os.pread(fd, min(BLOCK, last - byte), byte)):
        for text in block.split(b"\n")[:-1]:
            yield Line(byte, len(text), crc32(text))
            byte += len(text) + 1
        if b"\n" not in block:
            return
    yield from (line for line in trail if line.byte >= byte)


def _of_cache(path: Path, cache: CacheAudit, *, is_same_ledger: bool) -> Iterator[Finding]:
    """What is wrong with the cache itself: nothing that a gate judges on."""
    if is_same_ledger:
        cache.examine()
    if cache.problem is not None:
        what = f"{cache.problem}; it is derived, and made anew by the next charge or verify --repair"
        yield _notice(path, what)


class _Found(NamedTuple):
    """A line as it now stands: its number, first byte, length and CRC-32."""

    number: int
    byte: int
    length: int
    crc: int


class _LineReader:
    """Every whole line of an open ledger, and what is wrong with each by itself."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._persona = path.parent.name
        self._own = b'"persona_id":"%s"' % self._persona.encode()
        self.count = 0
        self.rows = 0
        self.findings: list[Finding] = []
        self.voids: dict[str, tuple[int, int]] = {}

    def lines(self) -> Iterator[_Found]:
        """The lines, first to last; `findings` grows meanwhile. Raises NotALedger."""
        byte = 0
        while block := os.pread(self._fd, BLOCK, byte):
            end = block.rfind(b"\n") + 1
            if not end:
                break
            has_others = block[:end].count(self._own) != block[:end].count(b"\n")
            for line, request_id in lines_and_ids(block[:end]):
                self.count += 1
                if request_id is None:
                    self._examine(line, byte)
                else:
                    self.rows += 1
                    if has_others and (persona := parse_row(line).persona_id) != self._persona:
                        self._say("damage", byte, f"a row of persona {persona!r}")
                    if b'"voids"' in line and (voided := parse_row(line).voids) is not None:
                        self.voids[voided] = (self.count, byte)
                yield _Found(self.count, byte, len(line), crc32(line))
                byte += len(line) + 1
        if len(block) == BLOCK:
            raise NotALedger(f"line {self.count + 1} (byte {byte}) is longer than {BLOCK} bytes")
        if block:
            if is_several(block):
                self._say("damage", byte, "unreadable: several writes on one line", 1)
            else:
                self._say("notice", byte, "unfinished: acknowledged to nobody, sealed by the next charge", 1)

    def _examine(self, line: bytes, byte: int) -> None:
        """Say what is wrong with a line that is no row."""
        if not line.strip():
            return
        if line.endswith(TORN_MARK):
            self._say("notice", byte, "a sealed tear: acknowledged to nobody")
            return
        try:
            parse_row(line)
        except Unreadable as error:
            self._say("damage", byte, f"unreadable: {error}")

    def _say(self, severity: Literal["damage", "notice"], byte: int, what: str, ahead: int = 0) -> None:
        self.findings.append(Finding(severity, str(self._path), self.count + ahead, byte, what))


def _differences(path: Path, recorded: Iterator[Line], standing: Iterator[_Found]) -> Iterator[Finding]:
    """Where the lines that stand are not the lines that were recorded, in order."""
    old: deque[Line] = deque(islice(recorded, _AHEAD))
    new: deque[_Found] = deque(islice(standing, _AHEAD))
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
        new.extend(islice(standing, taken))
    if old:
        count = len(old) + sum(1 for _ in recorded)
        yield _damage(path, f"the last {count} recorded lines are gone")
    deque(standing, maxlen=0)


def _duplicates(fd: int, path: Path, count: int) -> Iterator[Finding]:
    """Every request id that stands on more than one of `count` lines.

    Looks at a part of the ids at a time, so that memory stays flat.
    """
    parts = count // _IDS_AT_ONCE + 1
    for part in range(parts):
        seen: set[int] = set()
        again: set[int] = set()
        for _, _, request_id in _ids(fd):
            crc = hash_of(request_id)
            if crc % parts == part:
                (again if crc in seen else seen).add(crc)
        if not again:
            continue
        first: dict[str, int] = {}
        for number, byte, request_id in _ids(fd):
            if hash_of(request_id) in again and number != first.setdefault(request_id, number):
                what = f"request id {request_id!r} stands on line {first[request_id]} already"
                yield Finding("notice", str(path), number, byte, what)


def _baseless(fd: int, path: Path, voids: dict[str, tuple[int, int]]) -> Iterator[Finding]:
    """Every void whose original is nowhere in the ledger."""
    left = dict(voids)
    if left:
        for _, _, request_id in _ids(fd):
            left.pop(request_id, None)
    for voided, (number, byte) in left.items():
        yield Finding("damage", str(path), number, byte, f"voids {voided!r}, which was never charged")


def _ids(fd: int) -> Iterator[tuple[int, int, str]]:
    """The number, first byte and request id of every row of an open ledger."""
    byte = number = 0
    while block := os.pread(fd, BLOCK, byte):
        end = block.rfind(b"\n") + 1
        if not end:
            return
        for line, request_id in lines_and_ids(block[:end]):
            number += 1
            if request_id is not None:
                yield number, byte, request_id
            byte += len(line) + 1


def _place_of(line: Line | _Found, lines: Iterable[Line | _Found]) -> int | None:
    """How far ahead the same line stands, if it does."""
    for place, other in enumerate(lines):
        if (other.crc, other.length) == (line.crc, line.length):
            return place
    return None


def _damage(path: Path, what: str) -> Finding:
    return Finding("damage", str(path), None, None, what)


def _damage_at(path: Path, line: _Found, what: str) -> Finding:
    return Finding("damage", str(path), line.number, line.byte, what)


def _notice(path: Path, what: str) -> Finding:
    return Finding("notice", str(path), None, None, what)
