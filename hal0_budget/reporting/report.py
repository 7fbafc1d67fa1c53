"""The report: what the personas of an agent spent, on what, and when their caps are reached.

Reads what `show` reads, and changes no ledger; the cached sums of a long one are refreshed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError, from_os_error
from hal0_budget.model.money import ZERO
from hal0_budget.model.results import Statement
from hal0_budget.model.sums import Sum, total_of
from hal0_budget.model.verdict import Scope, Usage, Verdict, decide
from hal0_budget.model.windows import Window
from hal0_budget.reporting.dates import Calendar, Span, day_at, span_of
from hal0_budget.reporting.forecast import pace_of, reached_at
from hal0_budget.reporting.grouping import By, Group, Spending, groups_of, sources_of
from hal0_budget.statement import statement_of
from hal0_budget.stores.files.blocks import NotALedger
from hal0_budget.stores.files.day_sums import TooManySums, hourly_sums, streamed_sums
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import Ledger, Reading
from hal0_budget.stores.files.persona_file import read_persona

# Told how many bytes of how many of a persona's ledger are read.
Progress = Callable[[str, int, int], None]


class PersonaReport(NamedTuple):
    """One persona: its caps and their use now, the verdict of a check without an estimate, and what it
    spent in the span: by day, where there are rows, in USD.

    `pace` is USD a day. `reached` says of each cap on a window when nothing is left at that pace, None
    where it resets before. `problems` names what of the ledger could not be read.
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
    """A persona that could not be read, and why."""

    persona: str
    error: BudgetError


class Report(NamedTuple):
    """What was spent in a span of days in `zone`, grouped `by` some words, and by source of the cost."""

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
    home: Home,
    personas: Sequence[str] = (),
    *,
    since: str | None = None,
    until: str | None = None,
    by: Sequence[By] = ("persona", "day"),
    zone: tzinfo = UTC,
    clock: Callable[[], datetime] = utc_now,
    progress: Progress = lambda persona, done, size: None,  # noqa: ARG005, told to nobody
) -> Report:
    """What the personas, or all of the agent, spent from `since` to `until`, both included; days as
    `dates.day_of` reads them.

    A persona that cannot be read is among the failures. Raises UsageError, AgentUnknown.
    """
    now = clock()
    span = span_of(since, until, now, zone)
    calendar = Calendar(zone)
    found: list[PersonaReport] = []
    spendings: list[Spending] = []
    failures: list[Failure] = []
    for persona in dict.fromkeys(personas or home.persona_ids()):
        spending = Spending(persona, span, by)
        try:
            found.append(_of_persona(home, persona, spending, calendar, now, progress))
            spendings.append(spending)
        except BudgetError as error:
            failures.append(Failure(persona, error))
    return Report(
        home.agent,
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
    home: Home, persona: str, spending: Spending, calendar: Calendar, now: datetime, progress: Progress
) -> PersonaReport:
    """The part of one persona, whose sums are fed to `spending`. Raises BudgetError."""
    try:
        file = read_persona(home, persona)
        budget = file.budget()
        ledger = Ledger(home.spend_dir(persona))
        tell = partial(progress, persona)
        reading = ledger.read(now, tell)
        if reading.damage is not None:
            reading.sound()
        statement = statement_of(file, budget, reading, now)
        _feed(spending, ledger, reading, calendar, lambda done: tell(done, reading.tally.size))
    except OSError as error:
        raise from_os_error(error) from error
    usage = Usage({state.window: state.spent or ZERO for state in statement.windows}, reading.held)
    pace = pace_of({_days_of(period)[0]: Decimal(usd) for period, usd in reading.tally.days.items()}, now)
    return PersonaReport(
        statement,
        decide((Scope(persona, budget, usage, statement.warnings),), None),
        spending.total(),
        spending.days(),
        pace,
        {
            state.window: reached_at(state.remaining, pace, now, state.resets_at)
            for state in statement.windows
            if state.remaining is not None and state.spent is not None
        },
        reading.problems(),
    )


def _feed(
    spending: Spending, ledger: Ledger, reading: Reading, calendar: Calendar, tick: Callable[[int], None]
) -> None:
    """Feed `spending` with what `reading` counted. Raises LedgerDamaged, OSError."""
    tally = reading.tally
    if not tally.size:
        return
    try:
        days = (day for period in tally.days for day in _days_of(period))
        if not any(map(calendar.splits_hours, days)):
            with suppress(TooManySums):
                spending.take(hourly_sums(ledger, tally, reading.marks.ledger.epoch, tick), calendar.day)
                return
        for sums in streamed_sums(ledger, tally, calendar.day, tick):
            spending.take(sums, str)
    except NotALedger as error:
        reading._replace(damage=str(error)).sound()


def _days_of(period: str) -> list[str]:
    """The days of a period of a tally: a day, or a month (`2026-03`) or year (`2021`) that is long past."""
    first = date.fromisoformat(
        f"{period}-01-01"[: len("2026-03-01")] if len(period) < len("2026-03-01") else period
    )
    days = {4: 366, 7: 31}.get(len(period), 1)
    all_days = (first.fromordinal(first.toordinal() + number) for number in range(days))
    return [day for each in all_days if (day := each.isoformat()).startswith(period)]
