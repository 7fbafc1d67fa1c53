"""Updates the cache from its ledger: reads the part that is not covered yet, one transaction per slice.

Does not hold the lock of the persona: charges can go on, and scan the part that is not covered.
"""

from __future__ import annotations

import os
from array import array
from binascii import crc32
from contextlib import suppress

from hal0_budget.stores.files.blocks import Blocks, LongLine
from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.cache_meta import Mark, Meta, Segment
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts
from hal0_budget.stores.files.row_format import lines_and_rows
from hal0_budget.stores.files.segments import HIGHEST, hash_of, merged, write_segment

# The most that one charge adds to the cache, and merges; both cost some hundredths of a second.
SLICE = 256 * 1024
_MERGED = 8 * 1024 * 1024

# Size of a slice when the whole ledger is covered; needs some MB of memory.
_LARGE_SLICE = 16 * 1024 * 1024


def catch_up(cache: Cache, ledger: int, epoch: int, limit: int | None = None) -> None:
    """Cover the next `limit` bytes of the open file `ledger`, or, for None, all of it. Stops if the cache
    is unavailable.

    A cache that is unusable, or of another ledger or epoch, is rebuilt. Raises OSError if the ledger cannot
    be read or synced.
    """
    for _ in range(2):
        try:
            while _covered_more(cache, ledger, epoch, limit) and limit is None:
                pass
        except CacheUnusable:
            cache.discard()
        except CacheUnavailable:
            return
        else:
            return


def current(parts: Parts, ledger: int, epoch: int) -> Meta:
    """Return what the cache covers of the open ledger; creates the tables of a new file.

    Raises CacheUnusable.
    """
    meta = parts.meta()
    if meta is None:
        parts.create()
        return Meta(epoch)
    if not meta.matches(ledger, epoch):
        raise CacheUnusable("meta: made for another ledger, or another state of it")
    return meta


def _covered_more(cache: Cache, ledger: int, epoch: int, limit: int | None) -> bool:
    with cache.writing() as parts:
        before = current(parts, ledger, epoch)
        after = _grown(parts, before, ledger, limit or _LARGE_SLICE)
        if after == before:
            return False
        segments = merged(parts, after.segments, after.next_number, HIGHEST if limit is None else _MERGED)
        if segments != after.segments:
            after = after._replace(segments=segments, next_number=after.next_number + 1)
        # Sync first: after a power cut the cache must not cover rows that the ledger has lost.
        os.fsync(ledger)
        parts.save(after)
        return True


def _grown(parts: Parts, meta: Meta, ledger: int, limit: int) -> Meta:
    """Write the request ids and lines of the next `limit` bytes, whole lines only; return the new meta."""
    begin = byte = meta.covered.size
    number = meta.lines
    records: list[int] = []
    # Stops at a line that is longer than a block: the rest cannot be read, and is not covered.
    with suppress(LongLine):
        for whole in Blocks(ledger, begin):
            # Include the line that crosses the limit.
            block = whole[: whole.find(b"\n", begin + limit - byte - 1) + 1 or None]
            first, lines = byte, array("I")
            for line, row in lines_and_rows(block):
                if row is not None:
                    records.append(hash_of(row[2]) << 32 | byte - begin)
                lines.extend((len(line), crc32(line)))
                byte += len(line) + 1
            parts.put("lines", number, first.to_bytes(8, "little") + lines.tobytes())
            number += len(lines) // 2
            if byte >= begin + limit:
                break
    if byte == begin:
        return meta
    segment = Segment(meta.next_number, begin, byte, len(records))
    write_segment(parts, segment, records)
    return meta._replace(
        covered=Mark.of(ledger, byte),
        lines=number,
        segments=(*meta.segments, segment),
        next_number=meta.next_number + 1,
    )
