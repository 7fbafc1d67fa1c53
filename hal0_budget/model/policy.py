"""The policy of a persona: its budget, as a store reads it."""

from __future__ import annotations

from typing import NamedTuple

from hal0_budget.model.budget import Budget


class Policy(NamedTuple):
    """The budget of one persona; `warnings` has a sentence for each cap that has no effect because it is
    misspelt or misplaced.
    """

    persona: str
    budget: Budget
    warnings: tuple[str, ...] = ()
