"""Edits of the budget table in a persona file: that table changes, and not one byte around it.

tomlkit makes the change; what it made is parsed again by tomli and compared with the original.
Where anything but the named keys would differ, the edit is refused and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, InlineTable, Item, Table

from hal0_budget.errors import PersonaChanged, PersonaUneditable
from hal0_budget.money import plain
from hal0_budget.store.durable import identity_of, replace, sync
from hal0_budget.store.persona_file import MAX_BYTES, PersonaFile, parse_document

Changes = Mapping[str, "Decimal | bool | None"]


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
    try:
        text = (
            _edit(persona, needed) if "budget" in persona.document["persona"] else _add_table(persona, needed)
        )
        _verify(persona, text, needed)
    except (TOMLKitError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise _uneditable(persona, needed, error) from error
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


def _edit(persona: PersonaFile, changes: Changes) -> str:
    document = tomlkit.parse(persona.text)
    if tomlkit.dumps(document) != persona.text:
        raise ValueError("the editor would reformat this file")
    table: Any = document["persona"]["budget"]
    if not isinstance(table, (Table, InlineTable)):
        raise TypeError("the table is spread over several places")
    added = {}
    for key, value in changes.items():
        if value is None:
            table.remove(key)
        elif key in table or isinstance(table, InlineTable):
            table[key] = tomlkit.value(toml_value(value))
        else:
            added[key] = value
    if added and isinstance(table, Table):
        _append_lines(table, _lines(added), _newline(persona.text))
    return tomlkit.dumps(document)


def _append_lines(table: Table, lines: list[str], newline: str) -> None:
    """Put lines after the last key of the table, indented like it; after the header if it has none.

    tomlkit would put them after the comments that follow, which belong to the next table. What
    stands after the header of a table within this one would become a key of that.
    """
    keys: list[Item] = [
        item for key, item in table.value.body if key is not None and not isinstance(item, (Table, AoT))
    ]
    trivia = keys[-1].trivia if keys else table.trivia
    indent = trivia.indent.rpartition("\n")[2] if keys else ""
    end = "" if trivia.trail.endswith("\n") else newline  # the file's last line may lack it
    trivia.trail += end + "".join(f"{indent}{line}{newline}" for line in lines)


def _add_table(persona: PersonaFile, changes: Changes) -> str:
    newline = _newline(persona.text)
    lines = ["[persona.budget]", *_lines(changes)]
    gap = newline if not persona.text or persona.text.endswith("\n") else newline * 2
    return persona.text + gap + "".join(line + newline for line in lines)


def _lines(changes: Changes) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in changes.items() if value is not None]


def _newline(text: str) -> str:
    return "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"


def _verify(persona: PersonaFile, text: str, changes: Changes) -> None:
    """Raise ValueError unless `text` is the persona file with those keys changed and nothing else."""
    before, after = parse_document(persona.text), parse_document(text)
    old = before["persona"].pop("budget", {})
    new = after["persona"].pop("budget", {})
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"the file would be longer than {MAX_BYTES} bytes")
    if repr(before) != repr(after):
        raise ValueError("something outside the budget would change")
    kept = {key: value for key, value in old.items() if key not in changes}
    if repr(kept) != repr({key: value for key, value in new.items() if key not in changes}):
        raise ValueError("another key of the budget would change")
    for key, value in changes.items():
        if not (key not in new if value is None else _same(new.get(key), value)):
            raise ValueError(f"{key} would not become what was asked for")
    if not text.startswith(persona.text) and _others(persona.text, changes) != _others(text, changes):
        raise ValueError("lines outside the budget would change")


def _others(text: str, changes: Changes) -> str:
    """The lines that set none of the changed keys; a last line always with its newline."""
    keys = "|".join(re.escape(key) for key in changes)
    ours = re.compile(rf"""\s*(?:[\w."' -]+\.\s*)?["']?(?:{keys})["']?\s*=|.*budget["']?\s*=\s*\{{""")
    if not text.endswith("\n"):
        text += _newline(text)
    return "\n".join(line for line in text.split("\n") if not ours.match(line))


def _same(found: object, wanted: Decimal | bool) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    return isinstance(found, (int, Decimal)) and found == wanted


def _uneditable(persona: PersonaFile, changes: Changes, error: Exception) -> PersonaUneditable:
    todo = ", ".join(
        f"remove {key}" if value is None else f"{key} = {toml_value(value)}" for key, value in changes.items()
    )
    return PersonaUneditable(
        f"{persona.path}: the budget cannot be edited safely here ({error}); nothing was written. "
        f"By hand, in [persona.budget]: {todo}",
        path=str(persona.path),
    )
