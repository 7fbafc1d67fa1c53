"""Reading everything that a persona has on disk, and saying what is wrong and where.

Damage is what a gate must not judge on; a notice is what somebody should know. Memory stays flat,
however long the ledger.
"""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hal0_budget.durable import NotRegular, opened
from hal0_budget.errors import BudgetError
from hal0_budget.model.money import dollars
from hal0_budget.stores.base import Audit, Finding
from hal0_budget.stores.files.blocks import Blocks, LongLine, NotALedger
from hal0_budget.stores.files.cache import Cache
from hal0_budget.stores.files.cache_audit import CacheAudit
from hal0_budget.stores.files.checkpoint import Saved
from hal0_budget.stores.files.finding import damage, notice
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import CACHE, CHECKPOINT, HOLDS, Ledger, scan
from hal0_budget.stores.files.marks import AllMarks
from hal0_budget.stores.files.persona_file import read_persona
from hal0_budget.stores.files.row_audit import LineReader, baseless, differences, duplicates
from hal0_budget.stores.files.tally import Tally
from hal0_budget.stores.files.trail import Line, lines_of


def audit(home: Home, persona: str, now: datetime) -> Audit:
    """Read every file, row and id of a persona. Changes nothing, takes no lock.

    Raises InvalidId, AgentUnknown, PersonaNotFound; OSError.
    """
    ledger = Ledger(home.spend_dir(persona))
    found = [*_of_persona(home, persona)]
    saved = ledger.checkpoint.load()
    marks = AllMarks(ledger.marks.read(), saved.marks)
    found += [*_of_holds(ledger, marks, now), *_leftovers(ledger)]
    if (altered := marks.damage()) is not None:
        found.append(damage(ledger.path, altered))
    lines = rows = 0
    try:
        with opened(ledger.path, os.O_RDONLY) as fd:
            found += _of_checkpoint(fd, ledger, saved, marks, now)
            reader = LineReader(fd, ledger.path)
            cache = CacheAudit(Cache(ledger.dir / CACHE, is_read_only=True), fd, marks.highest().ledger.epoch)
            recorded = _recorded(fd, cache, _trail(saved, marks))
            changed = [*differences(ledger.path, recorded, reader.lines())]
            found += [*changed, *reader.findings]
            found += _of_cache(ledger.dir / CACHE, cache, is_same_ledger=not changed)
            lines, rows = reader.count, reader.rows
            found += duplicates(fd, ledger.path, lines)
            found += baseless(fd, ledger.path, reader.voids)
    except FileNotFoundError:
        if ledger.missing(saved, marks.highest()):
            found.append(damage(ledger.path, "gone, and its checkpoint says that there was one"))
    except NotRegular as error:
        found.append(damage(ledger.path, str(error.strerror)))
    except NotALedger as error:
        found.append(damage(ledger.path, str(error)))
    return Audit(persona, lines, rows, tuple(found))


def _of_persona(home: Home, persona: str) -> Iterator[Finding]:
    path = home.persona_file(persona)
    try:
        file = read_persona(home, persona)
        file.budget()
    except BudgetError as error:
        if error.code != "persona.malformed":
            raise
        yield damage(path, error.message.removeprefix(f"{path}: "))
        return
    for warning in file.warnings:
        yield notice(path, warning.removeprefix(f"{path}: "))


def _of_holds(ledger: Ledger, marks: AllMarks, now: datetime) -> Iterator[Finding]:
    path = ledger.dir / HOLDS
    ledger.holds.read(marks.holds())
    if ledger.holds.damage is not None:
        yield damage(path, ledger.holds.damage)
    for hold in ledger.holds.expired(now):
        then = "booked as unconfirmed" if hold.on_expiry == "book" else "given back"
        what = f"hold {hold.hold_id} of {dollars(hold.usd)} has expired; the next recording has it {then}"
        yield notice(path, what)


def _leftovers(ledger: Ledger) -> Iterator[Finding]:
    for path in sorted(ledger.dir.glob(".*.new")):
        yield notice(path, "left over from a crash; harmless")


def _of_checkpoint(
    fd: int, ledger: Ledger, saved: Saved, marks: AllMarks, now: datetime
) -> Iterator[Finding]:
    """What the checkpoint and the marks remember, against what the ledger adds up to."""
    if saved.unusable:
        yield notice(ledger.checkpoint.path, f"unusable ({saved.unusable}); the next command rebuilds it")
    known, size, covered = saved.checkpoint, os.fstat(fd).st_size, max(marks.ledger()).size
    if size < covered:
        yield damage(ledger.path, f"{size} bytes long, but its checkpoint covers {covered}")
        return
    if known is not None and known.mark() in marks.ledger() and not known.is_outdated:
        tally = Tally.starting(ledger.persona, now)
        scan(fd, tally, known.tally.size)
        if not (tally.size == known.tally.size and tally.agrees_with(known.tally)):
            now_is, was = dollars(tally.lifetime), dollars(known.tally.lifetime)
            yield damage(ledger.path, f"adds up to {now_is} where {CHECKPOINT} remembers {was}, day by day")
            return
    try:
        ledger.require_whole(fd, saved, marks)
    except NotALedger:
        yield damage(ledger.path, f"is not what it was when {CHECKPOINT} was written")


def _trail(saved: Saved, marks: AllMarks) -> list[Line]:
    """The last lines that the checkpoint knows; none if there is none, or it is from before a repair."""
    known = saved.checkpoint
    if known is None or known.mark() not in marks.ledger():
        return []
    return lines_of(known.trail, known.tally.size)


def _recorded(fd: int, cache: CacheAudit, trail: list[Line]) -> Iterator[Line]:
    """The lines that the cache recorded, then those of the trail; lines between them as they are now."""
    byte = 0
    for line in cache.lines():
        yield line
        byte = line.byte + line.length + 1
    between = Blocks(fd, byte, trail[0].byte if trail else 0)
    # The reader of all lines reports a line that is too long.
    with suppress(LongLine):
        for block in between:
            for text in block.split(b"\n")[:-1]:
                yield Line(byte, len(text), crc32(text))
                byte += len(text) + 1
        if not between.rest:
            yield from (line for line in trail if line.byte >= byte)


def _of_cache(path: Path, cache: CacheAudit, *, is_same_ledger: bool) -> Iterator[Finding]:
    """What is wrong with the cache itself: nothing that a gate judges on."""
    if is_same_ledger:
        cache.examine()
    if cache.problem is not None:
        what = f"{cache.problem}; it is derived, and made anew by the next charge or verify --repair"
        yield notice(path, what)
