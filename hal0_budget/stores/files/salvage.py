"""What `init --repair` keeps of a budget: every readable cap; an unreadable one blocks all paid calls."""

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
    """The budget table for the new file, and a sentence for each part that could not be kept."""

    table: Table
    losses: tuple[str, ...]


def salvage(path: Path, data: bytes, persona: str) -> Salvage:
    """Recover the budget from the bytes of a persona file: at least as strict as the old one in every window.

    If a cap is unreadable, or the file may have caps that cannot be found, the new budget blocks every
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
    losses = [*blocked, *(f"{path}: [persona.budget].{why}; it is reset to its default" for why in dropped)]
    if blocked:
        table |= {CAP_KEYS["per_call"]: Decimal("0.0"), "hard_cap": True}
        losses.append(
            f"{path}: not every cap could be kept, so the new budget blocks every paid call. Set the caps: "
            f"hal0-budget set {persona} --per-call none --daily USD"
        )
    return Salvage({"hard_cap": True, **table}, tuple(losses))


def _without_budget(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without the budget table, which is copied to the new file with its unknown keys."""
    return {**document, "persona": {**document["persona"], "budget": {}}}


def _tables_of(data: bytes) -> Iterator[Table]:
    """Yield the budget tables of a malformed persona file: none, one, or several in a list."""
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
    """Return the smallest readable value of each cap, with the unknown keys of the first table that has them;
    a sentence for each unreadable cap; and one for each other unreadable setting.
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
