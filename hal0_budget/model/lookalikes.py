"""Finds keys and tables of a persona file that look like a cap but have no effect: misspelt or misplaced.

Every command warns about them, and the exit code of `check` is at least 10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from hal0_budget.model.budget import CAP_KEYS, KEYS, may_name_cap
from hal0_budget.model.cap_words import (
    holds_amount,
    is_amount,
    meant_by,
    misspelt,
    names_cap,
    names_cap_in_budget,
    names_table_of_caps,
)

Path = tuple[str, ...]
_BUDGET: Final[Path] = ("persona", "budget")

# A file may have a hundred thousand such keys; naming the first few is enough.
_MOST_WARNINGS = 20
# At most this many unknown keys of the budget are compared with the known keys (about 0.1 ms each).
_MOST_COMPARED = 100
# Longest shown part of a key, in characters, and most keys of a path that are shown.
_SHOWN = 64
_SHOWN_KEYS = 6


class Lookalike(NamedTuple):
    """A key or a table that has no effect: its path from the top of the file, and the key that was meant."""

    path: Path
    is_table: bool = False
    meant: str | None = None

    def sentence(self) -> str:
        """Return a sentence: what is wrong, where, and what to write instead."""
        if self.is_table:
            name = f"[{_dotted(self.path)}]" if self.path else "the top of the file"
            return f"{name} holds keys of a budget and caps nothing; did you mean [persona.budget]?"
        table, key = self.path[:-1], _dotted(self.path[-1:])
        name = f"[{_dotted(table)}].{key}" if table else f"{key} at the top of the file"
        meant = self.meant or f"one of {', '.join(CAP_KEYS.values())}"
        if table == _BUDGET:
            return f"{name} is not a key of a budget and caps nothing; did you mean {meant}?"
        return f"{name} looks like a cap and caps nothing; write {meant} in [persona.budget]"


def warnings_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each key and table of a parsed persona file that looks like a cap but is not one.

    The first 20 are named. `persona.budget` must be a table or missing.
    """
    found = list(islice(_lookalikes(document), _MOST_WARNINGS + 1))
    sentences = [lookalike.sentence() for lookalike in found[:_MOST_WARNINGS]]
    if len(found) > _MOST_WARNINGS:
        sentences.append("more keys look like caps and cap nothing; a cap is a key of [persona.budget]")
    unknown = sum(key not in KEYS for key in document["persona"].get("budget", {}))
    if unknown > _MOST_COMPARED:
        sentences.append(
            f"[persona.budget] has {unknown} unknown keys, of which only {_MOST_COMPARED} were compared "
            "with the keys of a budget"
        )
    return tuple(sentences)


def _lookalikes(document: Mapping[str, Any]) -> Iterator[Lookalike]:
    """Yield the lookalikes of a document. Does not recurse, because a file may be nested deeply."""
    waiting: list[tuple[Path, object]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, list):
            waiting += [(path, item) for item in reversed(value) if isinstance(item, (Mapping, list))]
        elif isinstance(value, Mapping):
            inner: list[tuple[Path, object]] = []
            yield from _in_budget(value, inner) if path == _BUDGET else _in_other(path, value, inner)
            waiting += reversed(inner)


def _in_budget(table: Mapping[str, Any], inner: list[tuple[Path, object]]) -> Iterator[Lookalike]:
    """Yield the lookalikes in the budget table; adds the tables to search next to `inner`."""
    for key, value in islice(((k, v) for k, v in table.items() if k not in KEYS), _MOST_COMPARED):
        path = (*_BUDGET, key)
        if _is_table(value):
            if names_table_of_caps(key, in_budget=True) and holds_amount({key: value}):
                yield Lookalike(path, is_table=True)
            else:
                inner.append((path, value))
        elif meant := misspelt(key):
            yield Lookalike(path, meant=meant)
        elif names_cap_in_budget(key) and is_amount(value):
            yield Lookalike(path, meant=meant_by(key))


def _in_other(path: Path, table: Mapping[str, Any], inner: list[tuple[Path, object]]) -> Iterator[Lookalike]:
    """Yield the lookalikes in any other table; adds the tables to search next to `inner`."""
    if any(key in table for key in KEYS):
        yield Lookalike(path, is_table=True)
    in_budget = path[:2] == _BUDGET
    for key, value in table.items():
        here = (*path, key)
        if key in KEYS or here == _BUDGET or not (in_budget or may_name_cap(key)):
            is_cap = False
        elif _is_table(value):
            is_cap = names_table_of_caps(key) and holds_amount({key: value})
        else:
            is_cap = is_amount(value) and (names_cap_in_budget(key) if in_budget else names_cap(key))
        if is_cap:
            yield Lookalike(here, is_table=_is_table(value), meant=meant_by(key))
        else:
            inner.append((here, value))


def _is_table(value: object) -> bool:
    """Return whether a value is a table, or a list that contains tables or lists."""
    if isinstance(value, list):
        return any(isinstance(item, (Mapping, list)) for item in value)
    return isinstance(value, Mapping)


def _dotted(path: Path) -> str:
    parts = [part if len(part) <= _SHOWN else f"{part[:_SHOWN]}..." for part in path[-_SHOWN_KEYS:]]
    shown = ".".join(part if re.fullmatch(r"[\w.-]*", part) and part else f'"{part}"' for part in parts)
    return shown if len(path) <= _SHOWN_KEYS else f"...{shown}"
