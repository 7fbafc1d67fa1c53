"""Answers that several commands share: a statement as JSON; a decision as JSON, text and exit code."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hal0_budget.errors import BudgetError
from hal0_budget.model.budget import Budget
from hal0_budget.model.money import ZERO, dollars, multiply, parse_usd, plain
from hal0_budget.model.results import Decision, Statement, WindowState
from hal0_budget.model.windows import label

ALLOW, WARN, BLOCK = 0, 10, 20
_EXIT_CODES = {"allow": ALLOW, "warn": WARN, "block": BLOCK}


def amount_of(option: str, text: str, error: type[BudgetError]) -> Decimal:
    """Parse the USD amount of an option. Raises `error` with a message that names the option."""
    try:
        return parse_usd(text)
    except ValueError as why:
        raise error(f"{option} {text!r} is not an amount in USD: {why}") from None


def decision_code(decision: Decision, *, warn_ok: bool) -> int:
    """The exit code of a decision. With `warn_ok`, a warning exits with 0."""
    code = _EXIT_CODES[decision.verdict.level]
    return ALLOW if code == WARN and warn_ok else code


def decision_body(decision: Decision) -> dict[str, Any]:
    """The JSON keys of `check`; `reserve` and `run` have them too."""
    verdict, statement = decision.verdict, decision.statement
    return {
        "allowed": verdict.level != "block",
        "reason": verdict.reason,
        "remaining_usd": {
            state.window: state.remaining for state in statement.windows if state.remaining is not None
        },
        "hard_cap": statement.budget.hard_cap,
        "verdict": verdict.level,
        "window": verdict.window,
        "resets_at": decision.resets_at,
        "held_usd": statement.held,
        "breaches": [{"window": breach.window, "reason": breach.reason} for breach in verdict.breaches],
        "warnings": statement.warnings,
    }


def decision_line(decision: Decision) -> str:
    """The verdict as one line: its reason, or what remains of each cap."""
    verdict, statement = decision.verdict, decision.statement
    if verdict.reason is not None:
        resets = f" (resets {decision.resets_at.strftime('%Y-%m-%dT%H:%MZ')})" if decision.resets_at else ""
        return f"{verdict.level}: {verdict.reason}{resets}"
    caps = [
        f"{label(state.window)} {dollars(state.remaining)}"
        for state in statement.windows
        if state.remaining is not None
    ]
    return f"allow: {'remaining: ' + ', '.join(caps) if caps else headline(statement)}"


def headline(statement: Statement) -> str:
    """The persona's name and what happens to a call over one of its caps."""
    if not statement.budget.caps:
        return f"{statement.persona}: no caps are set, every paid call is allowed"
    return f"{statement.persona}: {over_cap_words(statement.budget)}"


def over_cap_words(budget: Budget) -> str:
    """What happens to a call over a cap."""
    return f"calls over a cap are {'blocked' if budget.hard_cap else 'allowed with a warning'}"


def perfdata(decision: Decision) -> list[str]:
    """The windows in the performance-data format of monitoring plugins."""
    states = [state for state in decision.statement.windows if state.spent is not None]
    return [_perfdata(state, decision.statement.budget.warn_at) for state in states]


def statement_body(statement: Statement) -> dict[str, Any]:
    """The JSON keys of `show`; `set` and `charge` have them too."""
    by_window = {state.window: state for state in statement.windows}
    return {
        "persona_id": statement.persona,
        "budget": statement.budget.to_table(),
        "spend": {
            "today_usd": by_window["daily"].spent,
            "mtd_usd": by_window["monthly"].spent,
            "lifetime_usd": by_window["lifetime"].spent,
        },
        "remaining": {
            f"{state.window}_usd": state.remaining
            for state in statement.windows
            if state.remaining is not None
        },
        "windows": [
            {
                "window": state.window,
                "cap_usd": state.cap,
                "spent_usd": state.spent,
                "held_usd": state.held,
                "remaining_usd": state.remaining,
                "resets_at": state.resets_at,
            }
            for state in statement.windows
        ],
        "unconfirmed_usd": statement.unconfirmed,
        "warnings": list(statement.warnings),
    }


def _perfdata(state: WindowState, warn_at: Decimal | None) -> str:
    near = "" if state.cap is None or warn_at is None else plain(multiply(state.cap, warn_at))
    cap = "" if state.cap is None else plain(state.cap)
    return f"{state.window}={plain(state.spent or ZERO)};{near};{cap};0;{cap}"
