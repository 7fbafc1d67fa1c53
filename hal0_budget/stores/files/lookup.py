"""Finds the rows with a request id: through the cache, and by scanning the part that it does not cover.

The ledger is the only truth: each row that the cache names is read from the ledger, and its id compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.durable import opened, size_of
from hal0_budget.model.records import Row
from hal0_budget.stores.files.blocks import BLOCK
from hal0_budget.stores.files.id_scan import scan_ids
from hal0_budget.stores.files.row_format import parse_row
from hal0_budget.stores.files.trail import LENGTH
from hal0_budget.strict_json import Unreadable

if TYPE_CHECKING:
    from hal0_budget.stores.files.cache import Cache

# A ledger of at most this many bytes is scanned without asking the cache.
SCANNED = LENGTH


class Found(NamedTuple):
    """A recorded row, and its first byte in the ledger."""

    byte: int
    row: Row


class _Known:
    """Where rows with one request id may begin in the first `until` bytes of the ledger."""

    __slots__ = ("places", "until")

    def __init__(self, places_: Iterable[int], until: int) -> None:
        self.places = set(places_)
        self.until = until


class RowFinder:
    """Finds rows in the ledger at `path`; keeps its results until `close`.

    It may be used before the lock is held: the next call searches the bytes that were added since.
    """

    def __init__(self, path: Path, cache: Callable[[], Cache], epoch: int) -> None:
        self._path = path
        self._cache = cache
        self._epoch = epoch
        self._fd: int | None = None
        self._known: dict[str, _Known] = {}
        self._until = 0
        # How many bytes of the ledger the cache covered; None before the cache was asked.
        self.covered: int | None = None

    def close(self) -> None:
        """Drop all results, and close the ledger."""
        fd, self._fd = self._fd, None
        self._known.clear()
        self._until, self.covered = 0, None
        if fd is not None:
            os.close(fd)

    @property
    def searched(self) -> os.stat_result | None:
        """The status of the file that was searched; None before the first search."""
        return None if self._fd is None else os.fstat(self._fd)

    def find(self, request_id: str) -> list[Found]:
        """Return every recorded row with a request id, newest first. Raises OSError."""
        self.prefetch((request_id,))
        if self._fd is None:
            return []
        found = []
        for byte in sorted(self._known[request_id].places, reverse=True):
            row = _row_at(self._fd, byte)
            if row is not None and row.request_id == request_id:
                found.append(Found(byte, row))
        return found

    def prefetch(self, request_ids: Collection[str]) -> list[str]:
        """Search for the rows of many request ids at once; return the ids that may be recorded.

        Raises OSError; NotRegular.
        """
        fd = self._open() if request_ids else None
        if fd is None:
            return []
        new = [request_id for request_id in request_ids if request_id not in self._known]
        if new:
            self._ask_cache(fd, new)
        wanted = {request_id: self._known[request_id] for request_id in request_ids}
        begin = min((known.until for known in wanted.values()), default=0)
        found, until = scan_ids(fd, wanted, begin)
        for request_id, known in wanted.items():
            known.places |= found[request_id]
            known.until = until
        self._until = max(self._until, until)
        return [request_id for request_id, known in wanted.items() if known.places]

    def _open(self) -> int | None:
        """Return the open ledger; if another file is at its path now, open that one and drop all results."""
        if self._fd is not None:
            searched = os.fstat(self._fd)
            try:
                is_same = os.path.samestat(os.stat(self._path, follow_symlinks=False), searched)
            except FileNotFoundError:
                is_same = False
            if is_same and searched.st_size >= self._until:
                return self._fd
            self.close()
        try:
            with opened(self._path, os.O_RDONLY) as fd:
                self._fd = os.dup(fd)
        except FileNotFoundError:
            return None
        return self._fd

    def _ask_cache(self, fd: int, request_ids: list[str]) -> None:
        """Look request ids up in the cache. Without a usable cache, the whole ledger will be scanned."""
        found: dict[str, list[int]] = {}
        self.covered = 0
        # A short ledger is scanned quickly: it needs no cache, and no import of it.
        if size_of(fd) > SCANNED:
            from hal0_budget.stores.files.segments import look_up

            found, self.covered = look_up(self._cache(), fd, self._epoch, request_ids)
        for request_id in request_ids:
            self._known[request_id] = _Known(found.get(request_id, ()), self.covered)


def _row_at(fd: int, byte: int) -> Row | None:
    """Return the row that begins at a byte of an open ledger; None if no row begins there."""
    line = b""
    for length in (1024, BLOCK):
        data = os.pread(fd, length, byte)
        line, newline, _ = data.partition(b"\n")
        if newline or len(data) < length:
            break
    try:
        return parse_row(line)
    except Unreadable:
        return None
