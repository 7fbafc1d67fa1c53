"""Sums of a ledger's rows by hour, stored in the cache by day, for reports.

The cached sums are never trusted: together with the rows after them they must agree with the totals of the
ledger; otherwise all rows are read again.
"""

from __future__ import annotations

import json
import os
from binascii import crc32
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Any

from hal0_budget.durable import opened
from hal0_budget.model.money import ZERO, add, plain, total
from hal0_budget.model.sums import NO_TOKENS, Sum, Sums, TokenCounts, merge, total_of
from hal0_budget.stores.files.blocks import NotALedger, ended_blocks
from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.cache_meta import Mark
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts, crc_of
from hal0_budget.stores.files.catch_up import current
from hal0_budget.stores.files.ledger import Ledger
from hal0_budget.stores.files.sums import sums_of
from hal0_budget.stores.files.tally import Tally

# Smallest number of new bytes for which the sums are saved: a scan reads fewer in some milliseconds.
WORTHWHILE = 1024 * 1024

# Ten models in each hour of a year. Larger sums are not cached.
_MOST_SUMS = 100_000
_MOST_NAMED = 1024 * 1024

_DAY = itemgetter(slice(len("2026-05-29")))
_HOUR = itemgetter(slice(len("2026-05-29T13")))

_DISAGREES = "the ledger does not add up to its checkpoint"

Tick = Callable[[int], None]


class TooManySums(Exception):
    """The ledger has too many hours, surfaces, models and sources to keep their sums in memory."""


def hourly_sums(ledger: Ledger, tally: Tally, epoch: int, tick: Tick) -> Sums:
    """Return the sums of the rows that `tally` counted, by UTC hour (`2026-05-29T13`).

    Reads the rows after those in the cache, or all rows, and updates the cache if that is possible without
    waiting. Calls `tick` with the number of bytes read. Raises TooManySums; NotALedger if the sums disagree
    with the tally; OSError.
    """
    cache = ledger.cache()
    with opened(ledger.path, os.O_RDONLY) as fd:
        sums, known = _load(cache, fd, epoch, tally.size)
        if known:
            sums = _grown(fd, sums, known, tally.size, tick)
        if not (known and _agrees(sums, tally)):
            sums = _grown(fd, {}, 0, tally.size, tick)
            if not _agrees(sums, tally):
                raise NotALedger(_DISAGREES)
            if known:
                # The cached days belong to another state of the ledger, and so may the rest.
                cache.discard()
                known = 0
        if tally.size - known >= WORTHWHILE and os.pread(fd, 1, tally.size - 1) == b"\n":
            _save(cache, fd, epoch, sums, tally.size)
        return sums


def streamed_sums(ledger: Ledger, tally: Tally, when: Callable[[str], str], tick: Tick) -> Iterator[Sums]:
    """Yield the sums of the rows that `tally` counted, block by block, by `when(second)`.

    For time zones whose days begin in the middle of a UTC hour. Raises NotALedger, at the end, and OSError.
    """
    usd, rows, done = ZERO, 0, 0
    with opened(ledger.path, os.O_RDONLY) as fd:
        for block in ended_blocks(fd, 0, tally.size):
            sums = sums_of(block, when)
            part = total_of(part for times in sums.values() for part in times.values())
            usd, rows, done = add(usd, part.usd), rows + part.calls + part.voids, done + len(block)
            yield sums
            tick(done)
    if (usd, rows) != (tally.lifetime, tally.rows):
        raise NotALedger(_DISAGREES)


def all_days(parts: Parts) -> tuple[Sums, int]:
    """Return the sums of all days in the cache, and the CRC-32 over their checksums. Raises CacheUnusable."""
    sums: Sums = {}
    crc = 0
    try:
        for key, body in parts.all("days"):
            crc = crc32(b"%d" % crc_of(parts.nonce, "days", key, body), crc)
            day = date.fromordinal(key).isoformat()
            for surface, model, source, hours in json.loads(body):
                times = sums.setdefault((str(surface), str(model), str(source)), {})
                times |= {f"{day}T{hour}": _sum(*part) for hour, part in hours.items()}
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise CacheUnusable(f"days: the part with key {key} has invalid fields") from error
    return sums, crc


def _load(cache: Cache, fd: int, epoch: int, size: int) -> tuple[Sums, int]:
    """Return the cached sums by hour of an open ledger, and how many bytes of the ledger they cover.

    Returns no sums if the ledger is short, or if the cache is unusable or covers more than `size` bytes.
    """
    if size < WORTHWHILE:
        return {}, 0
    try:
        with cache.reading() as parts:
            meta = parts.meta()
            if meta is None or meta.summed.size > size or not meta.matches(fd, epoch):
                return {}, 0
            sums, crc = all_days(parts)
            if crc != meta.days_crc:
                raise CacheUnusable("days: not the last ones that were written")
            return sums, meta.summed.size
    except CacheUnusable:
        cache.discard()
    except CacheUnavailable:
        pass
    return {}, 0


def _agrees(sums: Sums, tally: Tally) -> bool:
    """Return whether the sums have as many rows as the tally, and the same USD on each day.

    A tally has months and years instead of days that are long past.
    """
    try:
        rows, days = 0, defaultdict[str, list[Decimal]](list)
        for times in sums.values():
            amounts, calls, voids, _ = zip(*times.values(), strict=True)
            rows += sum(calls) + sum(voids)
            for day, usd in zip(map(_DAY, times), amounts, strict=True):
                days[day].append(usd)
        ours = _by_period({day: total(usd) for day, usd in days.items()}, tally)
        return rows == tally.rows and ours == _by_period(
            {day: Decimal(usd) for day, usd in tally.days.items()}, tally
        )
    except (ArithmeticError, ValueError):
        return False


def _by_period(days: dict[str, Decimal], tally: Tally) -> dict[str, Decimal]:
    """Add up the sums of days by the longest period of the tally that contains each day."""
    found: dict[str, Decimal] = {}
    for day, usd in days.items():
        period = next((each for each in (day[:4], day[:7]) if each in tally.days), day)
        found[period] = add(found.get(period, ZERO), usd)
    return found


def _grown(fd: int, sums: Sums, known: int, end: int, tick: Tick) -> Sums:
    """Add the sums of the rows after the first `known` bytes to `sums`. Raises TooManySums."""
    done = known
    for block in ended_blocks(fd, known, end):
        merge(sums, sums_of(block, _HOUR))
        if not _is_small(sums):
            raise TooManySums
        done += len(block)
        tick(done)
    return sums


def _is_small(sums: Sums) -> bool:
    named = sum(map(len, chain.from_iterable(sums)))
    return named <= _MOST_NAMED and sum(map(len, sums.values())) <= _MOST_SUMS


def _save(cache: Cache, fd: int, epoch: int, sums: Sums, size: int) -> None:
    """Save the sums of the first `size` bytes of an open ledger in the cache, if that is possible now."""
    days = _by_day(sums)
    for _ in range(2):
        try:
            with suppress(OSError), cache.writing() as parts:
                meta = current(parts, fd, epoch)
                _replace_days(parts, days)
                os.fsync(fd)
                parts.save(meta._replace(summed=Mark.of(fd, size), days_crc=_crc_of(parts, days)))
        except CacheUnusable:
            cache.discard()
        except CacheUnavailable:
            return
        else:
            return


def _replace_days(parts: Parts, days: dict[int, bytes]) -> None:
    """Write the days that changed. Raises CacheUnusable."""
    known = dict(parts.all("days"))
    for key in known.keys() - days.keys():
        parts.delete("days", key, key)
    for key, body in days.items():
        if known.get(key) != body:
            parts.put("days", key, body)


def _crc_of(parts: Parts, days: dict[int, bytes]) -> int:
    crc = 0
    for key, body in sorted(days.items()):
        crc = crc32(b"%d" % crc_of(parts.nonce, "days", key, body), crc)
    return crc


def _by_day(sums: Sums) -> dict[int, bytes]:
    """Return the part of the cache for each day, by the ordinal of the day."""
    days: dict[str, dict[tuple[str, str, str], dict[str, object]]] = {}
    for names, times in sums.items():
        for time, part in times.items():
            hours = days.setdefault(time[:10], {}).setdefault(names, {})
            hours[time[11:]] = [plain(part.usd), *_counts(part)]
    return {
        date.fromisoformat(day).toordinal(): json.dumps(
            [[*names, hours] for names, hours in of_day.items()], separators=(",", ":")
        ).encode("ascii")
        for day, of_day in days.items()
    }


def _counts(part: Sum) -> tuple[int, ...]:
    """Return the counts of a sum; only the number of calls if all others are 0."""
    if part.voids or any(part.tokens):
        return (part.calls, part.voids, *part.tokens)
    return (part.calls,)


def _sum(usd: Any, calls: Any, *more: Any) -> Sum:
    if not more:
        return Sum(Decimal(usd), int(calls))
    voids, *tokens = map(int, more)
    return Sum(Decimal(usd), int(calls), voids, TokenCounts(*tokens) if tokens else NO_TOKENS)
