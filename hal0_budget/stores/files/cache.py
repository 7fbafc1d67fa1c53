"""The cache: one SQLite file with data derived from a ledger: request ids, lines, sums.

The ledger is the only truth. Every part of the cache has a CRC-32 over the nonce of its build, its table,
its key and its bytes. All parts except `meta` are written once and never changed. So a flipped bit, or a
page of an older state, is always detected. If anything is wrong with the file, the caller reads the ledger
instead. `check` neither imports nor opens this file.

It uses a rollback journal, not WAL: a process that ends by `os._exit` never closes its connection.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from hal0_budget.durable import opened
from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts

if TYPE_CHECKING:
    import sqlite3

# Files of earlier versions that the cache replaces.
FORMER = ("spend.index", "spend.summary")
_SUFFIXES = ("-journal", "-wal", "-shm")

# Seconds to wait for another process's transaction; after that the caller reads the ledger.
_TIMEOUT = 0.03

_SETTINGS = (
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
    # After a power cut the checksums show which parts of a transaction were written: a part with a valid
    # checksum is as it was written, and `meta` names every part that must exist.
    "PRAGMA synchronous=OFF",
    # A transaction that spills its pages would lock readers out until it ends.
    "PRAGMA cache_spill=OFF",
)

# SQLite's result codes for "not now" or "not here", as opposed to "this file is wrong":
# PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, NOLFS, AUTH.
_NOT_NOW = frozenset((3, 5, 6, 7, 8, 9, 10, 13, 14, 15, 22, 23))

# Connections that belong to the parent process: closing one after a fork could damage its file.
_ABANDONED: list[sqlite3.Connection] = []


class CacheUnavailable(Exception):
    """There is no cache, or it cannot be used now: locked, not permitted, disk full. The file is kept."""


class Cache:
    """The cache file at `path`; its connection stays open for the next look-up. A read-only cache changes
    nothing, and does not roll back what another process left unfinished.

    Only one thread can use it at a time: others get CacheUnavailable.
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
        """Open a snapshot of the existing file for reading. Raises CacheUnusable, CacheUnavailable."""
        with self._transaction("BEGIN", can_create=False) as parts:
            yield parts

    @contextmanager
    def writing(self) -> Iterator[Parts]:
        """Open the file for an atomic change; creates it if missing.

        Raises CacheUnusable, CacheUnavailable.
        """
        with self._transaction("BEGIN IMMEDIATE", can_create=True) as parts:
            yield parts

    def discard(self) -> None:
        """Remove the unusable file and its journal, if that is permitted."""
        used = self._identity
        self.close()
        # Another process may have replaced it in the meantime.
        with suppress(CacheUnavailable, CacheUnusable):
            if used is not None and used != _identity(self.path):
                return
        for suffix in (*_SUFFIXES, ""):
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
            raise CacheUnavailable("another thread is using it")
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
                raise CacheUnavailable("there is no cache")
            self._create()
            identity = _identity(self.path)
        db = _connect(self.path, self._mode)
        self._db, self._identity = db, identity
        for setting in _SETTINGS:
            db.execute(setting)
        return db

    def _create(self) -> None:
        """Create the empty file with our mode and owner. An existing file is not opened: closing a file that
        SQLite has open would release its locks.
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


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at `path`; None if it does not exist.

    Raises CacheUnusable if it is not a regular file, CacheUnavailable.
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
    # Imported here, because `check` does not need it and the import costs milliseconds.
    import sqlite3

    encoded = "".join(f"%{byte:02x}" for byte in os.fsencode(path.absolute()))
    return sqlite3.connect(
        f"file:{encoded}?mode={mode}",
        uri=True,
        timeout=_TIMEOUT,
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
    """Convert errors of SQLite to CacheUnavailable, or to CacheUnusable if the file is wrong."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary result code; the other bytes give details.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = CacheUnavailable if code in _NOT_NOW else CacheUnusable
        raise kind(f"SQLite: {error}") from None
    except OverflowError as error:
        raise CacheUnusable(str(error)) from None
