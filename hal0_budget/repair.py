"""Setting right what an audit found, as far as that is possible without guessing.

Nothing is deleted: what cannot be read is copied to a file beside the ledger before its bytes are
blanked where they stand, so that no other row moves and hal0 can go on appending meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hal0_budget.money import dollars, subtract
from hal0_budget.store.catch_up import catch_up
from hal0_budget.store.checkpoint import CheckpointUnusable
from hal0_budget.store.durable import opened, sync_dir, write_whole
from hal0_budget.store.holds import parse_entry
from hal0_budget.store.layout import Home
from hal0_budget.store.ledger import BLOCK, HOLDS, Ledger, NotALedger
from hal0_budget.store.rows import Unreadable, is_blank, parse_row
from hal0_budget.store.writer import EPOCH


def repair(home: Home, persona: str, now: datetime, lock_timeout: float) -> list[str]:
    """Set unreadable lines aside and rebuild what is derived; what was done, a sentence each.

    Raises InvalidId, LockTimeout; NotALedger where a line is too long to be one; OSError.
    """
    ledger = Ledger(home.spend_dir(persona))
    with ledger.lock.held(lock_timeout):
        done = [*_set_aside(ledger.path, parse_row), *_set_aside(ledger.dir / HOLDS, parse_entry)]
        return [*done, *_rebuild(ledger, now)]


def _set_aside(path: Path, parse: Callable[[bytes], object]) -> Iterator[str]:
    """Copy every line that `parse` refuses to `FILE.unreadable`, durably, then blank it."""
    aside = path.with_name(f"{path.name}.unreadable")
    with suppress(FileNotFoundError), opened(path, os.O_RDWR) as fd:
        for number, byte, line in _lines(fd):
            if is_blank(line):
                continue
            try:
                parse(line)
            except Unreadable as error:
                with opened(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as kept:
                    write_whole(kept, line + b"\n")
                    os.fsync(kept)
                sync_dir(path.parent)
                os.pwrite(fd, b" " * len(line), byte)
                os.fsync(fd)
                yield f"{path}: line {number} (byte {byte}) set aside in {aside.name}: {error}"


def _lines(fd: int) -> Iterator[tuple[int, int, bytes]]:
    byte = number = 0
    while block := os.pread(fd, BLOCK, byte):
        end = block.rfind(b"\n") + 1
        if not end and len(block) == BLOCK:
            raise NotALedger(f"line {number + 1} (byte {byte}) is longer than {BLOCK} bytes; move it by hand")
        if not end:
            return
        for line in block[:end].split(b"\n")[:-1]:
            number += 1
            yield number, byte, line
            byte += len(line) + 1


def _rebuild(ledger: Ledger, now: datetime) -> Iterator[str]:
    """Count the ledger afresh; the old checkpoint is kept as `FILE.bak`."""
    path = ledger.checkpoint.path
    try:
        mark = ledger.checkpoint.load()
    except CheckpointUnusable:
        mark = None
    if path.exists():
        path.replace(path.with_name(f"{path.name}.bak"))
    ledger.cache().discard()
    reading, fresh = ledger.look(now)
    if fresh is not None:
        ledger.keep(fresh)
        with opened(ledger.path, os.O_RDONLY) as fd:
            catch_up(ledger.cache(), fd, EPOCH)
    lifetime = reading.tally.lifetime
    yield f"{ledger.path}: counted afresh: {reading.tally.rows} rows, {dollars(lifetime)}"
    if mark is not None and mark.tally.lifetime > lifetime:
        lost = dollars(subtract(mark.tally.lifetime, lifetime))
        yield f"{ledger.path}: {lost} that were acknowledged are gone from it and no longer count"
