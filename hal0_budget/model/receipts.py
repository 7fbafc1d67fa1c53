"""The results of methods that record something, which `check` does not import. Amounts are in USD."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.model.budget import Budget
from hal0_budget.model.records import Hold, Row
from hal0_budget.model.results import Decision, Statement


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
