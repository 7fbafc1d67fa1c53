"""What `init --repair` keeps of a budget: every cap that can be read, and a block for what cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hal0_budget.errors import PersonaMalformed
from hal0_budget.model.budget import CAP_KEYS, KEYS, Budget, BudgetValueError
from hal0_budget.model.lookalikes import warnings_of
from hal0_budget.stores.files.persona_file import parse_document, parse_persona

Table = dict[str, Any]


class Salvage(NamedTuple):
    """The budget table for the new file, and a sentence for everything that could not be kept."""

    table: Table
    losses: tuple[str, ...]


def salvage(path: Path, data: bytes, persona: str) -> Salvage:
    """The budget of a persona file's bytes: at least as strict as the old one in every window.

    Where a cap cannot be read, or there may be caps that nobody can see, the new budget blocks every
    paid call until a person sets the caps.
    """
    try:
        document = parse_persona(path, data, persona)[1]
        tables = [dict(document["persona"].get("budget", {}))]
        blocked = [f"{path}: {sentence}" for sentence in warnings_of(_without_budget(document))]
    except PersonaMalformed as error:
        tables, blocked = list(_tables_of(data)), [error.message]
    table, unreadable, dropped = _merged(tables)
    blocked += [f"{path}: [persona.budget].{why}" for why in unreadable]
    losses = [*blocked, *(f"{path}: [persona.budget].{why}; it goes back to its default" for why in dropped)]
    if blocked:
        table |= {CAP_KEYS["per_call"]: Decimal("0.0"), "hard_cap": True}
        losses.append(
            f"{path}: not every cap could be kept, so the new budget blocks every paid call. Set the caps: "
            f"hal0-budget set {persona} --per-call none --daily USD"
        )
    return Salvage({"hard_cap": True, **table}, tuple(losses))


def _without_budget(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that the new file will not have: the budget table goes over to it with its unknown keys."""
    return {**document, "persona": {**document["persona"], "budget": {}}}


def _tables_of(data: bytes) -> Iterator[Table]:
    """The budget tables of a file that is no sound persona: none, one, or several where they are a list."""
    try:
        persona = parse_document(data.decode(errors="replace")).get("persona")
    except ValueError:
        return
    for part in persona if isinstance(persona, list) else [persona]:
        budget = part.get("budget") if isinstance(part, dict) else None
        yield from (
            item for item in (budget if isinstance(budget, list) else [budget]) if isinstance(item, dict)
        )


def _merged(tables: list[Table]) -> tuple[Table, list[str], list[str]]:
    """The smallest of each cap that can be read, with the unknown keys of the first table; why which caps
    cannot be read; and why which other settings cannot.
    """
    merged: Table = {}
    unreadable: list[str] = []
    dropped: list[str] = []
    for table in tables:
        for key, value in table.items():
            if key not in KEYS:
                merged.setdefault(key, value)
                continue
            try:
                Budget.from_table({key: value})
            except BudgetValueError as error:
                (unreadable if key in CAP_KEYS.values() else dropped).append(str(error))
            else:
                merged[key] = _stricter(key, merged.get(key), value)
    return merged, unreadable, dropped


def _stricter(key: str, old: Any, new: Any) -> Any:
    if old is None:
        return new
    return (old or new) if key == "hard_cap" else min(old, new)
