"""A finding: one thing that an audit found to be wrong."""

from __future__ import annotations

from pathlib import Path

from hal0_budget.stores.base import Finding


def damage(path: Path, what: str) -> Finding:
    """Damage to a whole file."""
    return Finding("damage", str(path), None, None, what)


def notice(path: Path, what: str) -> Finding:
    """A notice on a whole file."""
    return Finding("notice", str(path), None, None, what)
