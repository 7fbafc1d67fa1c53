"""The report: what the personas of an agent spent, on what, and when their caps will be reached.

Reads the same files as `show` and changes no ledger. It may update the cached sums of a long ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError, from_os_error
from hal0_budget.model.judge import judge
from hal0_budget.model.results import Statement
from hal0_budget.model.sums import Sum, total_of
from hal0_budget.model.verdict import Verdict
from hal0_budget.model.windows import Window
from hal0_budget.reporting.dates import Calendar, Span, day_at, span_of
from hal0_budget.reporting.forecast import pace_of, reached_at
from hal0_budget.reporting.grouping import By, Group, Spending, groups_of, sources_of
from hal0_budget.stores.base import Store
from hal0_budget.stores.open import Home, open_store

# Called with a persona, and how many bytes of how many of its ledger have been read.
Progress = Callable[[str, int, int], None]


class PersonaReport(NamedTuple):
    """One persona: its caps and their use now, the verdict of a check without an estimate, and what it
    spent in the span, in USD; `days` has the days with rows.

    `pace` is USD per day. `reached` says for each capped window when nothing will be left at that pace;
    None if the window resets before. `problems` describes unreadable parts of the ledger.
    """

    statement: Statement
    verdict: Verdict
    total: Sum
    days: Mapping[str, Decimal]
    pace: Decimal
    reached: Mapping[Window, datetime | None]
    problems: tuple[str, ...]

    @property
    def persona(self) -> str:
        """The persona's id."""
        return self.statement.persona


class Failure(NamedTuple):
    """A persona that could not be read, and the error."""

    persona: str
    error: BudgetError


class Report(NamedTuple):
    """What was spent in a span of days in `zone`: grouped as `by` says, and by cost source."""

    agent: str
    made_at: datetime
    today: date
    span: Span
    zone: str
    by: tuple[By, ...]
    groups: tuple[Group, ...]
    total: Sum
    sources: Mapping[str, Sum]
    personas: tuple[PersonaReport, ...]
    failures: tuple[Failure, ...]


def report(
    home: Home | Store,
    personas: Sequence[str] = (),
    *,
    since: str | None = None,
    until: str | None = None,
    by: Sequence[By] = ("persona", "day"),
    zone: tzinfo = UTC,
    clock: Callable[[], datetime] = utc_now,
    progress: Progress = lambda persona, done, size: None,  # noqa: ARG005, shows nothing
) -> Report:
    """Report what the personas, or all personas of the agent, spent from `since` to `until`, both included.

    `dates.day_of` defines how days are written. A persona that cannot be read is listed in `failures`.
    Raises UsageError, AgentUnknown.
    """
    now = clock()
    span = span_of(since, until, now, zone)
    calendar, store = Calendar(zone, span), open_store(home)
    found: list[PersonaReport] = []
    spendings: list[Spending] = []
    failures: list[Failure] = []
    for persona in dict.fromkeys(personas or store.personas()):
        spending = Spending(persona, by)
        try:
            found.append(_of_persona(store, persona, spending, calendar, now, progress))
            spendings.append(spending)
        except BudgetError as error:
            failures.append(Failure(persona, error))
    return Report(
        store.agent,
        now,
        day_at(now, zone),
        span,
        str(zone),
        tuple(by),
        groups_of(spendings, by),
        total_of(part.total for part in found),
        sources_of(spendings),
        tuple(found),
        tuple(failures),
    )


def _of_persona(
    store: Store, persona: str, spending: Spending, days: Calendar, now: datetime, progress: Progress
) -> PersonaReport:
    """Return the report of one persona, and add its sums to `spending`. Raises BudgetError."""
    try:
        policy = store.policy(persona)
        usage = store.usage(persona, now, partial(progress, persona))
        usage.require_whole()
        for sums in store.spending(persona, usage, days, partial(progress, persona)):
            spending.add(sums)
        pace = pace_of(store.daily(usage), now)
    except OSError as error:
        raise from_os_error(error) from error
    decision = judge(policy, usage, None, now)
    return PersonaReport(
        decision.statement,
        decision.verdict,
        spending.total(),
        spending.days(),
        pace,
        {
            state.window: reached_at(state.remaining, pace, now, state.resets_at)
            for state in decision.statement.windows
            if state.remaining is not None and state.spent is not None
        },
        usage.problems,
    )
