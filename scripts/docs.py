"""Write what is generated of the docs: the page of the commands, and the manual page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hal0_budget.cli.app import COMMANDS, PROGRAM
from scripts import man

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
INTRODUCTION = """\
# Commands

Options may stand before or after the arguments, and the common ones before the command too. Data
goes to stdout, everything else to stderr. This page is what `help` says; `scripts/docs.py` writes it.
"""


def page() -> str:
    """The whole page of the commands: what each says of itself."""
    sections = [INTRODUCTION, *(section(command) for command in ("", *COMMANDS))]
    return "\n".join(sections)


def section(command: str) -> str:
    """The heading and the help of one command; of the program itself where it is empty."""
    arguments = [command] if command else []
    done = subprocess.run(
        [Path(sys.executable).with_name(PROGRAM), "help", *arguments],
        env={"PATH": os.environ["PATH"], "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    return f"## {command or PROGRAM}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    man.PAGE.write_text(man.page())
