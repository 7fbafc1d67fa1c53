"""The summary: what a ledger's rows add up to by hour, kept beside it for reports.

It is derived, and deleting it costs one scan. It never decides anything: what it comes to, and what
came after it, must agree with the reading of the ledger, or it is made afresh. Version 1: the sums of
the ledger's first bytes and the CRC-32 of the last of them, one JSON line with a CRC-32 of its own.
"""

from __future__ import annotations

import json
import os
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from hal0_budget.errors import LockTimeout
from hal0_budget.money import ZERO, add, plain
from hal0_budget.store.checkpoint import last_crc
from hal0_budget.store.durable import opened, write_whole
from hal0_budget.store.ledger import Ledger, NotALedger
from hal0_budget.store.sums import NO_TOKENS, Sum, Sums, TokenCounts, blocks_of, merge, sums_of, total_of
from hal0_budget.store.tally import Tally

SUMMARY = "spend.summary"
VERSION = 1

# As much as a scan reads in some milliseconds is not worth a write.
_WORTHWHILE = 1024 * 1024

# A year of ten models on each hour; what has more is not kept. Each of our lines is shorter.
_MOST_SUMS = 100_000
_MOST_NAMED = 1024 * 1024
_LONGEST = 16 * 1024 * 1024

_BODY = b',"summary":'
_HOUR = slice(len("2026-05-29T13"))

_OTHER = "the ledger does not add up to its checkpoint"

Tick = Callable[[int], None]


class TooManySums(Exception):
    """The ledger comes to too many hours, surfaces, models and sources to be kept."""


class Summary(NamedTuple):
    """The sums by hour of a ledger's first `size` bytes, and the CRC-32 of the last of those."""

    size: int
    crc: int
    sums: Sums


def hourly_sums(ledger: Ledger, tally: Tally, tick: Tick) -> Sums:
    """The sums of the rows that `tally` counted, by the hours (`2026-05-29T13`) of UTC.

    Reads what came after the summary, or all, and refreshes the summary where that is possible without
    waiting. `tick` is told how many bytes of the ledger are done. Raises TooManySums; NotALedger where
    the rows do not come to what the tally says; OSError.
    """
    with opened(ledger.path, os.O_RDONLY) as fd:
        known = _load(ledger.dir / SUMMARY)
        if known and 0 <= known.size <= tally.size and last_crc(fd, known.size) == known.crc:
            sums = _grown(fd, known, tally.size, tick)
            if _agrees(sums, tally):
                _refresh(ledger, fd, sums, tally.size, known.size)
                return sums
        sums = _grown(fd, Summary(0, 0, {}), tally.size, tick)
        if not _agrees(sums, tally):
            raise NotALedger(_OTHER)
        _refresh(ledger, fd, sums, tally.size, 0)
        return sums


def streamed_sums(ledger: Ledger, tally: Tally, when: Callable[[str], str], tick: Tick) -> Iterator[Sums]:
    """The sums of the rows that `tally` counted, block by block, by what `when` makes of their seconds.

    For what no summary can tell. Raises NotALedger, at the end, and OSError.
    """
    usd, rows, done = ZERO, 0, 0
    with opened(ledger.path, os.O_RDONLY) as fd:
        for block in blocks_of(fd, 0, tally.size):
            sums = sums_of(block, when)
            total = total_of(part for times in sums.values() for part in times.values())
            usd, rows, done = add(usd, total.usd), rows + total.calls + total.voids, done + len(block)
            yield sums
            tick(done)
    if (usd, rows) != (tally.lifetime, tally.rows):
        raise NotALedger(_OTHER)


def _agrees(sums: Sums, tally: Tally) -> bool:
    """Whether the sums are of as many rows and dollars as the tally, and of the same days."""
    parts = [part for times in sums.values() for part in times.values()]
    try:
        usd = total_of(parts).usd
    except ArithmeticError:
        return False
    days = {time[:10] for times in sums.values() for time in times}
    rows = sum(part.calls + part.voids for part in parts)
    return (usd, rows, days) == (tally.lifetime, tally.rows, set(tally.days))


def _grown(fd: int, known: Summary, end: int, tick: Tick) -> Sums:
    """The sums of `known` and of the rows after it. Raises TooManySums."""
    sums, done = known.sums, known.size
    for block in blocks_of(fd, known.size, end):
        merge(sums, sums_of(block, itemgetter(_HOUR)))
        if not _is_small(sums):
            raise TooManySums
        done += len(block)
        tick(done)
    return sums


def _is_small(sums: Sums) -> bool:
    named = sum(map(len, chain.from_iterable(sums)))
    return named <= _MOST_NAMED and sum(map(len, sums.values())) <= _MOST_SUMS


def _refresh(ledger: Ledger, fd: int, sums: Sums, size: int, known: int) -> None:
    """Save the sums of the first `size` bytes where that is worth a write, and possible."""
    if size - known < _WORTHWHILE or os.pread(fd, 1, size - 1) != b"\n":
        return
    with suppress(OSError, LockTimeout), ledger.lock.held(0):
        _save(ledger.dir / SUMMARY, Summary(size, last_crc(fd, size), sums))


def _load(path: Path) -> Summary | None:
    """The summary at `path`; None where there is none that can be used."""
    try:
        with opened(path, os.O_RDONLY) as fd:
            data = os.read(fd, _LONGEST)
        head, _, body = data.partition(_BODY)
        body = body.removesuffix(b"}\n")
        return _from_json(json.loads(body)) if head == _head(body) else None
    except (OSError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError):
        return None


def _save(path: Path, summary: Summary) -> None:
    """Replace the summary at `path`; the caller holds the lock. Raises OSError.

    Without fsync: after a power cut there is an old one or none, or one with a wrong checksum.
    """
    body = json.dumps(_to_json(summary), separators=(",", ":")).encode("ascii")
    if len(body) > _LONGEST // 2:
        return
    temporary = path.with_name(f".{path.name}.new")
    with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        write_whole(fd, _head(body) + _BODY + body + b"}\n")
    os.replace(temporary, path)


def _head(body: bytes) -> bytes:
    return b'{"crc32":%d' % crc32(body)


def _to_json(summary: Summary) -> dict[str, object]:
    return {
        "version": VERSION,
        "size": summary.size,
        "crc": summary.crc,
        "sums": [
            [*names, {time: [plain(part.usd), *_counts(part)] for time, part in times.items()}]
            for names, times in summary.sums.items()
        ],
    }


def _counts(part: Sum) -> tuple[int, ...]:
    """The counts of a sum; without the last, where they are nothing."""
    if part.voids or any(part.tokens):
        return (part.calls, part.voids, *part.tokens)
    return (part.calls,)


def _from_json(found: dict[str, Any]) -> Summary | None:
    if found["version"] != VERSION:
        return None
    sums: Sums = {}
    for surface, model, source, times in found["sums"]:
        sums[str(surface), str(model), str(source)] = {time: _sum(*part) for time, part in times.items()}
    return Summary(int(found["size"]), found["crc"], sums)


def _sum(usd: str, calls: int, voids: int = 0, *tokens: int) -> Sum:
    return Sum(Decimal(usd), int(calls), int(voids), TokenCounts(*map(int, tokens)) if tokens else NO_TOKENS)
