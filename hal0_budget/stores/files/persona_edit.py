"""Edits of the budget table in a persona file: the keys that are named change, and not one byte around them.

The text is cut at the places of those keys and put together again; what comes out is parsed and
compared with the original. Where anything but the named keys would differ, nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hal0_budget.errors import PersonaChanged, PersonaUneditable
from hal0_budget.model.budget import Changes
from hal0_budget.model.money import plain
from hal0_budget.stores.files.durable import identity_of, replace, sync
from hal0_budget.stores.files.persona_file import MAX_BYTES, PersonaFile, parse_document
from hal0_budget.stores.files.table_edit import with_keys

# Characters of lines to write by hand; a person would not write more.
_LONGEST_ADVICE = 2000


def edited(persona: PersonaFile, changes: Changes) -> str:
    """The text of the persona file with the keys of its budget table changed; None removes one.

    Raises PersonaUneditable that names the lines to change by hand.
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
    """Replace the persona file by `text`, unless another program has rewritten it since.

    What it holds already is only made durable. The caller holds the persona's lock. Raises
    PersonaChanged, OSError.
    """
    if text == persona.text:
        # Whoever wrote it may have failed to sync it.
        sync(persona.path)
        return
    if identity_of(os.stat(persona.path)) != persona.identity:
        raise PersonaChanged(
            f"{persona.path}: another program rewrote it while it was edited; try again",
            path=str(persona.path),
        )
    replace(persona.path, text.encode())


def toml_value(value: Decimal | bool) -> str:
    """A value as TOML writes it: `true`, `5.0`, `0.25`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = plain(value)
    return text if "." in text else f"{text}.0"


def _verify(persona: PersonaFile, text: str, changes: Changes) -> None:
    """Raise PersonaUneditable unless `text` is the persona file with those keys changed and nothing else."""
    why = _difference(persona.document, text, changes)
    if why is not None:
        raise PersonaUneditable(
            f"{persona.path}: the budget cannot be edited safely here ({why}); nothing was written. "
            f"By hand, {_wanted(changes)}",
            path=str(persona.path),
        )
    too_long = len(text.encode()) - MAX_BYTES
    if too_long > 0:
        advice, details = _by_hand(persona.text, text, changes)
        raise PersonaUneditable(
            f"{persona.path}: it would be {too_long} bytes longer than the {MAX_BYTES} bytes that a persona "
            f"file may have; nothing was written. By hand, {advice}; and shorten the rest of the file",
            path=str(persona.path),
            **details,
        )


def _difference(document: Mapping[str, Any], text: str, changes: Changes) -> str | None:
    """What of an edited persona file is not as it should be."""
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
            return f"{key} would not become what was asked for"
    return None


def _without_budget(document: Mapping[str, Any]) -> dict[str, Any]:
    persona = {key: value for key, value in document["persona"].items() if key != "budget"}
    return {**document, "persona": persona}


def _changed_lines(before: str, after: str) -> tuple[int, int, list[str]]:
    """The first line, counted from 1, in which two texts differ, how many lines the first text has to lose
    from there on, and the lines that stand there in the second.
    """
    old, new = before.split("\n"), after.split("\n")
    start = _equal_lines(old, new)
    end = _equal_lines(old[start:][::-1], new[start:][::-1])
    return start + 1, len(old) - end - start, new[start : len(new) - end]


def _equal_lines(left: list[str], right: list[str]) -> int:
    """How many lines are equal from the beginning on."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(left), len(right)))


def _by_hand(before: str, after: str, changes: Changes) -> tuple[str, dict[str, Any]]:
    """What to do by hand to make one text of the other, as text and as details of an error: the first line
    that differs, how many lines go, and the lines that come.
    """
    first, removed, lines = _changed_lines(before, after)
    if sum(map(len, lines)) > _LONGEST_ADVICE:
        return _wanted(changes), {}
    lines = [line.removesuffix("\r") for line in lines]
    what = "the line" if removed == 1 else f"{removed} lines"
    if not removed:
        at = "at the end" if first > before.count("\n") + 1 else f"before line {first}"
        advice = f"write {at}: {' | '.join(lines)}"
    elif lines:
        advice = f"from line {first} on, write in place of {what}: {' | '.join(lines)}"
    else:
        advice = f"from line {first} on, remove {what}"
    return advice, {"line": first, "removed": removed, "lines": lines}


def _wanted(changes: Changes) -> str:
    keys = (
        f"no {key}" if value is None else f"{key} = {toml_value(value)}" for key, value in changes.items()
    )
    return f"see that the table persona.budget has {', '.join(keys)}"


def _same(found: object, wanted: Decimal | bool) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, (int, Decimal)) and found == wanted
