"""The layout of the tests: what several test modules need is in `tests/support`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = ("commands", "docs", "promises", "stores", "unit")
MODULES = sorted(TESTS.glob("**/*.py"))


def imported(path: Path) -> Iterator[str]:
    """The full name of every module that the file imports, and of every name that it imports from one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_a_test_module(path: Path) -> None:
    names = [name for name in imported(path) if name.startswith((".", "tests."))]
    assert not [name for name in names if name.startswith(".") or ".test_" in name]


def test_every_test_module_is_in_a_folder_of_its_kind() -> None:
    assert {path.parent for path in TESTS.glob("**/test_*.py")} == {TESTS / name for name in FOLDERS}
