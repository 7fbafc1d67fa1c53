"""The results of `show` and `check`. Amounts are in USD; times are aware, in UTC."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.model.budget import Budget
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
