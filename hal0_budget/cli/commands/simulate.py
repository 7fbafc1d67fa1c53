"""`simulate`: replays the ledger under other caps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import typer

from hal0_budget.cli.answer import over_cap_words
from hal0_budget.cli.caps import (
    Daily,
    HardCap,
    Hourly,
    Lifetime,
    Monthly,
    PerCall,
    WarnAt,
    Weekly,
    changes_of,
)
from hal0_budget.cli.options import Context, Persona, shared_options
from hal0_budget.cli.render.emit import Result
from hal0_budget.cli.terminal.progress import reading
from hal0_budget.clock import utc_now
from hal0_budget.model.money import dollars, percent
from hal0_budget.model.windows import Window, label
from hal0_budget.reporting.dates import FORMS, span_of
from hal0_budget.reporting.simulation import BlockedCall, Part, Simulation
from hal0_budget.reporting.simulation import simulate as replayed


@shared_options()
def simulate(
    context: Context,
    persona: Persona,
    per_call: PerCall = None,
    hourly: Hourly = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    lifetime: Lifetime = None,
    hard_cap: HardCap = None,
    warn_at: WarnAt = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Use only the caps and settings given here; ignore the persona's."),
    ] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="DAY", help=f"First day: {FORMS}.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="Last day (inclusive).")] = None,
) -> Result:
    """Replay the ledger under other caps.

    Shows which calls would have been warned about or blocked, and what would have been spent. Caps that
    are not given are those of the persona. Each call is judged at its own time, with its actual cost as
    the estimate; days are UTC. Changes nothing, and exits with 0 whatever it finds.
    """
    caps: dict[Window, str | None] = {
        "per_call": per_call, "hourly": hourly, "daily": daily, "weekly": weekly, "monthly": monthly,
        "lifetime": lifetime,
    }  # fmt: skip
    now = utc_now()
    span = span_of(since, until, now)
    with reading() as progress:
        found = replayed(
            context.home,
            persona,
            changes_of(caps, hard_cap, warn_at),
            replace=replace,
            since=span.first,
            until=span.last,
            now=now,
            progress=partial(progress, persona),
        )
    return Result(data=_body(found), lines=list(_lines(found)), warnings=found.warnings)


def _lines(found: Simulation) -> Iterator[str]:
    yield f"{found.persona}, {_days(found)}, under {_caps(found)}"
    table = [("allowed", found.allowed), ("warned", found.warned), ("blocked", found.blocked)]
    width = len(str(found.calls))
    for name, part in (("calls", Part(found.calls, found.spent)), *table):
        yield f"  {name:<8}  {part.calls:>{width}}  {dollars(part.usd)}"
    yield (
        f"  spent {dollars(found.spent)}, would have been {dollars(found.would_spend)}: "
        f"{dollars(found.blocked.usd)} saved"
    )
    for source, part in found.doubtful.items():
        yield f"  {source}: {part.calls} of the calls, {dollars(part.usd)}, counted at their booked amount"
    for window, blocked, warned in found.bindings:
        parts = [("blocked", blocked), ("warned about", warned)]
        said = [f"{part.calls} {verb} ({dollars(part.usd)})" for verb, part in parts if part.calls]
        yield f"  {label(window)}: {', '.join(said)}"
    if found.last_blocked:
        named = len(found.first_blocked)
        which = "all" if found.blocked.calls == named else f"the first {named} and the last"
        yield f"  blocked, {which}:"
        yield from (_blocked_line(call) for call in found.first_blocked)
        if found.blocked.calls > named:
            yield _blocked_line(found.last_blocked)


def _days(found: Simulation) -> str:
    since = f"from {found.since}" if found.since else "from the first call"
    return f"{since} to {found.until or 'the last'}"


def _caps(found: Simulation) -> str:
    caps = [f"{label(window)} {dollars(cap)}" for window, cap in found.budget.caps.items()]
    if not caps:
        return "no caps"
    if found.budget.warn_at is not None:
        caps.append(f"warn-at {percent(found.budget.warn_at)}")
    return f"{', '.join(caps)}; {over_cap_words(found.budget)}"


def _blocked_line(call: BlockedCall) -> str:
    row = call.row
    time = row.ts.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"    line {call.line}  {time}  {dollars(row.cost_usd)}  {row.model}  {row.request_id}  {call.reason}"
    )


def _body(found: Simulation) -> dict[str, Any]:
    return {
        "persona_id": found.persona,
        "budget": found.budget.to_table(),
        "since": found.since and str(found.since),
        "until": found.until and str(found.until),
        "calls": found.calls,
        "spent_usd": found.spent,
        "would_spend_usd": found.would_spend,
        "saved_usd": found.blocked.usd,
        **{name: _part(getattr(found, name)) for name in ("allowed", "warned", "blocked")},
        "windows": [
            {"window": window, "blocked": _part(blocked), "warned": _part(warned)}
            for window, blocked, warned in found.bindings
        ],
        "doubtful": {source: _part(part) for source, part in found.doubtful.items()},
        "first_blocked": [_call(call) for call in found.first_blocked],
        "last_blocked": found.last_blocked and _call(found.last_blocked),
        "warnings": found.warnings,
    }


def _part(part: Part) -> dict[str, Any]:
    return {"calls": part.calls, "usd": part.usd}


def _call(call: BlockedCall) -> dict[str, Any]:
    row = call.row
    return {
        "line": call.line,
        "ts": row.ts,
        "surface": row.surface,
        "model": row.model,
        "cost_usd": row.cost_usd,
        "request_id": row.request_id,
        "reason": call.reason,
    }
