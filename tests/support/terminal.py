"""The command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
import tty
from collections.abc import Mapping

from tests.conftest import COMMAND, Cli

LONG_ID = "a" * 64


ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(cli: Cli, *args: str, columns: int = 200, env: Mapping[str, str] | None = None) -> str:
    """What the command writes on a terminal of that many columns, byte for byte."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = subprocess.Popen(
        [COMMAND, *args],
        env=cli.environment(**{"TERM": "xterm-256color", "LANG": "C.UTF-8", **(env or {})}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    data = b""
    try:
        while block := os.read(ours, 65536):
            data += block
    except OSError:
        pass  # so a terminal says that everybody has gone
    os.close(ours)
    assert command.wait(60) == 0
    return data.decode()
