"""Bringing the cache up to its ledger: what it does not cover yet is read, in one transaction a slice.

Without the lock of the persona: charges go on meanwhile, and look up by scanning what is not covered.
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

# What one charge covers at most, and merges: some hundredths of a second.
SLICE = 256 * 1024
_MERGED = 8 * 1024 * 1024

# What is covered in one transaction where all is: some MB of memory.
_LARGE_SLICE = 16 * 1024 * 1024


def catch_up(cache: Cache, ledger: int, epoch: int, limit: int | None = None) -> None:
    """Cover the next `limit` bytes of the open file `ledger`, or all of it; as far as that is possible now.

    A cache that is unusable, or of another ledger or epoch, is made anew. Raises OSError where the ledger
    cannot be read or synced.
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
    """What the cache covers of the open ledger; a new file is begun. Raises CacheUnusable."""
    meta = parts.meta()
    if meta is None:
        parts.create()
        return Meta(epoch)
    if not meta.matches(ledger, epoch):
        raise CacheUnusable("meta: of another ledger, or of another state of it")
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
        # A power cut must not keep a cache that covers rows which the ledger loses.
        os.fsync(ledger)
        parts.save(after)
        return True


def _grown(parts: Parts, meta: Meta, ledger: int, limit: int) -> Meta:
    """Write the request ids and lines of the next `limit` bytes, whole lines; what is covered then."""
    begin = byte = meta.covered.size
    number = meta.lines
    records: list[int] = []
    # What is behind a line that is longer than a block cannot be read, and is not covered.
    with suppress(LongLine):
        for whole in Blocks(ledger, begin):
            # The last line may go beyond the limit.
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
