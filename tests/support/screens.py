"""A terminal that tests start a program on, and look at."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time

import pyte

from tests.conftest import Cli

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
STYLE = re.compile(r"\x1b\[[0-9;]+m")


class Terminal:
    """A terminal with a program on it, as far as `watch` uses one: its screen, all that was written."""

    def __init__(self, cli: Cli, command: tuple[str, ...], columns: int, lines: int, **env: str) -> None:
        self._ours, self.theirs = os.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.written = ""
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            command,
            env=cli.environment(**{"TERM": "xterm-256color", "LANG": "C.UTF-8", **env}),
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509, there are no threads
        )

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read(self, seconds: float = 0.05) -> str:
        """What is written until nothing is for so long; where it goes on, what was written for a while."""
        new = b""
        deadline = time.monotonic() + 4 * seconds
        while time.monotonic() < deadline and select.select([self._ours], [], [], seconds)[0]:
            try:
                new += os.read(self._ours, 65536)
            except OSError:
                break  # so a terminal says that everybody has gone
        text = self._decoder.decode(new)
        self.written += text
        self._stream.feed(text)
        return text

    @property
    def screen(self) -> list[str]:
        """The lines on the screen, without what is blank at their ends."""
        self.read()
        return [line.rstrip() for line in self._screen.display]

    def shows(self, *texts: str) -> list[str]:
        """Wait until all these are on the screen; the screen then."""
        deadline = time.monotonic() + 30
        while not all(text in "\n".join(self.screen) for text in texts):
            assert time.monotonic() < deadline, "\n".join(self.screen)
            assert self.process.poll() is None, self.written
        return self.screen

    def ends(self) -> int:
        """The exit code; the terminal must be as it was."""
        code = self.process.wait(30)
        self.read()
        assert termios.tcgetattr(self.theirs) == self.before
        assert self.written.count("\x1b[?1049h") == self.written.count("\x1b[?1049l")
        assert self.written.endswith(LEAVE)
        return code

    def hang_up(self) -> None:
        """Take the terminal away from the program."""
        os.close(self._ours)
        self._ours = os.open(os.devnull, os.O_RDWR)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self._ours)
        os.close(self.theirs)
