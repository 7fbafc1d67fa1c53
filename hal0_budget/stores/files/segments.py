"""Request ids in the cache: consecutive sorted segments, merged as they grow.

A segment has the request ids of a range of the ledger. It is divided into parts by ranges of the CRC-32 of
the id. Together the parts cover all 32-bit values without a gap. So a sound part whose range contains a
CRC-32 has every row of the segment with that CRC-32. Segments are never changed: the last ones are merged
into a new segment once they are large compared with the segment before them, so that a look-up reads few
segments, however long the ledger is.

A record is one integer: the CRC-32 of an id, shifted left by 32 bits, plus the first byte of the row,
counted from the first byte of the segment.
"""

from __future__ import annotations

from array import array
from binascii import crc32
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.cache_meta import Segment
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts

HIGHEST = (1 << 32) - 1

# Records that fit into one page of SQLite, and records that are merged at a time (some MB of memory).
_IN_PART = 480
_AT_ONCE = 100_000

# A segment is merged with those after it once these have at least half of its size.
_RATIO = 2


class Part(NamedTuple):
    """The records whose CRC-32 is from `low` to `high`, sorted."""

    low: int
    high: int
    records: Sequence[int]


def hash_of(request_id: str) -> int:
    """Return the CRC-32 of a request id, which is its key in the segments."""
    return crc32(request_id.encode("utf-8", "surrogatepass"))


def write_segment(parts: Parts, segment: Segment, records: list[int]) -> None:
    """Write a new segment; `records` may be in any order."""
    records.sort()
    _write(parts, segment.number, records, 0, HIGHEST)


def look_up(
    cache: Cache, ledger: int, epoch: int, request_ids: Sequence[str]
) -> tuple[dict[str, list[int]], int]:
    """Return where rows with each request id may begin in the covered part of an open ledger, and the size of
    that part in bytes; 0 if the cache is not usable.
    """
    try:
        with cache.reading() as parts:
            meta = parts.meta()
            if meta is None or not meta.matches(ledger, epoch):
                return {}, 0
            hashes = {request_id: hash_of(request_id) for request_id in request_ids}
            found = places(parts, meta.segments, hashes.values())
            return {request_id: found[each] for request_id, each in hashes.items()}, meta.covered.size
    except CacheUnusable:
        cache.discard()
    except CacheUnavailable:
        pass
    return {}, 0


def places(parts: Parts, segments: Iterable[Segment], hashes: Iterable[int]) -> dict[int, list[int]]:
    """Return, for each hash, the first bytes of the rows whose ids have it. Raises CacheUnusable."""
    wanted = sorted(set(hashes))
    found: dict[int, list[int]] = {wanted_hash: [] for wanted_hash in wanted}
    for segment in segments:
        part = Part(0, -1, ())
        for each in wanted:
            if each > part.high:
                part = _part_with(parts, segment, each)
            begin = bisect_left(part.records, each << 32)
            end = bisect_right(part.records, each << 32 | HIGHEST, begin)
            found[each] += [segment.begin + (record & HIGHEST) for record in part.records[begin:end]]
    return found


def merged(
    parts: Parts, segments: Sequence[Segment], next_number: int, most_bytes: int
) -> tuple[Segment, ...]:
    """Return the segments after merging the last ones, if they are large compared with those before them.

    Does at most one merge, of no more than `most_bytes` of the ledger. Raises CacheUnusable.
    """
    first = len(segments) - 1
    while first > 0:
        before, size = segments[first - 1], segments[-1].end - segments[first].begin
        if before.end - before.begin > _RATIO * size or segments[-1].end - before.begin > min(
            most_bytes, HIGHEST
        ):
            break
        first -= 1
    old = segments[first:]
    if len(old) < 2:  # noqa: PLR2004, one segment needs no merge
        return tuple(segments)
    new = Segment(next_number, old[0].begin, old[-1].end, sum(each.rows for each in old))
    windows = new.rows // _AT_ONCE + 1
    for window in range(windows):
        low, high = (window << 32) // windows, (window + 1 << 32) // windows - 1
        records: list[int] = []
        for each in old:
            moved = each.begin - new.begin
            records += [record + moved for record in _between(parts, each, low, high)]
        records.sort()
        _write(parts, new.number, records, low, high)
    for each in old:
        parts.delete("ids", each.number << 32, each.number << 32 | HIGHEST)
    return (*segments[:first], new)


def all_records(parts: Parts, segment: Segment) -> Iterator[int]:
    """Yield every record of a segment. Raises CacheUnusable if its parts leave a gap or are not sorted."""
    at = count = 0
    for key, body in parts.all("ids", segment.number << 32, segment.number << 32 | HIGHEST):
        part = _part(key, body)
        if part.low != at or part.records != array("Q", sorted(part.records)):
            raise CacheUnusable(f"ids: the part with key {key} does not follow the one before it")
        yield from part.records
        at, count = part.high + 1, count + len(part.records)
    if at != HIGHEST + 1 or count != segment.rows:
        raise CacheUnusable(f"ids: segment {segment.number} is incomplete")


def _part_with(parts: Parts, segment: Segment, wanted: int) -> Part:
    """Return the part of a segment whose range contains a hash."""
    part = _part(*parts.last("ids", segment.number << 32, segment.number << 32 | wanted))
    if not part.low <= wanted <= part.high:
        raise CacheUnusable(f"ids: no part of segment {segment.number} covers {wanted}")
    return part


def _between(parts: Parts, segment: Segment, low: int, high: int) -> Iterator[int]:
    """Yield the records of a segment whose hashes are from `low` to `high`."""
    at = low
    while at <= high:
        part = _part_with(parts, segment, at)
        begin = bisect_left(part.records, low << 32)
        yield from part.records[begin : bisect_right(part.records, high << 32 | HIGHEST, begin)]
        at = part.high + 1


def _write(parts: Parts, number: int, records: Sequence[int], low: int, high: int) -> None:
    """Write sorted records as parts that cover the hashes from `low` to `high`."""
    begin = 0
    while low <= high:
        end = begin + _IN_PART
        until = high
        if end < len(records):
            # All records with one hash go into the same part.
            until = records[end - 1] >> 32
            end = bisect_right(records, until << 32 | HIGHEST, end)
        parts.put("ids", number << 32 | low, until.to_bytes(8, "little") + array("Q", records[begin:end]))
        begin, low = end, until + 1


def _part(key: int, body: bytes) -> Part:
    records = array("Q")
    try:
        records.frombytes(body[8:])
    except ValueError:
        raise CacheUnusable(f"ids: the part with key {key} has an incomplete record") from None
    return Part(key & HIGHEST, int.from_bytes(body[:8], "little"), records)
