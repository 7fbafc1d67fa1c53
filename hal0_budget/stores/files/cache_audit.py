"""Compares a whole cache with its ledger: yields its lines, and finds what is wrong with the cache."""

from __future__ import annotations

from array import array
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager

from hal0_budget.stores.files.blocks import Blocks, numbered_lines
from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.cache_meta import Meta
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts
from hal0_budget.stores.files.day_sums import all_days
from hal0_budget.stores.files.segments import HIGHEST, all_records, hash_of
from hal0_budget.stores.files.trail import Line

# The cache belongs to the ledger if the ledger has at least one in 50 of these sample lines.
_SAMPLED = 1000
_SHARE = 50

_MASK = (1 << 64) - 1


class CacheAudit:
    """Reads the cache for `verify`, in short transactions, so that charges can go on.

    `problem` says why the cache is unusable, if it is.
    """

    def __init__(self, cache: Cache, ledger: int, epoch: int) -> None:
        self._cache = cache
        self._ledger = ledger
        self.problem: str | None = None
        self._meta: Meta | None = None
        try:
            with cache.reading() as parts:
                self._meta = parts.meta()
                self._nonce = parts.nonce
        except CacheUnusable as error:
            self.problem = f"altered ({error})"
        except CacheUnavailable:
            pass
        meta = self._meta
        if (
            meta is not None
            and not meta.matches(ledger, epoch)
            and (meta.epoch != epoch or self._is_foreign())
        ):
            self.problem, self._meta = "made for another ledger, or before a repair", None

    @property
    def covered(self) -> int:
        """How many bytes from the beginning of the ledger `lines` covers."""
        return self._meta.covered.size if self._meta is not None else 0

    def lines(self) -> Iterator[Line]:
        """Yield every line that the cache covers, first to last; stops at an unreadable part."""
        if self._meta is None:
            return
        number = byte = 0
        while number < self._meta.lines:
            try:
                with self._parts() as parts:
                    key, body = parts.last("lines", number, number)
            except (CacheUnusable, CacheUnavailable) as error:
                self._note(error)
                return
            facts = array("I", body[8:])
            if int.from_bytes(body[:8], "little") != byte or not facts:
                self.problem = f"altered (lines: the part with key {key} does not follow the one before it)"
                return
            for length, crc in zip(facts[::2], facts[1::2], strict=True):
                yield Line(byte, length, crc)
                byte += length + 1
            number += len(facts) // 2

    def examine(self) -> None:
        """Read the rest of the cache, and compare its request ids with those in the ledger."""
        if self._meta is None or self.problem is not None:
            return
        try:
            with self._parts() as parts:
                if (found := parts.structure()) is not None:
                    raise CacheUnusable(found)
                _, crc = all_days(parts)
                if crc != self._meta.days_crc:
                    raise CacheUnusable("days: not the last ones that were written")
                for table in ("ids", "lines"):
                    for _ in parts.all(table):
                        pass
            recorded = self._recorded_ids()
        except (CacheUnusable, CacheUnavailable) as error:
            self._note(error)
            return
        if recorded != _ids_of(self._ledger, self.covered):
            self.problem = "altered (ids: they differ from those in the ledger)"

    def _recorded_ids(self) -> tuple[int, int]:
        """Return the number of request ids in the cache, and a checksum over them and their positions, which
        does not depend on their order.
        """
        count = checksum = 0
        for segment in self._meta.segments if self._meta is not None else ():
            with self._parts() as parts:
                for record in all_records(parts, segment):
                    checksum += _mixed(record >> 32, segment.begin + (record & HIGHEST))
                    count += 1
        return count, checksum & _MASK

    def _is_foreign(self) -> bool:
        """Return whether the ledger has hardly any of the lines that the cache has."""
        every = max(self._meta.lines // _SAMPLED, 1) if self._meta is not None else 1
        sample = {line.crc for number, line in enumerate(self.lines()) if number % every == 0}
        present: set[int] = set()
        for block in Blocks(self._ledger):
            present |= sample.intersection(map(crc32, block.split(b"\n")[:-1]))
        return len(present) * _SHARE < len(sample)

    def _note(self, error: CacheUnusable | CacheUnavailable) -> None:
        # A cache that is in use, or that another process rebuilds now, is not known to be altered.
        if isinstance(error, CacheUnusable):
            self.problem = f"altered ({error})"
        self._meta = None

    @contextmanager
    def _parts(self) -> Iterator[Parts]:
        """Open the build that was found at first. Raises CacheUnusable, CacheUnavailable."""
        with self._cache.reading() as parts:
            parts.meta()
            if parts.nonce != self._nonce:
                raise CacheUnavailable("another process rebuilt it")
            yield parts


def _ids_of(ledger: int, size: int) -> tuple[int, int]:
    """Return the same as `_recorded_ids`, for the rows in the first `size` bytes of an open ledger."""
    count = checksum = 0
    for _, byte, _, row in numbered_lines(ledger, size):
        if row is not None:
            checksum += _mixed(hash_of(row[2]), byte)
            count += 1
    return count, checksum & _MASK


def _mixed(request_hash: int, byte: int) -> int:
    return (request_hash << 1 | 1) * (byte + 1)
