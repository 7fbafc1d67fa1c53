"""The caps of a persona in a store, and the result of a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hal0_budget.model.budget import Budget


class Policy(NamedTuple):
    """The budget of one persona; `warnings` has a sentence for each cap that has no effect because it is
    misspelt or misplaced.
    """

    persona: str
    budget: Budget
    warnings: tuple[str, ...] = ()


class PolicyChange(NamedTuple):
    """The changed keys of a budget, each with its value before and after (None if not set, "invalid" if the
    old value was not valid), and the policy after the change.
    """

    changes: Mapping[str, tuple[object, object]]
    policy: Policy
