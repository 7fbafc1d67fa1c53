"""Every call of an open ledger, in the order of its lines, hour by hour: memory stays flat."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from hal0_budget.durable import opened
from hal0_budget.model.records import Row
from hal0_budget.stores.base import Calls, Progress
from hal0_budget.stores.files.blocks import ended_blocks
from hal0_budget.stores.files.row_format import (
    PlainRow,
    are_all,
    lines_and_rows,
    parse_row,
    plain_costs,
    plain_rows,
    voids_of,
)


def calls(path: Path, size: int, progress: Progress) -> Iterator[Calls]:
    """The calls in the first `size` bytes of a ledger: neither voids, nor what was voided.

    Unreadable lines are left out. Reads twice, first for the voids alone; memory grows with
    their number only. Raises NotALedger if a line is longer than a block, OSError.
    """
    if size:
        with opened(path, os.O_RDONLY) as fd:
            yield from _calls(fd, size, progress)


def _calls(fd: int, size: int, progress: Progress) -> Iterator[Calls]:
    voided = _voided(fd, size, progress)
    number = 1
    for block in ended_blocks(fd, 0, size, progress):
        lines, text = block.split(b"\n")[:-1], block.decode("latin-1")
        numbers: Sequence[int] = range(number, number + len(lines))
        number += len(lines)
        # The costs alone are found in half the time.
        rows = plain_rows(text) if voided or '"cost_source"' in text else plain_costs(text)
        are_plain = are_all(rows, text, {row[0] for row in rows})
        if not are_plain or any(row[2] in voided for row in rows if voided):
            rows, lines, numbers = _picked(block, numbers, voided)
        yield from _by_hour(rows, lines, numbers)


def _by_hour(rows: Sequence[PlainRow], lines: Sequence[bytes], numbers: Sequence[int]) -> Iterator[Calls]:
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
    block: bytes, numbers: Sequence[int], voided: Counter[str]
) -> tuple[list[PlainRow], list[bytes], list[int]]:
    """The calls in a block, with their lines and numbers; each voided one is taken off `voided`."""
    found: list[tuple[PlainRow, bytes, int]] = []
    for number, (line, row) in zip(numbers, lines_and_rows(block), strict=True):
        if row is None or voids_of(line) is not None:
            continue
        if voided[row[2]]:
            voided[row[2]] -= 1
            continue
        found.append((row, line, number))
    return [row for row, _, _ in found], [line for _, line, _ in found], [number for _, _, number in found]


def _voided(fd: int, size: int, progress: Progress) -> Counter[str]:
    """How many rows of each request id were taken back."""
    found: Counter[str] = Counter()
    for block in ended_blocks(fd, 0, size, progress):
        if b'"voids"' in block or b"\\" in block:
            found.update(voided for line in block.split(b"\n") if (voided := voids_of(line)) is not None)
    return found
