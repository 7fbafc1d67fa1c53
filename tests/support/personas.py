"""The beginning of a persona file."""

from __future__ import annotations

HEAD = '[persona]\nid = "hermes"\n'


BUDGET = f"{HEAD}[persona.budget]\n"
