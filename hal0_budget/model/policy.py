"""The caps of a persona as a store has them, and how a change altered them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hal0_budget.model.budget import Budget


class Policy(NamedTuple):
    """The budget of one persona; `warnings` has a sentence for each cap that is written so that it caps
    nothing.
    """

    persona: str
    budget: Budget
    warnings: tuple[str, ...] = ()


class PolicyChange(NamedTuple):
    """The keys of a budget that a change altered, each with its value before and after (None if it is not
    set, "invalid" if no budget can hold it), and the policy after the change.
    """

    changes: Mapping[str, tuple[object, object]]
    policy: Policy
