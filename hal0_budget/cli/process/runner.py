"""Runs the command of `run`: forwards signals, copies its output, reads its cost file."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

CANNOT_EXECUTE = 126
NOT_FOUND = 127

_FORWARDED = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
_ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_POLL_INTERVAL = 0.1
# Python ignores these; the command expects the default action.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)


class NotStarted(Exception):
    """The command cannot be started; `exit_code` is 126 or 127, as in a shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Copy:
    """A pipe to our stdout that keeps a copy of the first `most` + 1 bytes.

    `failure` is the error if a write to our stdout failed, else None.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self.failure: OSError | None = None
        self._out, self.into = os.pipe()
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def start(self) -> None:
        """Start to forward. The caller must have blocked signals, so that the thread does not get them."""
        self._thread.start()

    def is_done(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for all writers to close the pipe. Returns whether they have."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kept(self) -> bytes:
        """The bytes copied so far."""
        return bytes(self._kept)

    def _forward(self) -> None:
        try:
            while block := os.read(self._out, 64 * 1024):
                self._kept += block[: self._most + 1 - len(self._kept)]
                _write_stdout(block)
        except OSError as error:
            # Closing the pipe below makes the command's next write fail.
            self.failure = error
        finally:
            os.close(self._out)


def _write_stdout(block: bytes) -> None:
    """Write to stdout, which may be non-blocking. Raises OSError."""
    while block:
        try:
            block = block[os.write(1, block) :]
        except BlockingIOError:
            ready = select.poll()
            ready.register(1, select.POLLOUT)
            ready.poll()


def run_child(command: Sequence[str], copy: Copy | None = None) -> int:
    """Run a command with our streams. Returns its exit code, or 128 + N if signal N ended it.

    With `copy`, its stdout goes through that pipe. Signals sent to us are forwarded to the child, except
    those from the terminal, which the child receives anyway. They stay blocked in this process, so that
    the call is settled before it ends. Raises NotStarted.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waited = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    streams = []
    if copy is not None:
        copy.start()
        streams = [(os.POSIX_SPAWN_DUP2, copy.into, 1)]
    try:
        child = os.posix_spawnp(
            command[0], list(command), os.environ, file_actions=streams, setsigmask=before, setsigdef=_RESET
        )
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
        raise NotStarted(f"{command[0]}: {error.strerror}", code) from None
    finally:
        if copy is not None:
            os.close(copy.into)
    code, must_end = _wait_for(child, waited)
    # Background processes of the command may still write, as in a shell's `$(...)`: wait until they have
    # closed the pipe, or until a signal asks us to end.
    while copy is not None and not copy.is_done(_POLL_INTERVAL) and not must_end:
        must_end = signal.sigtimedwait(_ENDING, 0) is not None
    return code


def _wait_for(child: int, waited: Collection[signal.Signals]) -> tuple[int, bool]:
    """Wait for a child and forward signals to it. Returns its exit code, and whether we must end."""
    must_end = False
    while True:
        received = signal.sigwaitinfo(waited)
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code, must_end
        must_end = must_end or received.si_signo in _ENDING
        # si_code <= 0: sent by a process. The terminal's signals have a positive code.
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            os.kill(child, received.si_signo)


class CostFile:
    """The file that the command writes the actual cost of its call to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = self._state()

    def text(self) -> str | None:
        """What the command wrote; None if it wrote nothing or the file cannot be read."""
        if self._state() in (None, self._before):
            return None
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(fd, 4096).decode("ascii", "replace").strip()
        except OSError:
            return None
        finally:
            os.close(fd)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
