"""Reads persona files. Other programs own these files; only the budget table belongs to this program."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from decimal import Context, Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tomli

from hal0_budget.durable import NotRegular, identity_of, opened
from hal0_budget.errors import PersonaMalformed
from hal0_budget.model.budget import Budget, BudgetValueError, may_hold_lookalikes
from hal0_budget.stores.files.layout import Home

# Longer than any persona file that a person or hal0 writes.
MAX_BYTES = 1024 * 1024

# Two writes within some milliseconds may get the same time of change; this is a safe upper bound.
_CLOCK_TICK_NS = 100_000_000

# Longest quoted part of a wrong id, in characters.
_SHOWN = 64


class PersonaFile(NamedTuple):
    """A persona file as it was read: its exact text, the parsed document, and the identity of the file.

    `warnings` has a sentence for each cap that is misspelt or in the wrong table. `is_settled` means that its
    time of change is old enough, so that any later write changes the identity.
    """

    path: Path
    text: str
    document: Mapping[str, Any]
    identity: tuple[int, int, int, int]
    warnings: tuple[str, ...]
    is_settled: bool

    @property
    def table(self) -> Mapping[str, Any]:
        """The budget table; empty if there is none."""
        table: Mapping[str, Any] = self.document["persona"].get("budget", {})
        return table

    def budget(self, changes: Mapping[str, object] = MappingProxyType({})) -> Budget:
        """Return the budget, with some keys of its table changed if given; None removes a key.

        Raises PersonaMalformed, which names the file and the key.
        """
        table = {**self.table, **changes} if changes else self.table
        try:
            return Budget.from_table({key: value for key, value in table.items() if value is not None})
        except BudgetValueError as error:
            raise PersonaMalformed(
                f"{self.path}: [persona.budget].{error}", path=str(self.path), key=error.key
            ) from None

    def with_text(self, text: str) -> PersonaFile:
        """Return this file as it will be after `text` has replaced its text."""
        document = parse_document(text)
        return self._replace(text=text, document=document, warnings=_warnings(self.path, document))


def read_persona(home: Home, persona: str, known: PersonaFile | None = None) -> PersonaFile:
    """Read and parse a persona file. Returns `known`, an earlier result, if the file has not changed.

    Raises InvalidId, AgentUnknown, PersonaNotFound; PersonaMalformed if the file is not UTF-8 TOML of
    at most 1 MiB with a `[persona]` table of the same id; OSError.
    """
    path = home.persona_file(persona) if known is None else known.path
    home.require_agent()
    try:
        if known is not None and known.is_settled and identity_of(os.stat(path)) == known.identity:
            return known
        # A persona file may be a symlink to another folder; its target must be a regular file.
        with opened(Path(os.path.realpath(path)) if os.path.islink(path) else path, os.O_RDONLY) as fd:
            identity = identity_of(os.fstat(fd))
            is_settled = time.time_ns() - identity[3] > _CLOCK_TICK_NS
            # Do not limit the read to fstat's size: the file may have grown; a short read would miss caps.
            data = os.read(fd, MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise home.not_found(persona) from None
    except NotRegular as error:
        raise PersonaMalformed(f"{path}: {error.strerror}", path=str(path)) from None
    text, document = parse_persona(path, data, persona)
    return PersonaFile(path, text, document, identity, _warnings(path, document), is_settled)


def parse_persona(path: Path, data: bytes, persona: str) -> tuple[str, dict[str, Any]]:
    """Parse the bytes of a persona file into text and document. Raises PersonaMalformed."""
    if len(data) > MAX_BYTES:
        raise PersonaMalformed(f"{path}: longer than {MAX_BYTES} bytes", path=str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise PersonaMalformed(f"{path}: not UTF-8 at byte {error.start}", path=str(path)) from None
    return text, _parse(path, text, persona)


def parse_document(text: str) -> dict[str, Any]:
    """Parse TOML with floats as exact Decimal. Raises ValueError with line, column or key.

    Skips a byte-order mark at the beginning. A float outside the range of Decimal, such as
    `1e9999999999999999999`, becomes NaN.
    """
    try:
        document = tomli.loads(text.removeprefix("\ufeff"), parse_float=_float)
        _refuse_huge_integers(document)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return document


# With the default context, Decimal raises an error for an exponent of 20 digits that is not a ValueError.
_float = functools.partial(Decimal, context=Context(traps=[]))


def _refuse_huge_integers(value: object, key: str = "") -> None:
    """Raise ValueError, which names the key, for an integer of more than TOML's 64 bits.

    Comparing an integer of a million digits would need half a minute, and it cannot be printed.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} is an integer of more than 64 bits")
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_huge_integers(item, name)
    elif isinstance(value, list):
        for item in value:
            _refuse_huge_integers(item, key)


def _parse(path: Path, text: str, persona: str) -> dict[str, Any]:
    try:
        document = parse_document(text)
    except ValueError as error:
        raise PersonaMalformed(f"{path}: not valid TOML: {error}", path=str(path)) from None
    table = document.get("persona")
    if not isinstance(table, dict):
        raise PersonaMalformed(f"{path}: no [persona] table", path=str(path), key="persona")
    found = table.get("id")
    if found != persona:
        shown = repr(found[:_SHOWN]) if isinstance(found, str) else "not a string"
        raise PersonaMalformed(
            f"{path}: [persona].id is {shown}, but the name of the file is for {persona!r}",
            path=str(path),
            key="persona.id",
        )
    if not isinstance(table.get("budget", {}), dict):
        raise PersonaMalformed(
            f"{path}: [persona].budget is not a table", path=str(path), key="persona.budget"
        )
    return document


def _warnings(path: Path, document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each key or table that looks like a cap but has no effect."""
    if not may_hold_lookalikes(document):
        return ()
    # Imported here, because few files need it and the import would slow down every check.
    from hal0_budget.model.lookalikes import warnings_of

    return tuple(f"{path}: {sentence}" for sentence in warnings_of(document))
