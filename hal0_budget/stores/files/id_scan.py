"""Scans the part of a ledger that the cache does not cover for request ids."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import partial

from hal0_budget.durable import size_of
from hal0_budget.stores.files.blocks import BLOCK
from hal0_budget.stores.files.row_format import lines_and_rows, parse_row
from hal0_budget.strict_json import Unreadable

# Fits into the cache of a processor, which halves the time of a scan.
_BUFFER = 1024 * 1024

# An id that JSON writes without escapes, and the beginning of an unnecessary escape that could hide one.
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_ESCAPE = re.compile(rb"\\(?:u00[2-7]|/)")
_PLAIN_ID = re.compile(rb'"request_id"[ \t\r]*:[ \t\r]*"([^"\\]*)"')

# A scan uses two threads if each has at least this many bytes to search.
_LARGE = 16 * 1024 * 1024

# For more ids than this, or more strings that equal an id and are not one, a single pass over all ids of a
# block is faster than one search per id.
_FEW = 6

# A shorter id is searched with its quotes, because it is likely to be part of other texts.
_DISTINCT = 12


def scan_ids(fd: int, request_ids: Collection[str], begin: int) -> tuple[dict[str, set[int]], int]:
    """Return where rows with the request ids may begin in an open ledger from the byte `begin` on, and the
    byte at which the next scan must begin. Raises OSError.
    """
    scan = IdScan(fd, request_ids)
    middle = _line_behind(fd, (begin + size_of(fd)) // 2)
    if middle is None or middle - begin < _LARGE:
        return scan.found, scan.run(begin)
    # A scan spends half of its time reading; during that, the other thread can search.
    from threading import Thread

    other, ends, errors = IdScan(fd, request_ids), [begin], []

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
    """Return where the first line after a byte of an open file begins; None if no newline is near."""
    newline = os.pread(fd, BLOCK, byte).find(b"\n")
    return None if newline < 0 else byte + newline + 1


class IdScan:
    """One pass over an open ledger; `found` has, for each request id, where rows with it may begin."""

    def __init__(self, fd: int, request_ids: Iterable[str]) -> None:
        self._fd = fd
        self._texts = {each.encode("ascii"): each for each in request_ids if _PLAIN.fullmatch(each)}
        self.found: dict[str, set[int]] = {request_id: set() for request_id in request_ids}
        self._are_plain = len(self._texts) == len(self.found)
        self._needles: dict[bytes, bytes] = {}

    def run(self, begin: int, last: int = sys.maxsize) -> int:
        """Search the ledger from the byte `begin` to the byte `last`, at which a line begins.

        Returns the byte at which the next scan must begin. Stops at a line that is longer than a block: it
        may be a terabyte of zeros.
        """
        buffer = bytearray(max(min(size_of(self._fd) - begin, _BUFFER), 1))
        while begin < last and (count := os.preadv(self._fd, [memoryview(buffer)[: last - begin]], begin)):
            end = _end_of_lines(buffer, count)
            if end:
                self._search_lines(buffer, end, begin)
                begin += end
            elif count < BLOCK and len(buffer) < BLOCK and size_of(self._fd) - begin > count:
                # The ledger has grown since.
                buffer = bytearray(BLOCK)
            else:
                if count < BLOCK:
                    # A last line without newline: it may be a complete row.
                    self._examine(begin, bytes(buffer[:count]))
                break
        return begin

    def _search_lines(self, buffer: bytearray, end: int, begin: int) -> None:
        """Search the whole lines in the first `end` bytes of a buffer, which begin at the byte `begin`."""
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
            self._search_escapes(buffer, end, begin)

    def _search(self, buffer: bytearray, end: int, begin: int, text: bytes) -> bool:
        """Search for one id. Returns False, without a full search, if its text often has another meaning."""
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

    def _search_escapes(self, buffer: bytearray, end: int, begin: int) -> None:
        at = 0
        while match := _ESCAPE.search(buffer, at, end):
            line, at = buffer.rfind(b"\n", 0, match.start()) + 1, buffer.find(b"\n", match.start(), end)
            self._examine(begin + line, bytes(buffer[line:at]))

    def _examine(self, byte: int, line: bytes) -> bool:
        """Record the position of a line if it is a row with one of the request ids; return whether it is."""
        with suppress(Unreadable):
            request_id = parse_row(line).request_id
            if request_id in self.found:
                self.found[request_id].add(byte)
                return True
        return False


def _fastest(buffer: bytearray, text: bytes) -> bytes:
    """Return the text, with or without its quotes, that is fastest to search for in lines like the buffer's.

    The speed of Python's search varies up to four times, depending on which characters are common there.
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
    """Return how many of the first `count` bytes are whole lines, none of them longer than a block."""
    end = 0
    while (newline := buffer.rfind(b"\n", end, min(end + BLOCK, count))) >= 0:
        end = newline + 1
    return end
