"""The results of an account's methods: immutable records, amounts in USD, times aware UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.model.budget import Budget
from hal0_budget.model.records import Hold, Row
from hal0_budget.model.verdict import Verdict
from hal0_budget.model.windows import Window


class WindowState(NamedTuple):
    """One window: its cap and what remains of it (None without a cap), USD spent and held (None
    for the per-call cap), and when it resets (None if it never does).
    """

    window: Window
    cap: Decimal | None
    spent: Decimal | None
    held: Decimal | None
    remaining: Decimal | None
    resets_at: datetime | None


class Statement(NamedTuple):
    """A persona's caps, how much of them is used, and what is wrong with its files.

    `unconfirmed` is the part of the lifetime spending that comes from expired holds.
    """

    persona: str
    budget: Budget
    windows: tuple[WindowState, ...]
    held: Decimal
    unconfirmed: Decimal
    warnings: tuple[str, ...]

    def of(self, window: Window) -> WindowState:
        """Return the state of one window. Only the per-call window may be missing, if it has no cap."""
        return next(state for state in self.windows if state.window == window)


class Decision(NamedTuple):
    """The result of a check: the verdict, and the statement that it is based on."""

    verdict: Verdict
    statement: Statement

    @property
    def resets_at(self) -> datetime | None:
        """When the window whose cap gave the verdict resets; None if there is none."""
        return self.statement.of(self.verdict.window).resets_at if self.verdict.window else None


class Reservation(NamedTuple):
    """The result of a reserve: the decision, and the hold if it was opened."""

    decision: Decision
    hold: Hold | None


class Receipt(NamedTuple):
    """A charge that is on the disk: its row, and whether it was already recorded before this call.

    `overrun` is how much more it cost than its hold, in USD. `problem` says why the hold that the charge
    names could not be settled.
    """

    row: Row
    was_recorded: bool = False
    overrun: Decimal | None = None
    problem: str | None = None


class Revision(NamedTuple):
    """A change of a budget: each changed key with its value before and after (None if not set,
    "invalid" if the old value was not valid), the new budget, and the statement under it, which is
    None if the ledger is damaged.
    """

    changes: Mapping[str, tuple[object, object]]
    budget: Budget
    statement: Statement | None
    warnings: tuple[str, ...]
