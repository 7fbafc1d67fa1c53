"""Shows a full-screen view until the user quits it, then restores the terminal."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import termios
import tty
from contextlib import suppress
from typing import Protocol, TextIO

from hal0_budget.cli.render.emit import write_all
from hal0_budget.errors import UsageError, WriteFailed

# Alternate screen, no cursor, no wrapping at the edge; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[H\x1b[2J"

_PAUSE = 0.3
_QUIT = frozenset(b"qQ")
_FALLBACK = (80, 24)


class View(Protocol):
    """The content of a full-screen view."""

    def frame(self, columns: int, lines: int, *, color: bool) -> list[str]:
        """The lines of the screen now: at most `lines`, each at most `columns` wide, with escape codes."""


def play(view: View, *, color: bool) -> int:
    """Show a view until q is pressed. Returns 0. Raises WriteFailed if the terminal is closed."""
    # `main()` disables the garbage collector for short runs; this one may last for months.
    gc.enable()
    screen = Screen(sys.stdin, sys.stdout)
    try:
        screen.enter()
        while True:
            size = screen.size()
            screen.draw(view.frame(*size, color=color), size)
            if screen.pressed(_PAUSE) & _QUIT:
                return 0
    except (OSError, termios.error) as error:
        raise WriteFailed(f"the terminal is closed: {error}") from error
    finally:
        screen.leave()


def require_terminal() -> None:
    """Raise UsageError if stdout is not a terminal that can show a view."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in {"", "dumb"}:
        raise UsageError(
            "a live view needs a terminal that can move its cursor; "
            "elsewhere: hal0-budget show, or hal0-budget log --follow"
        )


class Screen:
    """The terminal while a view is shown. Only changed lines are written."""

    def __init__(self, keys: TextIO | None, out: TextIO) -> None:
        self._out = out
        self._keys = keys.fileno() if keys is not None and keys.isatty() else None
        self._before = None if self._keys is None else termios.tcgetattr(self._keys)
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._is_new = True
        self._is_active = False

    def enter(self) -> None:
        """Switch to full-screen mode, now and whenever the process resumes after Ctrl-Z."""
        signal.signal(signal.SIGTSTP, self._suspend)
        signal.signal(signal.SIGCONT, self._resume)
        self._activate()

    def leave(self) -> None:
        """Restore the terminal. Never raises OSError."""
        # A second Ctrl-C during the clean-up must not leave a terminal without a cursor.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
            signal.signal(number, signal.SIG_IGN)
        self._restore()

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        columns, lines = os.get_terminal_size(self._out.fileno())
        return (columns or _FALLBACK[0], lines or _FALLBACK[1])

    def draw(self, lines: list[str], size: tuple[int, int]) -> None:
        """Draw the lines on the screen of that size; writes only what changed."""
        text = ""
        if self._is_new or size != self._size:
            self._is_new, self._drawn, text = False, [], _CLEAR
        height = max(len(lines), len(self._drawn))
        old, new = ([*side, *[""] * (height - len(side))] for side in (self._drawn, lines))
        for number, (before, line) in enumerate(zip(old, new, strict=True), start=1):
            if before != line:
                text += f"\x1b[{number};1H\x1b[2K{line}"
        self._drawn, self._size = lines, size
        self._write(text)

    def pressed(self, seconds: float) -> frozenset[int]:
        """Wait up to `seconds` for a key. Returns the keys pressed."""
        poll = select.poll()
        if self._keys is not None:
            poll.register(self._keys, select.POLLIN)
        events = poll.poll(seconds * 1000)
        if not events or self._keys is None:
            return frozenset()
        # read() may return nothing: Ctrl-C flushes the input queue.
        keys = os.read(self._keys, 1024)
        if not keys and events[0][1] & select.POLLHUP:
            raise OSError(None, "its input has ended")
        return frozenset(keys)

    def _activate(self) -> None:
        if self._keys is not None:
            tty.setcbreak(self._keys, termios.TCSADRAIN)
            _make_reads_non_blocking(self._keys)
        self._is_new = self._is_active = True
        self._write(_ENTER)

    def _restore(self) -> None:
        self._is_active = False
        with suppress(OSError, termios.error):
            if self._keys is not None and self._before is not None:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
            self._write(_LEAVE)

    def _write(self, text: str) -> None:
        # Unbuffered: a signal handler must not write to a buffered stream during a write to it.
        write_all(self._out.fileno(), text.encode(self._out.encoding, "backslashreplace"))

    def _suspend(self, _number: int, _frame: object) -> None:
        """Ctrl-Z: restore the terminal before stopping."""
        self._restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        # Without a shell that waits (an orphaned process group), the kernel does not stop this process and
        # no SIGCONT follows.
        if not self._is_active:
            self._activate()

    def _resume(self, _number: int, _frame: object) -> None:
        self._activate()


def _make_reads_non_blocking(terminal: int) -> None:
    """Let reads of a terminal return at once: a blocking read could miss the signal of Ctrl-C."""
    mode = termios.tcgetattr(terminal)
    mode[6][termios.VMIN] = 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
