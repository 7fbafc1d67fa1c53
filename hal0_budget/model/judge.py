"""Combines caps and usage of one persona into its statement, and judges a call."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from hal0_budget.model.money import add
from hal0_budget.model.policy import Policy
from hal0_budget.model.results import Decision, Statement, WindowState
from hal0_budget.model.usage import Usage
from hal0_budget.model.verdict import Scope, decide, remaining
from hal0_budget.model.windows import WINDOWS, window_end


def judge(policy: Policy, usage: Usage, estimate: Decimal | None, now: datetime) -> Decision:
    """Decide whether a call that is expected to cost `estimate` USD may be made.

    With an `estimate` of None, decide whether anything is left.

    Problems of the usage become warnings; the caller decides whether they must be errors.
    """
    statement = statement_of(policy, usage, now)
    scope = Scope(policy.persona, policy.budget, usage, statement.warnings)
    return Decision(decide((scope,), estimate), statement)


def statement_of(policy: Policy, usage: Usage, now: datetime) -> Statement:
    """Return the statement of a persona: its caps, and how much of them is used at `now`."""
    states = []
    for window in WINDOWS:
        cap = policy.budget.caps.get(window)
        if window == "per_call":
            if cap is not None:
                states.append(WindowState(window, cap, None, None, cap, None))
            continue
        spent = usage.spent[window]
        left = None if cap is None else remaining(cap, add(spent, usage.held))
        states.append(WindowState(window, cap, spent, usage.held, left, window_end(window, now)))
    warnings = (*policy.warnings, *usage.problems)
    return Statement(policy.persona, policy.budget, tuple(states), usage.held, usage.unconfirmed, warnings)
