"""Setting an agent up: persona files with an empty budget, and which of them is active."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tomli_w

from hal0_budget.errors import BudgetError, PersonaMalformed, from_os_error
from hal0_budget.store.durable import make_dirs, opened, replace
from hal0_budget.store.layout import Home
from hal0_budget.store.lock import DEFAULT_TIMEOUT, Lock
from hal0_budget.store.persona_file import MAX_BYTES, read_persona

DEFAULT_PERSONAS = ("hermes", "coder")


class Created(NamedTuple):
    """What `init` did with one file: `created`, `kept` or `repaired`; `saved_as` is where the
    old file of a repaired one is.
    """

    path: Path
    state: Literal["created", "kept", "repaired"]
    saved_as: Path | None = None


def init(
    home: Home,
    personas: Sequence[str] = DEFAULT_PERSONAS,
    *,
    repair: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT,
) -> tuple[Created, ...]:
    """Write a persona file with an empty budget for each id, and `active.txt` naming the first.

    What exists is left. `repair` rewrites it: a budget that can still be read is carried over,
    and the old file is kept beside the new one. Raises InvalidId, PersonaMalformed where the old file
    is too long to be one, PermissionRefused, WriteFailed.
    """
    for persona in personas:
        home.persona_file(persona)
    try:
        make_dirs(home.personas)
        make_dirs(home.agent_dir / "personas")
        done = []
        for persona in personas:
            with Lock(home.edit_lock(persona)).held(lock_timeout):
                body = tomli_w.dumps(_new_persona(home, persona)).encode()
                done.append(_write(home.persona_file(persona), body, repair=repair))
        done.append(_write(home.active_file, f"{personas[0]}\n".encode(), repair=repair))
        return tuple(done)
    except OSError as error:
        raise from_os_error(error) from error


def _write(path: Path, body: bytes, *, repair: bool) -> Created:
    if not os.path.lexists(path):
        replace(path, body)
        return Created(path, "created")
    if not repair:
        return Created(path, "kept")
    saved = path.with_name(f"{path.name}.bak")
    # What is linked from elsewhere is copied, and a FIFO is never waited for.
    with opened(Path(os.path.realpath(path)), os.O_RDONLY) as fd:
        old = os.read(fd, MAX_BYTES + 1)
    if len(old) > MAX_BYTES:
        raise PersonaMalformed(f"{path}: longer than {MAX_BYTES} bytes; move it away by hand", path=str(path))
    replace(saved, old)
    replace(path, body)
    return Created(path, "repaired", saved)


def _new_persona(home: Home, persona: str) -> dict[str, Any]:
    """A persona as hal0 writes it; the order of the tables is hal0's."""
    budget: dict[str, Any] = {"hard_cap": True}
    with suppress(BudgetError):
        old = read_persona(home, persona)
        old.budget()
        budget = dict(old.table)
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
            "budget": budget,
        }
    }
