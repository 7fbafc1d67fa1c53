"""Running a paid command between a hold and its settlement."""

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
_PATIENCE = 0.1
# What Python ignores and a command expects not to be ignored.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)


class NotStarted(Exception):
    """The command cannot be started; `exit_code` is 126 or 127, as shells have them."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Copy:
    """A pipe to our stdout that keeps a copy of the first `most` bytes that pass, and one more.

    `failure` is why some of them did not reach our stdout.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self.failure: OSError | None = None
        self._out, self.into = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)

    def start(self) -> None:
        """Pass on what comes, as it comes. Signals must be blocked: the thread is not to have them."""
        self._thread.start()

    def is_done(self, patience: float) -> bool:
        """Whether all who could write are gone; waits so many seconds for it."""
        self._thread.join(patience)
        return not self._thread.is_alive()

    def kept(self) -> bytes:
        """What passed so far."""
        return bytes(self._kept)

    def _pass_on(self) -> None:
        try:
            while block := os.read(self._out, 64 * 1024):
                self._kept += block[: self._most + 1 - len(self._kept)]
                _pass(block)
        except OSError as error:
            # As the pipe closes, the command learns that its reader is gone.
            self.failure = error
        finally:
            os.close(self._out)


def _pass(block: bytes) -> None:
    """Write to our stdout, whose owner may have had it not wait. Raises OSError."""
    while block:
        try:
            block = block[os.write(1, block) :]
        except BlockingIOError:
            ready = select.poll()
            ready.register(1, select.POLLOUT)
            ready.poll()


def run_child(command: Sequence[str], copy: Copy | None = None) -> int:
    """Run a command with our streams; its exit code, 128 and the signal's number where one ended it.

    With `copy`, its stdout goes through that. A signal sent to us goes to the child, but for one from
    the terminal, which has it already. They stay blocked here: whoever asked us to end waits until the
    call is settled. Raises NotStarted.
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
    code, was_asked = _code_of(child, waited)
    # As in a shell's `$(...)`, what the command left running may still write; to be asked to end ends that.
    while copy is not None and not copy.is_done(_PATIENCE) and not was_asked:
        was_asked = signal.sigtimedwait(_ENDING, 0) is not None
    return code


def _code_of(child: int, waited: Collection[signal.Signals]) -> tuple[int, bool]:
    """Wait for a child, and pass signals on to it; its exit code, and whether we were asked to end."""
    was_asked = False
    while True:
        received = signal.sigwaitinfo(waited)
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code, was_asked
        was_asked = was_asked or received.si_signo in _ENDING
        # A process sent it; what the terminal sends has a positive code.
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            os.kill(child, received.si_signo)


class CostFile:
    """A file that the child writes what its call did cost into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = self._state()

    def text(self) -> str | None:
        """What the child wrote; None where it wrote nothing, or there is no file that can be read."""
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
