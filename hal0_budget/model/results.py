"""What the questions to an account answer with: plain records, amounts in USD, times aware UTC."""

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
    for the per-call cap), and when it starts afresh (None where it never does).
    """

    window: Window
    cap: Decimal | None
    spent: Decimal | None
    held: Decimal | None
    remaining: Decimal | None
    resets_at: datetime | None


class Statement(NamedTuple):
    """A persona's caps, what is used of them, and what is wrong with its files.

    `unconfirmed` is the part of the lifetime's spending that expired holds were booked at.
    """

    persona: str
    budget: Budget
    windows: tuple[WindowState, ...]
    held: Decimal
    unconfirmed: Decimal
    warnings: tuple[str, ...]

    def of(self, window: Window) -> WindowState:
        """The state of one window; every window but the per-call cap always has one."""
        return next(state for state in self.windows if state.window == window)


class Decision(NamedTuple):
    """The answer to a check: the verdict and the statement that it was reached on."""

    verdict: Verdict
    statement: Statement

    @property
    def resets_at(self) -> datetime | None:
        """When the window that binds starts afresh."""
        return self.statement.of(self.verdict.window).resets_at if self.verdict.window else None


class Reservation(NamedTuple):
    """The answer to a reserve: the decision, and the hold where it was granted."""

    decision: Decision
    hold: Hold | None


class Receipt(NamedTuple):
    """A charge that is on the disk: its row, and whether it was on record already.

    `overrun` is how much more it cost than its hold had set aside, in USD. `problem` says why the hold that
    it names could not be settled.
    """

    row: Row
    was_recorded: bool = False
    overrun: Decimal | None = None
    problem: str | None = None


class Revision(NamedTuple):
    """A change of a budget: each changed key with its value before and after, None where it is not
    set and "invalid" where it was set to what no budget can hold; the budget that it made, and the
    statement under it, None where the ledger is damaged.
    """

    changes: Mapping[str, tuple[object, object]]
    budget: Budget
    statement: Statement | None
    warnings: tuple[str, ...]
