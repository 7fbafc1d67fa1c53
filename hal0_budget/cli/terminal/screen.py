"""A view that fills the terminal until a person quits it, and leaves the terminal as it was."""

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
    """What can be watched."""

    def frame(self, columns: int, lines: int, *, color: bool) -> list[str]:
        """At most `lines` lines of at most `columns` as they are to be seen now, escapes included."""


def play(view: View, *, color: bool) -> int:
    """Show a view until q is pressed; 0 then. Raises WriteFailed where the terminal has gone."""
    # This may live for months, unlike all that `main()` turned it off for.
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
        raise WriteFailed(f"the terminal has gone: {error}") from error
    finally:
        screen.leave()


def require_terminal() -> None:
    """Raise UsageError where there is no terminal that a view could be shown on."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in {"", "dumb"}:
        raise UsageError(
            "a live view needs a terminal that can move its cursor; "
            "elsewhere: hal0-budget show, or hal0-budget log --follow"
        )


class Screen:
    """The terminal, while a view has it. Only lines that changed are written."""

    def __init__(self, keys: TextIO | None, out: TextIO) -> None:
        self._out = out
        self._keys = keys.fileno() if keys is not None and keys.isatty() else None
        self._before = None if self._keys is None else termios.tcgetattr(self._keys)
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._is_new = True
        self._is_taken = False

    def enter(self) -> None:
        """Take the terminal, now and after each time that it was suspended."""
        signal.signal(signal.SIGTSTP, self._suspend)
        signal.signal(signal.SIGCONT, self._resume)
        self._take()

    def leave(self) -> None:
        """Give the terminal back as it was. Never raises OSError."""
        # Whoever interrupts us twice is not to keep a terminal without a cursor.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
            signal.signal(number, signal.SIG_IGN)
        self._give_back()

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        columns, lines = os.get_terminal_size(self._out.fileno())
        return (columns or _FALLBACK[0], lines or _FALLBACK[1])

    def draw(self, lines: list[str], size: tuple[int, int]) -> None:
        """Make these the lines on the screen, which has that size."""
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
        """The keys that are pressed within that time, at once when one is."""
        poll = select.poll()
        if self._keys is not None:
            poll.register(self._keys, select.POLLIN)
        events = poll.poll(seconds * 1000)
        if not events or self._keys is None:
            return frozenset()
        # Empty where the keys are gone by now: Ctrl-C takes back those before it.
        keys = os.read(self._keys, 1024)
        if not keys and events[0][1] & select.POLLHUP:
            raise OSError(None, "its input has ended")
        return frozenset(keys)

    def _take(self) -> None:
        if self._keys is not None:
            tty.setcbreak(self._keys, termios.TCSADRAIN)
            _never_wait_for_keys(self._keys)
        self._is_new = self._is_taken = True
        self._write(_ENTER)

    def _give_back(self) -> None:
        self._is_taken = False
        with suppress(OSError, termios.error):
            if self._keys is not None and self._before is not None:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)
            self._write(_LEAVE)

    def _write(self, text: str) -> None:
        # Not through a buffer, which a handler of a signal may not write to while it is written.
        write_all(self._out.fileno(), text.encode(self._out.encoding, "backslashreplace"))

    def _suspend(self, _number: int, _frame: object) -> None:
        """Ctrl-Z: the shell gets its terminal first, and we get it when we go on."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        # Where no shell waits, the kernel does not stop us, and nobody lets us go on.
        if not self._is_taken:
            self._take()

    def _resume(self, _number: int, _frame: object) -> None:
        self._take()


def _never_wait_for_keys(terminal: int) -> None:
    """Have reads of a terminal return what is there: one that waits could miss the signal of Ctrl-C."""
    mode = termios.tcgetattr(terminal)
    mode[6][termios.VMIN] = 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
