"""Repairs what an audit found, as far as that is possible without guessing.

Nothing is deleted: an unreadable line is copied to a file next to the ledger before its bytes are overwritten
with blanks, so that no other row moves and hal0 can go on appending. Complete rows are kept, wherever they
are on a line.

A repair begins with a mark that makes every check fail, and ends with a mark for the new state. If a repair
is killed in between, checks keep failing until the next repair completes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from hal0_budget.durable import opened, replace, size_of, sync, sync_dir, write_whole
from hal0_budget.model.money import ZERO, dollars, subtract
from hal0_budget.model.records import Closing, Row
from hal0_budget.stores.files.blocks import Blocks, LongLine, NotALedger, numbered_lines
from hal0_budget.stores.files.cache import FORMER
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import Ledger
from hal0_budget.stores.files.marks import AllMarks, LedgerMark, Marks
from hal0_budget.stores.files.row_format import is_blank, lines_and_rows, parse_row
from hal0_budget.stores.files.whole_rows import Piece, dollars_in, whole_rows
from hal0_budget.strict_json import Unreadable

# The most bytes of a file that are copied; they must fit into memory.
_LONGEST_COPY = 16 * 1024 * 1024


def repair(home: Home, persona: str, now: datetime, lock_timeout: float) -> list[str]:
    """Quarantine unreadable lines and rebuild derived files; return a sentence for each change.

    Raises InvalidId, LockTimeout; NotALedger if a line is too long; OSError.
    """
    ledger = Ledger(home.spend_dir(persona))
    with ledger.lock.held(lock_timeout):
        marks = ledger.all_marks()
        epoch = marks.highest().ledger.epoch | 1
        begins = Marks(LedgerMark(epoch))
        ledger.checkpoint.append_mark(begins)
        ledger.marks.append(begins)
        sync(ledger.checkpoint.path)
        sync(ledger.marks.path)
        done = [*_repair_rows(ledger), *_repair_holds(ledger, marks)]
        return [*done, *_rebuild(ledger, now, epoch + 1)]


def _repair_rows(ledger: Ledger) -> Iterator[str]:
    """Quarantine every line that is not a row; keep complete rows on it. Raises NotALedger, OSError."""
    with suppress(FileNotFoundError), opened(ledger.path, os.O_RDWR) as fd:
        try:
            for number, byte, line, _ in numbered_lines(fd):
                why = _fault_of(line, ledger.persona)
                if why is not None:
                    where = f"{ledger.path}: line {number} (byte {byte})"
                    yield _repair_line(ledger, fd, byte, line, (where, why))
        except LongLine as error:
            raise NotALedger(f"{error}; move it by hand") from None


def _repair_line(ledger: Ledger, fd: int, byte: int, line: bytes, fault: tuple[str, str]) -> str:
    """Keep the complete rows of a line, quarantine the line, blank the rest; return a sentence about it.

    Raises OSError.
    """
    where, why = fault
    rows = whole_rows(line, ledger.persona)
    # A row at the end of the line stays in place. Rows before it lack a newline, and are appended again.
    stays = rows.pop() if rows and rows[-1].end == len(line) else Piece(len(line), len(line))
    moved = [row for row in rows if not _is_recorded(fd, parse_row(line[row.start : row.end]))]
    if moved:
        with opened(ledger.path, os.O_RDWR | os.O_APPEND) as end:
            seal = b"" if os.pread(end, 1, size_of(end) - 1) == b"\n" else b"\n"
            write_whole(end, seal + b"".join(line[row.start : row.end] + b"\n" for row in moved))
            os.fsync(end)
    copy = _quarantine(ledger.path, line + b"\n")
    os.pwrite(fd, b" " * stays.start, byte)
    os.fsync(fd)
    kept = len(rows) + (stays.start < stays.end)
    rest = bytearray(line)
    for row in (*rows, stays):
        rest[row.start : row.end] = b" " * (row.end - row.start)
    named = dollars_in(bytes(rest))
    lost = f"; its amounts, {dollars(named)} in all, no longer count" if named else ""
    also = f"; {kept} complete rows on it are kept" if kept else ""
    return f"{where} quarantined in {copy.name}: {why}{also}{lost}"


def _fault_of(line: bytes, persona: str) -> str | None:
    """Return why a line is neither a row of `persona` nor blank; None if it is one of them."""
    if is_blank(line):
        return None
    try:
        found = parse_row(line).persona_id
    except Unreadable as error:
        return str(error)
    return None if found == persona else f"a row of persona {found!r}"


def _is_recorded(fd: int, row: Row) -> bool:
    """Return whether the same row is on its own line: an earlier repair that was killed has appended it."""
    needle = row.request_id.encode("ascii", "backslashreplace")
    for block in Blocks(fd):
        if needle in block or b"\\" in block:
            for line, found in lines_and_rows(block):
                if found is not None and found[2] == row.request_id and parse_row(line) == row:
                    return True
    return False


def _repair_holds(ledger: Ledger, marks: AllMarks) -> Iterator[str]:
    """Rewrite a damaged journal of holds with its readable entries. Raises OSError."""
    # The lock file is never replaced, so its mark is the more trustworthy one.
    holds, mark = ledger.holds, marks.lock.holds if marks.lock.holds.size else marks.checkpoint.holds
    holds.read(marks.holds())
    size = ledger.path.stat().st_size if ledger.path.exists() else 0
    copy = holds.path.with_name(f"{holds.path.name}.unreadable")
    what = holds.damage or ("it refers to a longer ledger" if holds.ledger_size() > size else None)
    if holds.exists and what is None and not holds.mark().generation:
        # A journal of an earlier version has no mark: only the new format is protected by one.
        holds.repair(mark, size)
    if what is not None:
        copy = _keep(holds.path)
        holds.repair(mark, size)
    # An earlier repair may have been killed after it rewrote the journal, before it reported that.
    known = marks.holds() if marks.damage() else (mark,)
    lost = subtract(max(Decimal(mark.held) for mark in known), holds.total)
    if what is not None or (marks.damage() and lost > 0):
        yield (
            f"{holds.path}: {what or 'damaged before'}; rewritten with {len(holds.open())} open holds, "
            f"{dollars(holds.total)}; {dollars(max(ZERO, lost))} of holds could not be recovered; "
            f"a copy of the damaged journal is in {copy.name}"
        )


def _rebuild(ledger: Ledger, now: datetime, epoch: int) -> Iterator[str]:
    """Count the ledger from its beginning, and save the result; the old checkpoint is kept as `FILE.bak`.
    Checks succeed again after the last write.

    Raises NotALedger, OSError.
    """
    path, before = ledger.checkpoint.path, ledger.checkpoint.load().checkpoint
    with suppress(FileNotFoundError), opened(path, os.O_RDONLY) as fd:
        # A checkpoint is never longer: later bytes are useless.
        replace(path.with_name(f"{path.name}.bak"), os.pread(fd, _LONGEST_COPY, 0))
    ledger.cache().discard()
    for name in FORMER:
        ledger.dir.joinpath(name).unlink(missing_ok=True)
    found = ledger.recount(now)
    if found is not None:
        if settled := sorted(found.tally.settled):
            ledger.holds.append(*(Closing(hold_id, "settled") for hold_id in settled))
        sync(ledger.path)
    checkpoint = None if found is None else found._replace(epoch=epoch)
    mark = LedgerMark(epoch) if checkpoint is None else checkpoint.mark()
    marks = Marks(mark, ledger.holds.mark())
    ledger.marks.append(marks)
    sync(ledger.marks.path)
    ledger.checkpoint.renew(checkpoint, marks)
    lifetime, rows = (ZERO, 0) if found is None else (found.tally.lifetime, found.tally.rows)
    yield f"{ledger.path}: counted from its beginning: {rows} rows, {dollars(lifetime)}"
    if before is not None and before.tally.lifetime > lifetime:
        lost = dollars(subtract(before.tally.lifetime, lifetime))
        yield f"{ledger.path}: {lost} of acknowledged charges are missing and no longer count"


def _keep(path: Path) -> Path:
    """Keep the bytes of a file before it is replaced; return the path of the copy. A file that is too long to
    copy gets a second name instead. Raises OSError.
    """
    copy = path.with_name(f"{path.name}.unreadable")
    with suppress(FileNotFoundError), opened(path, os.O_RDONLY) as fd:
        if size_of(fd) <= _LONGEST_COPY:
            return _quarantine(path, os.pread(fd, _LONGEST_COPY, 0))
        number = 1
        while os.path.lexists(copy := path.with_name(f"{path.name}.unreadable.{number}")):
            number += 1
        os.link(path, copy, follow_symlinks=False)
        sync_dir(path.parent)
    return copy


def _quarantine(path: Path, data: bytes) -> Path:
    """Append `data` durably to `FILE.unreadable`; return its path. Raises OSError."""
    copy = path.with_name(f"{path.name}.unreadable")
    with opened(copy, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as kept:
        write_whole(kept, data)
        os.fsync(kept)
    sync_dir(path.parent)
    return copy
