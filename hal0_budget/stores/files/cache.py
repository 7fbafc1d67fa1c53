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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from hal0_budget.stores.files.cache_parts import CacheUnusable, Parts
from hal0_budget.stores.files.durable import opened

if TYPE_CHECKING:
    import sqlite3

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


class CacheUnavailable(Exception):
    """There is no cache, or it cannot be used now: locked, not permitted, disk full. It is left alone."""


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
