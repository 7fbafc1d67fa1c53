"""`watch`: shows caps, holds and the latest rows on a terminal, and redraws them when they change."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import ColorWhen, Context, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.cli.terminal.screen import require_terminal
from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError
from hal0_budget.model.records import Entry, Hold
from hal0_budget.model.results import Statement
from hal0_budget.stores.base import Store, Tail
from hal0_budget.stores.open import open_store

# More rows than a terminal has lines.
_KEPT_ROWS = 200


@shared_options(output=False)
def watch(
    context: Context,
    personas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PERSONA...]",
            autocompletion=suggest("personas"),
            help="The personas' ids. Default: every persona of the agent.",
        ),
    ] = None,
    _color: ColorWhen = "auto",
) -> Result:
    """Watch caps, holds and the latest rows.

    Fills the terminal and redraws it when a charge is recorded; q quits. What does not fit is counted. A
    damaged persona is shown as such and does not end the view.
    """
    require_terminal()
    store = open_store(context.home)
    names = tuple(dict.fromkeys(personas or ()))
    for name in names:
        store.require_persona(name)
    store.personas()
    return Result({}, view=Budgets(store, names))


class Watched:
    """The last state of one persona: its statement and open holds, or the error that prevents them."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.statement: Statement | None = None
        self.error: str | None = None
        self.holds: tuple[Hold, ...] = ()
        self._account = Account(store, name)
        self._rows: Tail | None = None
        self._seen: object = None

    def update(self, now: datetime) -> list[Entry] | None:
        """Read the persona if a file or a displayed time changed. Returns new rows, or None if it did not."""
        # With holds the display changes every second, else every minute (windows reset).
        moment = now.replace(microsecond=0) if self.holds else now.replace(second=0, microsecond=0)
        seen = moment, self._account.store.state(self.name)
        if seen == self._seen:
            return None
        self._seen = seen
        entries: list[Entry] = []
        try:
            self.statement, self.error = self._account.show(), None
            self.holds = self._account.holds()
            self._rows = self._rows or self._account.tail(_KEPT_ROWS)
            entries += (found for found in self._rows.read() if isinstance(found, Entry))
        except BudgetError as error:
            self.statement, self.error, self.holds = None, error.message, ()
        return entries

    def close(self) -> None:
        """Close the ledger."""
        if self._rows is not None:
            self._rows.close()


class Budgets:
    """The view of `watch`: the named personas, or without names all that the agent currently has."""

    def __init__(self, store: Store, names: tuple[str, ...]) -> None:
        self._store = store
        self._names = names
        self._watched: dict[str, Watched] = {}
        self._rows: deque[tuple[str, Entry]] = deque(maxlen=_KEPT_ROWS)
        self._drawn: tuple[object, list[str]] = (None, [])

    def frame(self, columns: int, lines: int, *, color: bool) -> list[str]:
        """The lines of the screen now; the previous ones if nothing changed."""
        from hal0_budget.cli.terminal.watch_page import Page

        now = utc_now()
        changed = self._update(now)
        key = (columns, lines, color, now.replace(second=0, microsecond=0))
        if changed or key != self._drawn[0]:
            page = Page(columns, lines, color=color)
            self._drawn = key, page.drawn(self._store.agent, now, list(self._watched.values()), self._rows)
        return self._drawn[1]

    def _update(self, now: datetime) -> bool:
        """Update every persona. Returns whether anything changed."""
        names = self._present()
        changed = names != tuple(self._watched)
        for gone in self._watched.keys() - set(names):
            self._watched[gone].close()
        self._watched = {name: self._watched.get(name) or Watched(self._store, name) for name in names}
        came: list[tuple[str, Entry]] = []
        for watched in self._watched.values():
            entries = watched.update(now)
            if entries is not None:
                changed = True
                came += [(watched.name, entry) for entry in entries]
        self._rows.extend(sorted(came, key=lambda row: row[1].row.ts))
        return changed

    def _present(self) -> tuple[str, ...]:
        try:
            return self._names or self._store.personas()
        except BudgetError:
            # The directory may be in the middle of a rename: keep the last list of personas.
            return tuple(self._watched)
