"""Running a paid command between a hold and its settlement."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

CANNOT_EXECUTE = 126
NOT_FOUND = 127

_FORWARDED = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
# What Python ignores and a command expects not to be ignored.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)


class NotStarted(Exception):
    """The command cannot be started; `exit_code` is 126 or 127, as shells have them."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_child(command: Sequence[str]) -> int:
    """Run a command with our streams; its exit code, 128 and the signal's number where one ended it.

    A signal sent to us goes to the child, but for one from the terminal, which has it already. They
    stay blocked here: whoever asked us to end waits until the call is settled. Raises NotStarted.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waited = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        child = os.posix_spawnp(command[0], list(command), os.environ, setsigmask=before, setsigdef=_RESET)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
        raise NotStarted(f"{command[0]}: {error.strerror}", code) from None
    while True:
        received = signal.sigwaitinfo(waited)
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        # A process sent it; what the terminal sends has a positive code.
        elif received.si_code <= 0:
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
