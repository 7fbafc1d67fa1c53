"""The verdict: may this call be made? Pure: no I/O, no clock, no state.

Rules: caps are checked in the order per call, hour, day, week, month, lifetime. A cap is breached
if the estimate is more than what remains; an exact fit is allowed. Without an estimate a cap is
breached if nothing remains; an estimate of 0 is a free call and breaches nothing. A breach
blocks with `hard_cap` and warns without it. Reaching `warn_at` warns, and so does a warning
about the persona's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from hal0_budget.model.budget import Budget
from hal0_budget.model.money import ZERO, add, dollars, multiply, percent, subtract
from hal0_budget.model.usage import Usage
from hal0_budget.model.windows import WINDOWS, Window, label

Level = Literal["allow", "warn", "block"]


class Scope(NamedTuple):
    """One link of the chain that is judged: a budget, its usage, and the warnings about it."""

    name: str
    budget: Budget
    usage: Usage
    warnings: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A cap that is breached, or whose `warn_at` is reached, with a sentence for people."""

    scope: str
    window: Window
    reason: str


class Limit(NamedTuple):
    """A cap now: the most USD that still fit, and the least USD that reach `warn_at` (None if not set)."""

    window: Window
    cap: Decimal
    fits: Decimal
    warns: Decimal | None

    def is_breached(self, estimate: Decimal | None) -> bool:
        """Return whether a call of `estimate` USD does not fit; for None, whether nothing is left."""
        return self.fits == 0 if estimate is None else estimate > self.fits

    def is_near(self, estimate: Decimal | None) -> bool:
        """Return whether a call of `estimate` USD reaches `warn_at`; for None, whether it is reached now."""
        return self.warns is not None and (estimate or ZERO) >= self.warns


class Verdict(NamedTuple):
    """Allow, warn or block; the reason and the window that gave it, if any; and every breached cap."""

    level: Level
    reason: str | None
    window: Window | None
    breaches: tuple[Finding, ...]


def decide(chain: Sequence[Scope], estimate: Decimal | None) -> Verdict:
    """Judge a call that is expected to cost `estimate` USD against every scope of the chain.

    With an `estimate` of None, judge whether anything is left.
    """
    hard = [breach for scope in chain if scope.budget.hard_cap for breach in _breaches(scope, estimate)]
    soft = [breach for scope in chain if not scope.budget.hard_cap for breach in _breaches(scope, estimate)]
    breaches = (*hard, *soft)
    if hard:
        return Verdict("block", hard[0].reason, hard[0].window, breaches)
    near = [finding for scope in chain for finding in _near(scope, estimate)]
    for finding in (*soft, *near):
        return Verdict("warn", finding.reason, finding.window, breaches)
    for scope in chain:
        if scope.warnings:
            return Verdict("warn", scope.warnings[0], None, breaches)
    return Verdict("allow", None, None, breaches)


def remaining(cap: Decimal, used: Decimal) -> Decimal:
    """Return what is left of a cap, in USD: from 0 to the cap.

    Voids of charges that were never recorded make `used` negative; they do not raise the cap.
    """
    return max(ZERO, subtract(cap, max(ZERO, used)))


def limits(budget: Budget, usage: Usage) -> list[Limit]:
    """Return the limits of `budget` after `usage`, in the order in which they are checked."""
    found = []
    for window in WINDOWS:
        cap = budget.caps.get(window)
        if cap is None:
            continue
        used = usage.of(window)
        warns = None if budget.warn_at is None else subtract(multiply(cap, budget.warn_at), used)
        found.append(Limit(window, cap, remaining(cap, used), warns))
    return found


def _breaches(scope: Scope, estimate: Decimal | None) -> list[Finding]:
    return [
        Finding(scope.name, limit.window, _breach_reason(scope, limit.window, limit.cap, estimate))
        for limit in limits(scope.budget, scope.usage)
        if limit.is_breached(estimate)
    ]


def _breach_reason(scope: Scope, window: Window, cap: Decimal, estimate: Decimal | None) -> str:
    if window == "per_call":
        if estimate is None:
            return f"per-call cap {dollars(cap)} blocks every paid call"
        return f"per-call cap {dollars(cap)} exceeded by estimate {dollars(estimate)}"
    used = f"spent {dollars(scope.usage.spent[window])}"
    if scope.usage.held:
        used += f", held {dollars(scope.usage.held)}"
    if estimate is None:
        return f"{window} cap {dollars(cap)} is used up: {used}"
    return f"{window} cap {dollars(cap)} would be exceeded: {used}, estimate {dollars(estimate)}"


def _near(scope: Scope, estimate: Decimal | None) -> list[Finding]:
    share = scope.budget.warn_at
    if share is None:
        return []
    found = []
    for limit in limits(scope.budget, scope.usage):
        if limit.is_near(estimate):
            reached = dollars(add(scope.usage.of(limit.window), estimate or ZERO))
            what = f"{label(limit.window)} use {reached} reaches {percent(share)} of cap {dollars(limit.cap)}"
            found.append(Finding(scope.name, limit.window, what))
    return found
