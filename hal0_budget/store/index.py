"""The index: which row has a request id, and what every line's checksum was when it was new.

Derived from the ledger and used under the lock alone. A header, a table of heads, then one record
a line in the order of the ledger; records whose request ids share a head are chained from the
newest to the oldest, so a look-up costs the same at ten rows and at ten million. Records are
written before heads, and heads before the header: what a crash interrupts is done again, and comes
out the same, because a line never changes.

Nothing here is synced. The header names the boot that wrote it, and after another boot the index is
built afresh: a power cut may have kept any part of it.
"""

from __future__ import annotations

import functools
import os
import struct
from binascii import crc32
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from hal0_budget.store.checkpoint import last_crc
from hal0_budget.store.durable import NotRegular, opened, size_of
from hal0_budget.store.rows import Row, Unreadable, lines_and_ids, parse_row

_MAGIC = b"hal0idx1"
_HEADER = struct.Struct("<8s36sQII")
_HEAD = struct.Struct("<I")
_RECORD = struct.Struct("<QIIII")
_HEADS_AT = 4096
_HEADS = 1 << 16
_RECORDS_AT = _HEADS_AT + 4 * _HEADS
_BLOCK = 256 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Line(NamedTuple):
    """What the index knows of one line: its first byte, its length without newline, its CRC-32."""

    byte: int
    length: int
    crc: int


class Index:
    """The open index of the open ledger `ledger`; `covered` bytes of it are indexed.

    Read and written by plain calls: a full disk then is an error, and not the end of the process.
    """

    def __init__(self, fd: int, ledger: int) -> None:
        self._fd = fd
        self._ledger = ledger
        self.covered: int
        self._records: int
        self._crc: int
        _, _, self.covered, self._records, self._crc = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))

    def matches(self) -> bool:
        """Whether the ledger still begins as it did, as far as its size and the last bytes tell."""
        size = size_of(self._ledger)
        return size >= self.covered and last_crc(self._ledger, self.covered) == self._crc

    def catch_up(self) -> None:
        """Index the whole lines that the ledger has gained."""
        while size_of(self._ledger) > self.covered and (block := self._next_block()):
            self._add(block)
            self._crc = last_crc(self._ledger, self.covered)
            header = _HEADER.pack(_MAGIC, _boot(), self.covered, self._records, self._crc)
            os.pwrite(self._fd, header, 0)

    def find(self, request_id: str) -> Iterator[Row]:
        """Every row of that request id, newest first: those indexed, and one that lacks its newline."""
        wanted = id_crc(request_id)
        fragment = self._beyond()
        if fragment and (row := _row(fragment)) is not None and row.request_id == request_id:
            yield row
        number = self._head(wanted % _HEADS)
        while number:
            byte, length, _, crc, number = self._record(number)
            if crc == wanted:
                row = _row(os.pread(self._ledger, length, byte))
                if row is not None and row.request_id == request_id:
                    yield row

    def _next_block(self) -> bytes:
        block = self._beyond()
        return block[: block.rfind(b"\n") + 1]

    def _beyond(self) -> bytes:
        """What the ledger holds beyond what is indexed, as far as a block goes."""
        gained = size_of(self._ledger) - self.covered
        return os.pread(self._ledger, min(_BLOCK, max(gained, 0)), self.covered)

    def _add(self, block: bytes) -> None:
        records = bytearray()
        heads: dict[int, int] = {}
        byte, number = self.covered, self._records
        for line, request_id in lines_and_ids(block):
            number += 1
            crc = head = prev = 0
            if request_id is not None:
                crc = id_crc(request_id)
                head = crc % _HEADS
                prev = heads[head] if head in heads else self._head_before(head, self._records + 1)
                heads[head] = number
            records += _RECORD.pack(byte, len(line), crc32(line), crc, prev)
            byte += len(line) + 1
        os.pwrite(self._fd, records, _RECORDS_AT + self._records * _RECORD.size)
        for head, newest in heads.items():
            os.pwrite(self._fd, _HEAD.pack(newest), _HEADS_AT + head * _HEAD.size)
        self.covered, self._records = byte, number

    def _head_before(self, head: int, first: int) -> int:
        """The newest record of a chain before number `first`: a crash may have left newer ones."""
        number = self._head(head)
        while number >= first:
            number = self._record(number)[4]
        return number

    def _head(self, head: int) -> int:
        (number,) = _HEAD.unpack(os.pread(self._fd, _HEAD.size, _HEADS_AT + head * _HEAD.size))
        return int(number)

    def _record(self, number: int) -> tuple[int, int, int, int, int]:
        data = os.pread(self._fd, _RECORD.size, _RECORDS_AT + (number - 1) * _RECORD.size)
        found: tuple[int, int, int, int, int] = _RECORD.unpack(data)
        return found


def open_index(stack: ExitStack, path: Path, ledger: int) -> Index:
    """The index at `path` of the open file `ledger`, made afresh where there is none of this boot.

    It is open until the stack ends; the caller holds the lock. Raises OSError.
    """
    fd = _open_usable(stack, path, os.O_RDWR)
    if fd is None:
        _make(path)
        fd = stack.enter_context(opened(path, os.O_RDWR))
    return Index(fd, ledger)


def indexed_lines(path: Path) -> Iterator[Line]:
    """Every line that the index at `path` knows, first to last; none where there is no index.

    Needs no lock: what is indexed never changes.
    """
    with ExitStack() as stack:
        fd = _open_usable(stack, path, os.O_RDONLY)
        if fd is None:
            return
        records = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))[3]
        at, end = _RECORDS_AT, _RECORDS_AT + records * _RECORD.size
        while data := os.pread(fd, min(end - at, 4096 * _RECORD.size), at):
            at += len(data)
            for byte, length, crc, _, _ in _RECORD.iter_unpack(data):
                yield Line(byte, length, crc)


def _row(line: bytes) -> Row | None:
    try:
        return parse_row(line)
    except Unreadable:
        return None


def _open_usable(stack: ExitStack, path: Path, flags: int) -> int | None:
    """The index at `path`, open until the stack ends; None where there is none of this boot."""
    try:
        fd = stack.enter_context(opened(path, flags))
    except (FileNotFoundError, NotRegular):
        return None
    size = size_of(fd)
    if size < _RECORDS_AT:
        return None
    magic, boot, _, records, _ = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
    usable = magic == _MAGIC and boot == _boot() and size >= _RECORDS_AT + records * _RECORD.size
    return fd if usable else None


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with opened(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
        os.truncate(fd, _RECORDS_AT)
        os.pwrite(fd, _HEADER.pack(_MAGIC, _boot(), 0, 0, 0), 0)
    os.replace(temporary, path)


def id_crc(request_id: str) -> int:
    """The CRC-32 that a request id is looked up by."""
    return crc32(request_id.encode("utf-8", "surrogatepass"))


@functools.cache
def _boot() -> bytes:
    try:
        return _BOOT_ID.read_bytes()[:36]
    except OSError:
        return bytes(36)
