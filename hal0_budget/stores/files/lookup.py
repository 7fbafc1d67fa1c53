"""Which rows have a request id: those that the cache knows of, and the rest of the ledger by scanning it.

The ledger is the only truth: whatever the cache says, the row is read from the ledger and its id compared.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.model.records import Row
from hal0_budget.stores.files.blocks import BLOCK
from hal0_budget.stores.files.durable import opened, size_of
from hal0_budget.stores.files.row_format import Unreadable, lines_and_rows, parse_row
from hal0_budget.stores.files.trail import LENGTH

if TYPE_CHECKING:
    from hal0_budget.stores.files.cache import Cache

# A ledger that is no longer is scanned at once.
SCANNED = LENGTH

# As much as fits into a processor's cache, which halves the time of a scan.
_BUFFER = 1024 * 1024

# An id that JSON writes as it is, unless somebody escapes what needs no escape, and how that begins.
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_ESCAPE = re.compile(rb"\\(?:u00[2-7]|/)")
_PLAIN_ID = re.compile(rb'"request_id"[ \t\r]*:[ \t\r]*"([^"\\]*)"')

# Each of two threads searches so many bytes at least.
_LARGE = 16 * 1024 * 1024

# For so many ids at once, and so many strings that look like the id and are not, one pass over all ids of
# a block is faster than one for each.
_FEW = 6


# A shorter id without its quotes may be a part of others.
_DISTINCT = 12


class Found(NamedTuple):
    """A row on record, and its first byte in the ledger."""

    byte: int
    row: Row


class _Known:
    """What is known of one request id: where rows with it may begin, in the ledger's first `until` bytes."""

    __slots__ = ("places", "until")

    def __init__(self, places_: Iterable[int], until: int) -> None:
        self.places = set(places_)
        self.until = until


class RowFinder:
    """Finds the rows of the ledger at `path`; what it knows of the ledger is kept until `close`.

    May be asked before the lock is held: what the ledger gains after that is looked at when asked again.
    """

    def __init__(self, path: Path, cache: Callable[[], Cache], epoch: int) -> None:
        self._path = path
        self._cache = cache
        self._epoch = epoch
        self._fd: int | None = None
        self._known: dict[str, _Known] = {}
        self._until = 0
        # How many bytes of the ledger the cache covered, once it was asked.
        self.covered: int | None = None

    def close(self) -> None:
        """Forget everything, and close the ledger."""
        fd, self._fd = self._fd, None
        self._known.clear()
        self._until, self.covered = 0, None
        if fd is not None:
            os.close(fd)

    @property
    def searched(self) -> os.stat_result | None:
        """The file that was searched; None before."""
        return None if self._fd is None else os.fstat(self._fd)

    def find(self, request_id: str) -> list[Found]:
        """Every row on record with that request id, newest first. Raises OSError."""
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
        """Look for the rows of many request ids at once; returns the ids that may be on record.

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
        found, until = _scanned(fd, wanted, begin)
        for request_id, known in wanted.items():
            known.places |= found[request_id]
            known.until = until
        self._until = max(self._until, until)
        return [request_id for request_id, known in wanted.items() if known.places]

    def _open(self) -> int | None:
        """The ledger that is at the path now; what is known of another one is forgotten."""
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
        """Note what the cache knows of request ids. Where it is of no use, nothing is known."""
        found: dict[str, list[int]] = {}
        self.covered = 0
        # What a scan takes no time for needs no cache, and the import of none.
        if size_of(fd) > SCANNED:
            from hal0_budget.stores.files.segments import look_up

            found, self.covered = look_up(self._cache(), fd, self._epoch, request_ids)
        for request_id in request_ids:
            self._known[request_id] = _Known(found.get(request_id, ()), self.covered)


def _scanned(fd: int, request_ids: Collection[str], begin: int) -> tuple[dict[str, set[int]], int]:
    """Where rows with the request ids may begin in an open ledger from the byte `begin` on; the first byte
    that is to be looked at again. Raises OSError.
    """
    scan = _Scan(fd, request_ids)
    middle = _line_behind(fd, (begin + size_of(fd)) // 2)
    if middle is None or middle - begin < _LARGE:
        return scan.found, scan.run(begin)
    # Half of the time of a scan is reading, during which the other half of the ledger can be searched.
    from threading import Thread

    other, ends, errors = _Scan(fd, request_ids), [begin], []

    def _run_other() -> None:
        try:
            ends.append(other.run(middle))
        except BaseException as error:  # noqa: BLE001, raised again below
            errors.append(error)

    thread = Thread(target=_run_other)
    thread.start()
    try:
        until = scan.run(begin, middle)
    finally:
        thread.join()
    for error in errors:
        raise error
    for request_id, places in other.found.items():
        scan.found[request_id] |= places
    return scan.found, until if until < middle else ends[-1]


def _line_behind(fd: int, byte: int) -> int | None:
    """Where the first line behind a byte of an open file begins; None if none is near."""
    newline = os.pread(fd, BLOCK, byte).find(b"\n")
    return None if newline < 0 else byte + newline + 1


class _Scan:
    """One pass over an open ledger for request ids; `found` has where rows with each may begin."""

    def __init__(self, fd: int, request_ids: Iterable[str]) -> None:
        self._fd = fd
        self._texts = {each.encode("ascii"): each for each in request_ids if _PLAIN.fullmatch(each)}
        self.found: dict[str, set[int]] = {request_id: set() for request_id in request_ids}
        self._are_plain = len(self._texts) == len(self.found)
        self._needles: dict[bytes, bytes] = {}

    def run(self, begin: int, last: int = sys.maxsize) -> int:
        """Look at the ledger from the byte `begin` to the byte `last`, at which a line begins; returns the
        first byte that is to be looked at again.

        A line that is longer than a block ends what can be read: it may be a terabyte of nothing.
        """
        buffer = bytearray(max(min(size_of(self._fd) - begin, _BUFFER), 1))
        while begin < last and (count := os.preadv(self._fd, [memoryview(buffer)[: last - begin]], begin)):
            end = _end_of_lines(buffer, count)
            if end:
                self._look_at(buffer, end, begin)
                begin += end
            elif count < BLOCK and len(buffer) < BLOCK and size_of(self._fd) - begin > count:
                # It has grown meanwhile.
                buffer = bytearray(BLOCK)
            else:
                if count < BLOCK:
                    # The row is whole, or no row: it may lack its newline.
                    self._examine(begin, bytes(buffer[:count]))
                break
        return begin

    def _look_at(self, buffer: bytearray, end: int, begin: int) -> None:
        """Look at the whole lines in the first `end` bytes of a buffer, which begin at the byte `begin`."""
        if not self._are_plain:
            byte = begin
            for line, row in lines_and_rows(bytes(buffer[:end])):
                if row is not None and row[2] in self.found:
                    self.found[row[2]].add(byte)
                byte += len(line) + 1
            return
        if len(self._texts) > _FEW or not all(self._search(buffer, end, begin, text) for text in self._texts):
            for match in _PLAIN_ID.finditer(buffer, 0, end):
                if (request_id := self._texts.get(match[1])) is not None:
                    self.found[request_id].add(begin + buffer.rfind(b"\n", 0, match.start()) + 1)
        if buffer.find(b"\\", 0, end) >= 0:
            self._look_at_escapes(buffer, end, begin)

    def _search(self, buffer: bytearray, end: int, begin: int, text: bytes) -> bool:
        """Look for one text; False where it stands for other things as well, so that this takes long."""
        needle = self._needles.get(text)
        if needle is None:
            needle = self._needles[text] = _fastest(buffer, text)
        misses = at = 0
        while (at := buffer.find(needle, at, end)) >= 0:
            line, at = buffer.rfind(b"\n", 0, at) + 1, buffer.find(b"\n", at, end)
            if not self._examine(begin + line, bytes(buffer[line:at])):
                misses += 1
                if misses > _FEW:
                    return False
        return True

    def _look_at_escapes(self, buffer: bytearray, end: int, begin: int) -> None:
        at = 0
        while match := _ESCAPE.search(buffer, at, end):
            line, at = buffer.rfind(b"\n", 0, match.start()) + 1, buffer.find(b"\n", match.start(), end)
            self._examine(begin + line, bytes(buffer[line:at]))

    def _examine(self, byte: int, line: bytes) -> bool:
        """Note the line that begins at a byte where it is a row with one of the request ids."""
        with suppress(Unreadable):
            request_id = parse_row(line).request_id
            if request_id in self.found:
                self.found[request_id].add(byte)
                return True
        return False


def _fastest(buffer: bytearray, text: bytes) -> bytes:
    """What to look for in lines like those of a buffer to find a text between quotes.

    How fast Python searches depends on which characters are also common around: up to four times.
    """
    quoted = b'"%b"' % text
    if len(buffer) < _BUFFER or len(text) < _DISTINCT:
        return quoted
    needles = (quoted, quoted[1:], quoted[:-1], text)
    return min(needles, key=partial(_seconds, buffer))


def _seconds(buffer: bytearray, needle: bytes) -> float:
    start = time.perf_counter()
    buffer.find(needle)
    return time.perf_counter() - start


def _end_of_lines(buffer: bytearray, count: int) -> int:
    """How many of the first `count` bytes are whole lines, none of them longer than a block."""
    end = 0
    while (newline := buffer.rfind(b"\n", end, min(end + BLOCK, count))) >= 0:
        end = newline + 1
    return end


def _row_at(fd: int, byte: int) -> Row | None:
    """The row that begins at a byte of an open ledger; None where none does."""
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
