"""A fixture of several campaigns."""

from __future__ import annotations

from tests.support.faults import disk

__all__ = ["disk"]
