"""The parts of the cache: rows of its SQLite tables, each with its own checksum."""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hal0_budget.stores.files.cache_meta import Meta, meta_of

if TYPE_CHECKING:
    import sqlite3

TABLES = ("meta", "ids", "lines", "days")


class CacheUnusable(Exception):
    """A part of the cache is missing, altered or of another build. The caller must discard the cache."""


class Parts:
    """The parts of the cache in one transaction. Every method may raise CacheUnusable, sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.nonce = b""

    def create(self) -> None:
        """Create the tables of a new file, and a new nonce."""
        for table in TABLES:
            self._db.execute(f"CREATE TABLE {table}(key INTEGER PRIMARY KEY, body BLOB, crc INTEGER)")
        self.nonce = os.urandom(16)

    def meta(self) -> Meta | None:
        """Return what the cache covers; None if the file is new."""
        import sqlite3

        try:
            rows = self._db.execute("SELECT key, body, crc FROM meta LIMIT 2").fetchall()
        except sqlite3.OperationalError:
            if self._is_empty():
                return None
            raise
        if len(rows) != 1 or not isinstance(rows[0][1], bytes):
            raise CacheUnusable("meta: not one part")
        self.nonce = rows[0][1][:16]
        try:
            return meta_of(self._checked("meta", rows[0])[1])
        except ValueError as error:
            raise CacheUnusable(f"meta: {error}") from None

    def save(self, meta: Meta) -> None:
        """Write `meta`, which says what the cache covers."""
        self.put("meta", 0, meta.to_bytes(self.nonce))

    def put(self, table: str, key: int, body: bytes) -> None:
        """Write a part; replaces the part with the same key."""
        crc = crc_of(self.nonce, table, key, body)
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (key, body, crc))  # noqa: S608

    def delete(self, table: str, first: int, last: int) -> None:
        """Delete the parts with the keys `first` to `last`."""
        self._db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", (first, last))  # noqa: S608

    def last(self, table: str, first: int, last: int) -> tuple[int, bytes]:
        """Return the greatest key from `first` to `last`, and the bytes of its part."""
        query = f"SELECT key, body, crc FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1"  # noqa: S608
        row = self._db.execute(query, (first, last)).fetchone()
        if row is None:
            raise CacheUnusable(f"{table}: a part from key {first} to {last} is missing")
        return self._checked(table, row)

    def all(self, table: str, first: int = 0, last: int = (1 << 63) - 1) -> Iterator[tuple[int, bytes]]:
        """Yield key and bytes of each part with a key from `first` to `last`, in order."""
        query = f"SELECT key, body, crc FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key"  # noqa: S608
        before = -1
        for row in self._db.execute(query, (first, last)):
            key, body = self._checked(table, row)
            if not before < key <= last:
                raise CacheUnusable(f"{table}: the part with key {key} is out of order")
            before = key
            yield key, body

    def structure(self) -> str | None:
        """Return the first problem that SQLite finds in the structure of the file; None if it is sound."""
        (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        return None if found == "ok" else str(found)

    def _is_empty(self) -> bool:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return bool(tables == 0)

    def _checked(self, table: str, row: tuple[object, object, object]) -> tuple[int, bytes]:
        key, body, crc = row
        if (
            isinstance(key, int)
            and isinstance(body, bytes)
            and isinstance(crc, int)
            and crc == crc_of(self.nonce, table, key, body)
        ):
            return key, body
        raise CacheUnusable(f"{table}: the part with key {key} has a wrong checksum")


def crc_of(nonce: bytes, table: str, key: int, body: bytes) -> int:
    """Return the CRC-32 of a part of the build with that nonce."""
    return crc32(body, crc32(b"%b%b %d" % (nonce, table.encode(), key)))
