"""Durable writes: atomic, and synced to the disk before they are acknowledged."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

# Other users can never read a budget or a ledger; the umask may restrict access further.
DIR_MODE = 0o770
FILE_MODE = 0o660

# How many folders above a persona's folder a command may have created: personas, agent, root, its parent.
FOLDERS_ABOVE = 4

_BLOCK = 1024 * 1024


class NotRegular(OSError):
    """The file at a path is a FIFO, a folder, a device, a socket or a symlink, not a regular file."""


class opened:  # noqa: N801, used like a function, as in contextlib
    """A context manager that opens `path`, returns its file descriptor and closes it at the end.

    Never follows a symlink, never waits for a FIFO. Raises NotRegular if it is not a regular file,
    and OSError as `os.open` does.
    """

    # A class, not a generator: a charge opens eight files, and this is twice as fast.
    __slots__ = ("_fd", "_flags", "_mode", "_path")

    def __init__(self, path: Path, flags: int, mode: int = FILE_MODE) -> None:
        self._path = path
        self._flags = flags
        self._mode = mode

    def __enter__(self) -> int:
        path, flags = self._path, self._flags
        try:
            self._fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, self._mode)
        except FileNotFoundError:
            raise
        except OSError as error:
            try:
                found = os.lstat(path).st_mode
            except OSError:
                raise error from None
            if stat.S_ISREG(found):
                raise
            raise _not_regular(path, found) from None
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular(path, status.st_mode)
            if flags & os.O_CREAT and status.st_size == 0 and status.st_nlink == 1 and status.st_uid == 0:
                _give_to_owner_of(path.parent, self._fd)
        except BaseException:
            os.close(self._fd)
            raise
        return self._fd

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        os.close(self._fd)
        # The error of a failed write or fsync does not name the file.
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(self._path)


def size_of(fd: int) -> int:
    """Return the size of an open file in bytes. Changes its offset, which this program does not use."""
    return os.lseek(fd, 0, os.SEEK_END)


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return device, inode, size and time of change in ns: they identify one state of a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def sync_dir(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def sync(path: Path) -> None:
    """Make an existing file and its name durable. Raises OSError."""
    target = Path(os.path.realpath(path))
    with opened(target, os.O_RDONLY) as fd:
        os.fsync(fd)
    sync_dir(target.parent)


def sync_dirs(path: Path, levels: int) -> None:
    """Make the names in a folder durable, and those in the `levels` folders above it.

    A process that created these folders may have died before it synced them. A folder above that this user
    may not open was created by another program, and is skipped. Raises OSError.
    """
    sync_dir(path)
    for parent in list(path.absolute().parents)[:levels]:
        with suppress(PermissionError):
            sync_dir(parent)


def fsync(path: Path, fd: int, start: int) -> None:
    """Make the open file at `path` durable. If that fails, write its bytes from `start` on again, so that
    the next fsync of any process covers them. Raises OSError.
    """
    try:
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            rewrite(path, fd, start, size_of(fd))
        raise


def rewrite(path: Path, fd: int, start: int, end: int) -> None:
    """Write the bytes `start` to `end` of the open file `fd` again, unchanged, so that the next fsync covers
    them.

    After a failed fsync the kernel may mark pages as clean that never reached the disk; only a new write
    makes them dirty again. `path` is the path of the file. Raises OSError.
    """
    with opened(path, os.O_RDWR) as other:
        if os.path.samestat(os.fstat(other), os.fstat(fd)):
            while start < end and (block := os.pread(other, min(_BLOCK, end - start), start)):
                start += os.pwrite(other, block, start)


def make_dirs(path: Path) -> None:
    """Create a folder and missing folders above it, each durable before the next. Raises OSError."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    try:
        path.mkdir(mode=DIR_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        # Use a file descriptor, not the path: the path may lead to another folder by now.
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give_to_owner_of(path.parent, fd)
        finally:
            os.close(fd)
    sync_dir(path.parent)


def write_whole(fd: int, data: bytes) -> None:
    """Write `data` with one call. Raises OSError if not every byte was written.

    A second call for the rest could write it after another writer's row.
    """
    if os.write(fd, data) != len(data):
        raise OSError(None, f"only a part of {len(data)} bytes could be written: is the disk full?")


def append_whole(path: Path, fd: int, seal: bytes, lines: bytes) -> None:
    """Append a seal and lines with one call to the open file at `path`.

    If not every byte was written, blanks the written part of the lines, so that none of them counts, and
    raises OSError.
    """
    written = os.write(fd, seal + lines)
    if written == len(seal + lines):
        return
    part = lines[: max(0, written - len(seal))]
    begin = os.lseek(fd, 0, os.SEEK_CUR) - len(part)
    # If it cannot be blanked, the file is as after a crash, which readers can handle.
    with suppress(OSError), opened(path, os.O_RDWR) as other:
        if (
            part
            and os.path.samestat(os.fstat(other), os.fstat(fd))
            and os.pread(other, len(part), begin) == part
        ):
            os.pwrite(other, b" " * (len(part) - 1) + b"\n", begin)
            os.fsync(other)
    raise OSError(None, f"only a part of {len(seal + lines)} bytes could be written: is the disk full?")


def replace(path: Path, data: bytes, suffix: str = ".new") -> None:
    """Replace the bytes of `path` by `data`, durably and atomically: a crash leaves the old or the new bytes.

    Keeps mode and owner; if `path` is a symlink, replaces its target. The temporary file has one fixed
    name next to the target, so that crashes never leave more than one. The caller must hold a lock, or
    use a `suffix` that no other process uses. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}{suffix}")
    temporary.unlink(missing_ok=True)
    try:
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            _keep_owner_and_mode(target, fd)
            write_whole(fd, data)
            os.fsync(fd)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(target.parent)


def _give_to_owner_of(folder: Path, fd: int) -> None:
    """Give a file that root created to the owner of its folder, so that a command run by root does not lock
    the agent's user out.
    """
    if os.geteuid() == 0 and os.fstat(fd).st_uid == 0:
        owner = os.stat(folder)
        if owner.st_uid != 0:
            # Fails if the file system does not support that owner.
            with suppress(OSError):
                os.fchown(fd, owner.st_uid, owner.st_gid)


def _keep_owner_and_mode(target: Path, fd: int) -> None:
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    new = os.fstat(fd)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def _not_regular(path: Path, mode: int) -> NotRegular:
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a symlink",
    }
    kind = kinds.get(stat.S_IFMT(mode), "not a file")
    return NotRegular(None, f"{kind}, not a regular file", str(path))
