"""The pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


TEXT = {page.name: page.read_text() for page in PAGES}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT[page], re.MULTILINE | re.DOTALL)
