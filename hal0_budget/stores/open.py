"""Which stores there are: the only place that knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hal0_budget.stores.base import DEFAULT_TIMEOUT, Store
from hal0_budget.stores.files.layout import DEFAULT_AGENT, DEFAULT_ROOT, Home
from hal0_budget.stores.files.store import FileStore

if TYPE_CHECKING:
    from hal0_budget.stores.files.scaffold import Created

__all__ = ["DEFAULT_AGENT", "DEFAULT_PERSONAS", "DEFAULT_ROOT", "Home", "create", "open_store"]

DEFAULT_PERSONAS = ("hermes", "coder")


def open_store(place: Home | Store) -> Store:
    """The store at a place; a store is its own place. Raises InvalidId."""
    return FileStore(place) if isinstance(place, Home) else place


def create(
    home: Home,
    personas: Sequence[str] = DEFAULT_PERSONAS,
    *,
    repair: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT,
) -> tuple[Created, ...]:
    """Make what is missing of an agent's files; see `hal0_budget.init`."""
    # No other command needs it, nor what writes TOML.
    from hal0_budget.stores.files.scaffold import init

    return init(home, personas, repair=repair, lock_timeout=lock_timeout)
