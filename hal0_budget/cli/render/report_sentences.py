"""The sentences and tables of a report that all its formats share."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render.emit import printable, unconfirmed_line
from hal0_budget.cli.render.shares import percent_of, used_share
from hal0_budget.model.money import ZERO, add, dollars
from hal0_budget.model.results import WindowState
from hal0_budget.model.sums import Sum, TokenCounts
from hal0_budget.model.windows import label
from hal0_budget.reporting.grouping import Group
from hal0_budget.reporting.report import PersonaReport, Report

# Cost sources, the most reliable first. Rows of other programs may name others.
SOURCES = ("reported", "priced", "told", "estimated", "unconfirmed")

TOKEN_COLUMNS = tuple(f"{name}_tokens" for name in TokenCounts._fields)


class Sheet(NamedTuple):
    """A table as text: column names, rows, and the index of the first column of numbers. `shares` holds
    for each row the fraction of its bar that is full, or None if the row has no bar.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers_from: int
    shares: tuple[Decimal | None, ...]


def span_words(report: Report) -> str:
    """The days and the time zone of the report."""
    first, last, zone = report.span.first, report.span.last, printable(report.zone)
    if first and last:
        days = (last - first).days + 1
        return f"{first} to {last} ({days} day{'s' if days > 1 else ''}, {zone})"
    if first:
        return f"{first} to now ({zone})"
    return f"all calls up to and including {last} ({zone})" if last else f"all calls ({zone})"


def total_words(total: Sum) -> str:
    """The amount spent, and the number of calls."""
    calls = f"{total.calls} call{'' if total.calls == 1 else 's'}"
    voids = f", {total.voids} voided" if total.voids else ""
    return f"{dollars(total.usd)} in {calls}{voids}"


def source_words(report: Report) -> str:
    """The amount of each cost source; empty if all costs were given by the caller."""
    if set(report.sources) <= {"told"}:
        return ""
    known = {name: report.sources[name].usd for name in SOURCES if name in report.sources}
    other = ZERO
    for name, part in report.sources.items():
        other = other if name in known else add(other, part.usd)
    words = [f"{name} {dollars(usd)}" for name, usd in known.items()]
    return ", ".join([*words, *([f"other {dollars(other)}"] if len(known) < len(report.sources) else [])])


def persona_words(part: PersonaReport) -> str:
    """The persona's headline, spend and pace."""
    return f"{headline(part.statement)}; {total_words(part.total)}; {pace_words(part)}"


def pace_words(part: PersonaReport) -> str:
    """What the persona spends per day."""
    return f"pace {dollars(part.pace)} a day"


def verdict_words(part: PersonaReport) -> str:
    """The verdict of a check without an estimate, and its reason."""
    return part.verdict.level + (f": {part.verdict.reason}" if part.verdict.reason else "")


def failure_words(report: Report) -> list[str]:
    """A sentence for each persona that could not be read."""
    return [f"{failure.persona}: {failure.error.message}" for failure in report.failures]


def capped(part: PersonaReport) -> list[WindowState]:
    """The windows with a cap, without the cap per call."""
    return [state for state in part.statement.windows if state.window in part.reached]


def forecast_words(part: PersonaReport) -> str:
    """When each cap that is not used up will be reached at the present pace; empty if there is none."""
    left = [state for state in capped(part) if state.remaining]
    words = [
        f"{label(state.window)} {at:%Y-%m-%dT%H:%MZ}" for state in left if (at := part.reached[state.window])
    ]
    if words:
        return f"at this pace these caps will be reached: {', '.join(words)}"
    other = "" if len(left) == len(part.reached) else "other "
    return f"at this pace no {other}cap will be reached before it resets" if left else ""


def caps_sheet(part: PersonaReport) -> Sheet:
    """The caps of a persona, and what is used of them now."""
    states = capped(part)
    columns: dict[str, list[Decimal]] = {
        "cap": [state.cap or ZERO for state in states],
        "spent": [state.spent or ZERO for state in states],
        "held": [state.held or ZERO for state in states],
        "remaining": [state.remaining or ZERO for state in states],
    }
    if not part.statement.held:
        del columns["held"]
    shares = [used_share(state) for state in states]
    cells = [
        [label(state.window) for state in states],
        *map(_aligned, columns.values()),
        [percent_of(share) for share in shares],
    ]
    return Sheet(("window", *columns, "used"), tuple(zip(*cells, strict=True)), 1, tuple(shares))


def groups_sheet(report: Report) -> Sheet:
    """The groups of a report and their total; columns of voids and tokens only if there are any."""
    groups, total = list(report.groups), report.total
    shares = [None if group.share is None else max(ZERO, group.share) for group in groups]
    if len(groups) > 1:
        nothing = [""] * (len(report.by) - 1)
        groups.append(Group(("total", *nothing), total, Decimal(1) if total.usd > 0 else None))
        shares.append(None)
    columns: dict[str, list[str]] = {
        **{
            str(word): [printable(group.keys[place]) for group in groups]
            for place, word in enumerate(report.by)
        },
        "usd": _aligned([group.total.usd for group in groups]),
        "calls": [str(group.total.calls) for group in groups],
    }
    if total.voids:
        columns["voids"] = [str(group.total.voids) for group in groups]
    columns["share"] = ["-" if group.share is None else f"{group.share * 100:.1f}%" for group in groups]
    for place, name in enumerate(TOKEN_COLUMNS):
        if total.tokens[place]:
            columns[name.replace("_", " ")] = [str(group.total.tokens[place]) for group in groups]
    return Sheet(tuple(columns), tuple(zip(*columns.values(), strict=True)), len(report.by), tuple(shares))


def notices(report: Report) -> list[str]:
    """Failures and warnings, for formats whose readers do not see stderr."""
    return [*failure_words(report), *(text for part in report.personas for text in part.statement.warnings)]


def unconfirmed_words(part: PersonaReport) -> str:
    """The unconfirmed part of the lifetime spend; empty if there is none."""
    return unconfirmed_line(part.statement).strip() if part.statement.unconfirmed else ""


def _aligned(amounts: Sequence[Decimal]) -> list[str]:
    """The amounts of one column, all with the same number of decimal places."""
    texts = [dollars(usd) for usd in amounts]
    places = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [text + "0" * (places - len(text.partition(".")[2])) for text in texts]
