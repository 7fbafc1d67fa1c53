"""The statement of a persona: what its files say of its caps and its spending."""

from __future__ import annotations

from datetime import datetime

from hal0_budget.model.budget import Budget
from hal0_budget.model.money import add
from hal0_budget.model.results import Statement, WindowState
from hal0_budget.model.verdict import remaining
from hal0_budget.model.windows import WINDOWS, window_end
from hal0_budget.stores.files.ledger import Reading
from hal0_budget.stores.files.persona_file import PersonaFile


def statement_of(persona: PersonaFile, budget: Budget, reading: Reading, now: datetime) -> Statement:
    """The statement of a persona on what its ledger adds up to at `now`."""
    spent = reading.tally.spent(now)
    states = []
    for window in WINDOWS:
        cap = budget.caps.get(window)
        if window == "per_call":
            if cap is not None:
                states.append(WindowState(window, cap, None, None, cap, None))
            continue
        left = None if cap is None else remaining(cap, add(spent[window], reading.held))
        states.append(WindowState(window, cap, spent[window], reading.held, left, window_end(window, now)))
    warnings = (*persona.warnings, *reading.problems())
    return Statement(
        persona.path.stem, budget, tuple(states), reading.held, reading.tally.unconfirmed, warnings
    )
