"""Every call of an open ledger, in the order of its lines, hour by hour: memory stays flat."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from hal0_budget.model.records import Row
from hal0_budget.stores.base import Calls, Progress
from hal0_budget.stores.files.durable import opened
from hal0_budget.stores.files.ledger import BLOCK
from hal0_budget.stores.files.row_format import Unreadable, is_hour, parse_row, plain_costs, plain_rows


def calls(path: Path, size: int, progress: Progress) -> Iterator[Calls]:
    """The calls in the first `size` bytes of a ledger: neither voids, nor what was voided.

    What is unreadable is passed over. Reads twice, first for the voids alone; memory grows with
    their number only. Raises OSError.
    """
    if size:
        with opened(path, os.O_RDONLY) as fd:
            yield from _calls(fd, size, progress)


def _calls(fd: int, size: int, progress: Progress) -> Iterator[Calls]:
    voided = _voided(fd, size, progress)
    number = 1
    for block in _blocks(fd, size, progress):
        lines, text = block.split(b"\n")[:-1], block.decode("latin-1")
        numbers: Sequence[int] = range(number, number + len(lines))
        number += len(lines)
        # The costs alone are found in half the time.
        rows = plain_rows(text) if voided or '"cost_source"' in text else plain_costs(text)
        are_plain = len(rows) == len(lines) and all(map(is_hour, {row[0] for row in rows}))
        if not are_plain or any(row[2] in voided for row in rows if voided):
            rows, lines, numbers = _picked(lines, numbers, voided)
        yield from _by_hour(rows, lines, numbers)


def _by_hour(
    rows: Sequence[tuple[str, ...]], lines: Sequence[bytes], numbers: Sequence[int]
) -> Iterator[Calls]:
    place = 0
    for hour, group in groupby(rows, itemgetter(0)):
        found = list(group)
        usd = list(map(Decimal, map(itemgetter(1), found)))
        sources = [row[3] for row in found] if found[0][3:] else []
        end = place + len(found)
        yield Calls(hour, usd, numbers[place:end], sources, partial(_row_of, lines[place:end]))
        place = end


def _row_of(lines: Sequence[bytes], place: int) -> Row:
    return parse_row(lines[place])


def _picked(
    lines: Sequence[bytes], numbers: Sequence[int], voided: Counter[str]
) -> tuple[list[tuple[str, ...]], list[bytes], list[int]]:
    """The calls among `lines`, as `plain_rows` has them, with their lines and numbers."""
    found: list[tuple[str, ...]] = []
    places: list[int] = []
    for place, line in enumerate(lines):
        row = _row(line)
        if row is None:
            continue
        if voided[row[2]]:
            voided[row[2]] -= 1
            continue
        found.append(row)
        places.append(place)
    return found, [lines[place] for place in places], [numbers[place] for place in places]


def _row(line: bytes) -> tuple[str, ...] | None:
    """Hour, cost, request id and cost source of a line; None where it is no row, or a void."""
    plain = plain_rows(line.decode("latin-1") + "\n")
    if plain and is_hour(plain[0][0]):
        return plain[0]
    with suppress(Unreadable):
        row = parse_row(line)
        if row.voids is None:
            return row.ts.isoformat()[:13], str(row.cost_usd), row.request_id, row.cost_source or ""
    return None


def _voided(fd: int, size: int, progress: Progress) -> Counter[str]:
    """How many rows of each request id were taken back."""
    found: Counter[str] = Counter()
    for block in _blocks(fd, size, progress):
        # A key that is written with escapes is the same key.
        if b'"voids"' not in block and b"\\" not in block:
            continue
        for line in block.split(b"\n"):
            if b'"voids"' in line or b"\\" in line:
                with suppress(Unreadable):
                    voids = parse_row(line).voids
                    if voids is not None:
                        found[voids] += 1
    return found


def _blocks(fd: int, size: int, progress: Progress) -> Iterator[bytes]:
    """The first `size` bytes of a file in blocks of whole lines; the last one may lack its newline."""
    rest = b""
    for first in range(0, size, BLOCK):
        progress(first, size)
        block = rest + os.pread(fd, min(BLOCK, size - first), first)
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            yield block[:end]
    if rest:
        yield rest + b"\n"
