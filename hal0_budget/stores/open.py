"""Opens stores. This module alone knows which stores exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.files.layout import DEFAULT_AGENT, DEFAULT_ROOT, Home

if TYPE_CHECKING:
    from hal0_budget.stores.base import Created, Store

__all__ = ["DEFAULT_AGENT", "DEFAULT_PERSONAS", "DEFAULT_ROOT", "Home", "init", "open_store"]

DEFAULT_PERSONAS = ("hermes", "coder")


def open_store(place: Home | Store) -> Store:
    """The store of the files of an agent; an open store is returned as it is. Raises InvalidId."""
    if not isinstance(place, Home):
        return place
    # Commands that only print help need `Home` alone.
    from hal0_budget.stores.files.store import FileStore

    return FileStore(place)


def init(
    home: Home,
    personas: Sequence[str] = DEFAULT_PERSONAS,
    *,
    repair: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT,
) -> tuple[Created, ...]:
    """Create a persona file with an empty budget for each id, and `active.txt` with the first id.

    Existing files are not changed, unless `repair` is true: then they are rewritten, and each old file is
    saved next to the new one. Readable caps are kept; if one is unreadable, the new budget blocks every
    paid call. Raises InvalidId, PersonaMalformed if an old file is too long, PersonaChanged, LockTimeout,
    PermissionRefused, WriteFailed.
    """
    # Only `init` needs it, and it imports what writes TOML.
    from hal0_budget.stores.files.scaffold import set_up

    return set_up(home, personas, repair=repair, lock_timeout=lock_timeout)
