"""What contributors read names only what exists, and every make target."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CONTRIBUTING = PROJECT / "CONTRIBUTING.md"
ARCHITECTURE = PROJECT / "docs" / "architecture.md"


def test_links_of_contributing_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", CONTRIBUTING.read_text())
    assert links
    assert all((PROJECT / link).exists() for link in links)


def test_every_make_target_is_explained() -> None:
    targets = set(re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {"test", "prove", "bench"} <= targets
    text = CONTRIBUTING.read_text()
    assert not [target for target in targets - {"clean"} if f"`make {target}`" not in text]


def test_every_module_that_is_named_exists() -> None:
    files = [f"/{path.relative_to(PROJECT)}" for path in PROJECT.rglob("*.py") if ".venv" not in path.parts]
    for page in (CONTRIBUTING, ARCHITECTURE):
        names = set(re.findall(r"`([\w/]+\.py)`", page.read_text()))
        assert names
        assert not [n for n in names if "NAME" not in n and not any(file.endswith(f"/{n}") for file in files)]


def test_every_folder_of_tests_is_explained() -> None:
    named = set(re.findall(r"`tests/(\w+)/`", CONTRIBUTING.read_text()))
    folders = {path.name for path in (PROJECT / "tests").iterdir() if path.is_dir()}
    assert named == folders - {"__pycache__"}
