"""Creates the files of an agent: persona files with an empty budget, and `active.txt`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from hal0_budget.durable import FOLDERS_ABOVE, identity_of, make_dirs, opened, replace, sync_dirs
from hal0_budget.errors import PersonaChanged, PersonaMalformed, from_os_error
from hal0_budget.model.budget import Budget
from hal0_budget.stores.base import Created
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.lock import Lock
from hal0_budget.stores.files.persona_file import MAX_BYTES, parse_document
from hal0_budget.stores.files.salvage import salvage


def set_up(home: Home, personas: Sequence[str], *, repair: bool, lock_timeout: float) -> tuple[Created, ...]:
    """See `hal0_budget.init`."""
    for persona in personas:
        home.persona_file(persona)
    try:
        make_dirs(home.personas)
        make_dirs(home.agent_dir / "personas")
        # An earlier command may have created them, and died before it synced them.
        sync_dirs(home.personas, FOLDERS_ABOVE - 1)
        done = []
        for persona in personas:
            with Lock(home.edit_lock(persona)).held(lock_timeout):
                done.append(_create_persona(home.persona_file(persona), persona, repair=repair))
        done.append(_create_active(home.active_file, personas[0], repair=repair))
        return tuple(done)
    except OSError as error:
        raise from_os_error(error) from error


def _create_persona(path: Path, persona: str, *, repair: bool) -> Created:
    if not os.path.lexists(path):
        replace(path, _body(path, persona, {"hard_cap": True}))
        return Created(path, "created")
    if not repair:
        return Created(path, "kept")
    old = _Old.read(path)
    kept = salvage(path, old.data, persona)
    saved = old.replace(_body(path, persona, kept.table))
    return Created(path, "repaired", saved, kept.losses)


def _create_active(path: Path, persona: str, *, repair: bool) -> Created:
    body = f"{persona}\n".encode()
    if not os.path.lexists(path):
        replace(path, body)
        return Created(path, "created")
    if not repair:
        return Created(path, "kept")
    return Created(path, "repaired", _Old.read(path).replace(body))


class _Old(NamedTuple):
    """A file before it is rewritten: its bytes and identity."""

    path: Path
    data: bytes
    identity: tuple[int, int, int, int]

    @classmethod
    def read(cls, path: Path) -> _Old:
        """Read a file. Follows a symlink; never waits for a FIFO. Raises PersonaMalformed, OSError."""
        with opened(Path(os.path.realpath(path)), os.O_RDONLY) as fd:
            identity = identity_of(os.fstat(fd))
            data = os.read(fd, MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PersonaMalformed(
                f"{path}: longer than {MAX_BYTES} bytes; shorten it by hand", path=str(path)
            )
        return cls(path, data, identity)

    def replace(self, body: bytes) -> Path:
        """Save the old bytes next to the file, then replace it; return the path of the saved bytes."""
        saved = next(name for name in _backups(self.path) if not os.path.lexists(name) or self._is_in(name))
        replace(saved, self.data)
        if identity_of(os.stat(self.path)) != self.identity:
            raise PersonaChanged(
                f"{self.path}: another program changed it during the repair; try again",
                path=str(self.path),
            )
        replace(self.path, body)
        return saved

    def _is_in(self, saved: Path) -> bool:
        """Return whether a backup has these bytes already: a repair that was killed leaves one."""
        if saved.is_symlink() or not saved.is_file():
            return False
        with opened(saved, os.O_RDONLY) as fd:
            return os.read(fd, MAX_BYTES + 1) == self.data


def _backups(path: Path) -> Iterator[Path]:
    """Yield `FILE.bak`, `FILE.bak.2`, `FILE.bak.3` ...: a backup is never overwritten."""
    yield path.with_name(f"{path.name}.bak")
    yield from (path.with_name(f"{path.name}.bak.{number}") for number in count(2))


def _body(path: Path, persona: str, budget: Mapping[str, Any]) -> bytes:
    """Return the bytes of a persona file, after a check that parsing them gives the same budget."""
    text = tomli_w.dumps(_new_persona(persona, budget))
    written = parse_document(text)["persona"]["budget"]
    if Budget.from_table(written) != Budget.from_table(budget):
        raise PersonaMalformed(f"{path}: its budget cannot be carried over; edit it by hand", path=str(path))
    return text.encode()


def _new_persona(persona: str, budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return a persona with the tables that hal0 writes, in the same order."""
    return {
        "persona": {
            "id": persona,
            "display_name": persona.capitalize(),
            "summary": "General assistant of the house." if persona == "hermes" else "",
            "prompt": {
                "system": "You help the operator of this machine. Ask before you touch files or services."
            },
            "tools": {"allowed": ["*"]},
            "memory": {"namespace": f"private:{persona}"},
            "approval": {
                "default_policy": "ask",
                "auto_approve": ["memory.read.*", "search.*", "slot.read.*"],
                "require_approval": ["files.*", "shell.*", "admin.*"],
            },
            "model": {"preferred_upstream": "hal0", "preferred_model": ""},
            "budget": dict(budget),
        }
    }
