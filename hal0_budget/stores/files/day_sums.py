"""What a ledger's rows add up to by hour, kept in the cache by day for reports.

It never decides anything: what the days come to, and what came after them, must agree with the reading of
the ledger, or all rows are read again.
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

from hal0_budget.model.money import ZERO, add, plain, total
from hal0_budget.model.sums import NO_TOKENS, Sum, Sums, TokenCounts, merge, total_of
from hal0_budget.stores.files.blocks import NotALedger, ended_blocks
from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.cache_meta import Mark
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts, crc_of
from hal0_budget.stores.files.catch_up import current
from hal0_budget.stores.files.durable import opened
from hal0_budget.stores.files.ledger import Ledger
from hal0_budget.stores.files.sums import sums_of
from hal0_budget.stores.files.tally import Tally

# As much as a scan reads in some milliseconds is not worth a write.
WORTHWHILE = 1024 * 1024

# A year of ten models on each hour; what has more is not kept.
_MOST_SUMS = 100_000
_MOST_NAMED = 1024 * 1024

_DAY = itemgetter(slice(len("2026-05-29")))
_HOUR = itemgetter(slice(len("2026-05-29T13")))

_OTHER = "the ledger does not add up to its checkpoint"

Tick = Callable[[int], None]


class TooManySums(Exception):
    """The ledger comes to too many hours, surfaces, models and sources to be kept."""


def hourly_sums(ledger: Ledger, tally: Tally, epoch: int, tick: Tick) -> Sums:
    """The sums of the rows that `tally` counted, by the hours (`2026-05-29T13`) of UTC.

    Reads what came after the days in the cache, or all, and refreshes those where that is possible without
    waiting. `tick` is told how many bytes of the ledger are done. Raises TooManySums; NotALedger where
    the rows do not come to what the tally says; OSError.
    """
    cache = ledger.cache()
    with opened(ledger.path, os.O_RDONLY) as fd:
        sums, known = _load(cache, fd, epoch, tally.size)
        if known:
            sums = _grown(fd, sums, known, tally.size, tick)
        if not (known and _agrees(sums, tally)):
            sums = _grown(fd, {}, 0, tally.size, tick)
            if not _agrees(sums, tally):
                raise NotALedger(_OTHER)
            if known:
                # Its days are of another state of the ledger, and so may be the rest.
                cache.discard()
                known = 0
        if tally.size - known >= WORTHWHILE and os.pread(fd, 1, tally.size - 1) == b"\n":
            _save(cache, fd, epoch, sums, tally.size)
        return sums


def streamed_sums(ledger: Ledger, tally: Tally, when: Callable[[str], str], tick: Tick) -> Iterator[Sums]:
    """The sums of the rows that `tally` counted, block by block, by what `when` makes of their seconds.

    For what no hour can tell. Raises NotALedger, at the end, and OSError.
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
        raise NotALedger(_OTHER)


def all_days(parts: Parts) -> tuple[Sums, int]:
    """The sums of all days in the cache, and the CRC-32 over their checksums. Raises CacheUnusable."""
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
        raise CacheUnusable(f"days: the part with key {key} is not of its shape") from error
    return sums, crc


def _load(cache: Cache, fd: int, epoch: int, size: int) -> tuple[Sums, int]:
    """The sums by hour of the first bytes of an open ledger, and how many those are, as the cache has them.

    Nothing of a ledger that is too short for it, or that the cache knows more of than `size` bytes.
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
                raise CacheUnusable("days: not those that were written last")
            return sums, meta.summed.size
    except CacheUnusable:
        cache.discard()
    except CacheUnavailable:
        pass
    return {}, 0


def _agrees(sums: Sums, tally: Tally) -> bool:
    """Whether the sums are of as many rows and dollars as the tally, on the same days.

    A tally has months and years in the place of days that are long past.
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
    """The sums of days, by the longest period of the tally that holds each."""
    found: dict[str, Decimal] = {}
    for day, usd in days.items():
        period = next((each for each in (day[:4], day[:7]) if each in tally.days), day)
        found[period] = add(found.get(period, ZERO), usd)
    return found


def _grown(fd: int, sums: Sums, known: int, end: int, tick: Tick) -> Sums:
    """`sums`, and those of the rows after the first `known` bytes. Raises TooManySums."""
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
    """Keep the sums of the first `size` bytes of an open ledger, where that is possible now."""
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
    """The sums of each day as its part has them, by the ordinal of the day."""
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
    """The counts of a sum; without the last, where they are nothing."""
    if part.voids or any(part.tokens):
        return (part.calls, part.voids, *part.tokens)
    return (part.calls,)


def _sum(usd: Any, calls: Any, *more: Any) -> Sum:
    if not more:
        return Sum(Decimal(usd), int(calls))
    voids, *tokens = map(int, more)
    return Sum(Decimal(usd), int(calls), voids, TokenCounts(*tokens) if tokens else NO_TOKENS)
