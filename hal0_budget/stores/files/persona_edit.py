"""Edits the budget table in a persona file: changes the named keys, and no other byte of the file.

The new text is parsed and compared with the original. If anything except the named keys differs, nothing is
written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hal0_budget.durable import identity_of, replace, sync
from hal0_budget.errors import PersonaChanged, PersonaUneditable
from hal0_budget.model.budget import KEYS, Budget, BudgetValueError, Changes
from hal0_budget.model.money import plain
from hal0_budget.model.policy import Policy
from hal0_budget.stores.base import PolicyChange
from hal0_budget.stores.files.persona_file import MAX_BYTES, PersonaFile, parse_document
from hal0_budget.stores.files.table_edit import with_keys

# Longest text that a message asks a person to write by hand, in characters.
_LONGEST_ADVICE = 2000


def edited(persona: PersonaFile, changes: Changes) -> str:
    """Return the text of the persona file with keys of its budget table changed; None removes a key.

    Raises PersonaUneditable, which says how to change the file by hand.
    """
    needed = {
        key: value
        for key, value in changes.items()
        if (key in persona.table if value is None else not _same(persona.table.get(key), value))
    }
    if not needed:
        return persona.text
    written = {key: None if value is None else toml_value(value) for key, value in needed.items()}
    text = with_keys(persona.text, ("persona", "budget"), written)
    _verify(persona, text, needed)
    return text


def write(persona: PersonaFile, text: str) -> None:
    """Replace the persona file by `text`, unless another program has rewritten it since it was read.

    If the file has this text already, it is only synced. The caller holds the persona's lock. Raises
    PersonaChanged, OSError.
    """
    if text == persona.text:
        # The process that wrote it may have failed to sync it.
        sync(persona.path)
        return
    if identity_of(os.stat(persona.path)) != persona.identity:
        raise PersonaChanged(
            f"{persona.path}: another program changed it during the edit; try again",
            path=str(persona.path),
        )
    replace(persona.path, text.encode())


def change_of(persona: str, before: PersonaFile, after: PersonaFile) -> PolicyChange:
    """The keys of the budget that differ. Raises PersonaMalformed if the new table is invalid."""
    policy = Policy(persona, after.budget(), after.warnings)
    changes = {
        key: (_legible(key, before.table.get(key)), after.table.get(key))
        for key in KEYS
        if repr(before.table.get(key)) != repr(after.table.get(key))
    }
    return PolicyChange(changes, policy)


def toml_value(value: Decimal | bool) -> str:
    """Return a value as TOML source text: `true`, `5.0`, `0.25`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = plain(value)
    return text if "." in text else f"{text}.0"


def _legible(key: str, value: object) -> object:
    """The value of a key of a budget table; "invalid" if it is not valid, because it may not be printable."""
    try:
        Budget.from_table({} if value is None else {key: value})
    except BudgetValueError:
        return "invalid"
    return value


def _verify(persona: PersonaFile, text: str, changes: Changes) -> None:
    """Raise PersonaUneditable unless `text` differs from the persona file in these keys only."""
    why = _difference(persona.document, text, changes)
    if why is not None:
        raise PersonaUneditable(
            f"{persona.path}: the budget cannot be edited safely here ({why}); nothing was written. "
            f"Edit it by hand: {_wanted(changes)}",
            path=str(persona.path),
        )
    too_long = len(text.encode()) - MAX_BYTES
    if too_long > 0:
        advice, details = _by_hand(persona.text, text, changes)
        raise PersonaUneditable(
            f"{persona.path}: the new file would be {too_long} bytes longer than the limit of {MAX_BYTES} "
            f"bytes; nothing was written. Edit it by hand: {advice}; and shorten the rest of the file",
            path=str(persona.path),
            **details,
        )


def _difference(document: Mapping[str, Any], text: str, changes: Changes) -> str | None:
    """Return what is wrong with an edited persona file; None if it is right."""
    try:
        after = parse_document(text)
    except ValueError as error:
        return f"it would not be valid TOML: {error}"
    old, new = document["persona"].get("budget", {}), after["persona"].get("budget", {})
    # As text, because NaN is not equal to itself.
    if repr(_without_budget(document)) != repr(_without_budget(after)):
        return "something outside the budget would change"
    kept = {key: value for key, value in old.items() if key not in changes}
    if repr(kept) != repr({key: value for key, value in new.items() if key not in changes}):
        return "another key of the budget would change"
    for key, value in changes.items():
        if not (key not in new if value is None else _same(new.get(key), value)):
            return f"{key} would not get the requested value"
    return None


def _without_budget(document: Mapping[str, Any]) -> dict[str, Any]:
    persona = {key: value for key, value in document["persona"].items() if key != "budget"}
    return {**document, "persona": persona}


def _changed_lines(before: str, after: str) -> tuple[int, int, list[str]]:
    """Compare two texts. Returns the number, from 1, of the first line that differs, how many lines of the
    first text are replaced from there on, and the lines that replace them.
    """
    old, new = before.split("\n"), after.split("\n")
    start = _equal_lines(old, new)
    end = _equal_lines(old[start:][::-1], new[start:][::-1])
    return start + 1, len(old) - end - start, new[start : len(new) - end]


def _equal_lines(left: list[str], right: list[str]) -> int:
    """Return how many lines are equal from the beginning."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(left), len(right)))


def _by_hand(before: str, after: str, changes: Changes) -> tuple[str, dict[str, Any]]:
    """Return how to change one text into the other by hand, as a sentence and as details for JSON: the first
    line that differs, how many lines are removed, and the lines that are added.
    """
    first, removed, lines = _changed_lines(before, after)
    if sum(map(len, lines)) > _LONGEST_ADVICE:
        return _wanted(changes), {}
    lines = [line.removesuffix("\r") for line in lines]
    what = "the line" if removed == 1 else f"{removed} lines"
    if not removed:
        at = "at the end" if first > before.count("\n") + 1 else f"before line {first}"
        advice = f"insert {at}: {' | '.join(lines)}"
    elif lines:
        advice = f"at line {first}, replace {what} with: {' | '.join(lines)}"
    else:
        advice = f"at line {first}, remove {what}"
    return advice, {"line": first, "removed": removed, "lines": lines}


def _wanted(changes: Changes) -> str:
    keys = (
        f"no {key}" if value is None else f"{key} = {toml_value(value)}" for key, value in changes.items()
    )
    return f"the table persona.budget must have {', '.join(keys)}"


def _same(found: object, wanted: Decimal | bool) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, (int, Decimal)) and found == wanted
