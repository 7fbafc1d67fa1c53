"""The cache: one SQLite file of what can be computed again from a ledger: request ids, lines, sums.

The ledger is the only truth. Every part of the cache has a CRC-32 over the nonce of its build, its table,
its key and its bytes, and all parts but `meta` are written once and never changed, so that neither a
flipped bit nor a page of an older state passes for what it is not. Whatever is wrong with the file, the
caller reads the ledger instead. `check` neither imports nor opens this.

A rollback journal, not WAL: a process that ends by `os._exit` never closes its connection.
"""

from __future__ import annotations

import os
import stat
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from hal0_budget.stores.files.cache_meta import Meta, meta_of
from hal0_budget.stores.files.durable import opened

if TYPE_CHECKING:
    import sqlite3

TABLES = ("meta", "ids", "lines", "days")

# What versions before this one kept in its place.
FORMER = ("spend.index", "spend.summary")
_BESIDE = ("-journal", "-wal", "-shm")

# Seconds to wait for another process's transaction; then the caller reads the ledger.
_PATIENCE = 0.03

_SETTINGS = (
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
    # What a power cut keeps of a transaction is told by the checksums: a part that passes is as it was
    # written, and `meta` names every part that there has to be.
    "PRAGMA synchronous=OFF",
    # A transaction that spills its pages would keep readers out until it ends.
    "PRAGMA cache_spill=OFF",
)

# SQLite's result codes for "not now" or "not here", as opposed to "this file is wrong":
# PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, NOLFS, AUTH.
_NOT_NOW = frozenset((3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 22, 23))

# Connections of the process that this one was forked from: to close one here could harm its file.
_ABANDONED: list[sqlite3.Connection] = []


class CacheUnusable(Exception):
    """A part of the cache is missing, altered or of another build; says which. It is to be discarded."""


class CacheUnavailable(Exception):
    """There is no cache, or it cannot be used now: locked, not permitted, disk full. It is left alone."""


class Parts:
    """The parts of the cache within one transaction. Every method raises CacheUnusable, sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.nonce = b""

    def create(self) -> None:
        """Make the tables of a new file, for a build with a nonce of its own."""
        for table in TABLES:
            self._db.execute(f"CREATE TABLE {table}(key INTEGER PRIMARY KEY, body BLOB, crc INTEGER)")
        self.nonce = os.urandom(16)

    def meta(self) -> Meta | None:
        """What the cache covers; None where the file is new."""
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
        """Make `meta` what the cache covers."""
        self.put("meta", 0, meta.to_bytes(self.nonce))

    def put(self, table: str, key: int, body: bytes) -> None:
        """Write a part, in the place of the one with its key."""
        crc = crc_of(self.nonce, table, key, body)
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (key, body, crc))  # noqa: S608

    def delete(self, table: str, first: int, last: int) -> None:
        """Delete the parts with the keys `first` to `last`."""
        self._db.execute(f"DELETE FROM {table} WHERE key BETWEEN ? AND ?", (first, last))  # noqa: S608

    def last(self, table: str, first: int, last: int) -> tuple[int, bytes]:
        """The part with the greatest key from `first` to `last`: that key, and its bytes."""
        query = f"SELECT key, body, crc FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1"  # noqa: S608
        row = self._db.execute(query, (first, last)).fetchone()
        if row is None:
            raise CacheUnusable(f"{table}: a part from key {first} to {last} is missing")
        return self._checked(table, row)

    def all(self, table: str, first: int = 0, last: int = (1 << 63) - 1) -> Iterator[tuple[int, bytes]]:
        """Key and bytes of each part with a key from `first` to `last`, in order."""
        query = f"SELECT key, body, crc FROM {table} WHERE key BETWEEN ? AND ? ORDER BY key"  # noqa: S608
        before = -1
        for row in self._db.execute(query, (first, last)):
            key, body = self._checked(table, row)
            if not before < key <= last:
                raise CacheUnusable(f"{table}: the part with key {key} is out of order")
            before = key
            yield key, body

    def structure(self) -> str | None:
        """The first problem that SQLite finds in the structure of the file; None where it finds none."""
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


class Cache:
    """The cache file at `path`; its connection stays open for the next look-up. One that is read only
    changes nothing, and recovers nothing that another process left unfinished.

    One thread uses it at a time: another gets CacheUnavailable, and does without.
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.path = path
        self._mode = "ro" if is_read_only else "rw"
        self._guard = Lock()
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Parts]:
        """The parts of the file that is there, as of one moment. Raises CacheUnusable, CacheUnavailable."""
        with self._transaction("BEGIN", can_create=False) as parts:
            yield parts

    @contextmanager
    def writing(self) -> Iterator[Parts]:
        """The parts of the file, made where missing, to be changed all or not at all.

        Raises CacheUnusable, CacheUnavailable.
        """
        with self._transaction("BEGIN IMMEDIATE", can_create=True) as parts:
            yield parts

    def discard(self) -> None:
        """Remove the file that was found to be unusable, and its journal, where that is permitted."""
        used = self._identity
        self.close()
        # Another process may have replaced it meanwhile.
        with suppress(CacheUnavailable, CacheUnusable):
            if used is not None and used != _identity(self.path):
                return
        for suffix in (*_BESIDE, ""):
            with suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()

    def close(self) -> None:
        """Close the connection. The next use opens it again."""
        db, self._db, self._identity = self._db, None, None
        if db is None:
            return
        if self._pid == os.getpid():
            db.close()
        else:
            _ABANDONED.append(db)

    @contextmanager
    def _transaction(self, begin: str, *, can_create: bool) -> Iterator[Parts]:
        if self._pid != os.getpid():
            self.close()
            self._guard, self._pid = Lock(), os.getpid()
        if not self._guard.acquire(blocking=False):
            raise CacheUnavailable("another thread uses it")
        try:
            with _sqlite_errors():
                db = self._connection(can_create=can_create)
                db.execute(begin)
                try:
                    yield Parts(db)
                    db.execute("COMMIT")
                except BaseException:
                    _roll_back(db)
                    raise
        finally:
            self._guard.release()

    def _connection(self, *, can_create: bool) -> sqlite3.Connection:
        identity = _identity(self.path)
        if self._db is not None and identity is not None and identity == self._identity:
            return self._db
        self.close()
        if identity is None:
            if not can_create:
                raise CacheUnavailable("there is none")
            self._create()
            identity = _identity(self.path)
        db = _connect(self.path, self._mode)
        self._db, self._identity = db, identity
        for setting in _SETTINGS:
            db.execute(setting)
        return db

    def _create(self) -> None:
        """Make the empty file, with our mode and owner. Only where there is none: to open and close one
        that SQLite has open would free its locks.
        """
        try:
            with opened(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL):
                pass
        except FileExistsError:
            return
        except OSError as error:
            raise CacheUnavailable(str(error)) from None
        for name in FORMER:
            with suppress(OSError):
                self.path.with_name(name).unlink()


def crc_of(nonce: bytes, table: str, key: int, body: bytes) -> int:
    """The CRC-32 of a part of the build with that nonce."""
    return crc32(body, crc32(b"%b%b %d" % (nonce, table.encode(), key)))


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at `path`; None where there is none.

    Raises CacheUnusable where it is no regular file, CacheUnavailable.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheUnavailable(str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise CacheUnusable("not a regular file")
    return status.st_dev, status.st_ino


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # `check` has no use for it, and it takes milliseconds.
    import sqlite3

    encoded = "".join(f"%{byte:02x}" for byte in os.fsencode(path.absolute()))
    return sqlite3.connect(
        f"file:{encoded}?mode={mode}",
        uri=True,
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )


def _roll_back(db: sqlite3.Connection) -> None:
    import sqlite3

    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    """Turn what SQLite raises into CacheUnavailable, or CacheUnusable where the file is to blame."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the result code; the others say more of it.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = CacheUnavailable if code in _NOT_NOW else CacheUnusable
        raise kind(f"SQLite says: {error}") from None
    except OverflowError as error:
        raise CacheUnusable(str(error)) from None
