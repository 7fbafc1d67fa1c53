"""A finding: one thing that an audit found to be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong: in which file, from which line (from 1) and byte (from 0), if any."""

    severity: Literal["damage", "notice"]
    path: Path
    line: int | None
    byte: int | None
    what: str

    def text(self) -> str:
        """The finding as one sentence."""
        where = "" if self.line is None else f" line {self.line} (byte {self.byte}):"
        return f"{self.path}:{where} {self.what}"


def damage(path: Path, what: str) -> Finding:
    """Damage to a whole file."""
    return Finding("damage", path, None, None, what)


def notice(path: Path, what: str) -> Finding:
    """A notice on a whole file."""
    return Finding("notice", path, None, None, what)
