"""`check`: the gate before a paid call."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hal0_budget.account import Account, Decision, WindowState
from hal0_budget.cli.options import Agent, AsJson, Output, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render import ALLOW, BLOCK, WARN, Result, headline
from hal0_budget.errors import InvalidEstimate
from hal0_budget.money import ZERO, dollars, multiply, parse_usd, plain
from hal0_budget.windows import label

_EXIT_CODES = {"allow": ALLOW, "warn": WARN, "block": BLOCK}


def _set_format(ctx: typer.Context, value: Literal["text", "json", "nagios"]) -> str:
    if value != "text":
        ctx.ensure_object(Output).style = value
    return value


def check(
    persona: Persona,
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate", metavar="USD", help="What the call is expected to cost; else: is anything left?"
        ),
    ] = None,
    warn_ok: Annotated[bool, typer.Option("--warn-ok", help="End in 0 instead of 10 on a warning.")] = False,
    answer_format: Annotated[
        Literal["text", "json", "nagios"],
        typer.Option(
            "--format", callback=_set_format, help="Text, JSON, or one line of a monitoring plugin."
        ),
    ] = "text",
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Ask whether a paid call may be made.

    Ends in 0 allow, 10 warn, 20 block; 64 and above: could not tell, treat as block. Changes neither
    ledger nor persona.
    """
    try:
        usd = None if estimate is None else parse_usd(estimate)
    except ValueError as error:
        raise InvalidEstimate(f"--estimate {estimate!r} is not an amount in USD: {error}") from None
    decision = Account(home_of(root, personas_dir, agent), persona).check(usd)
    code = _EXIT_CODES[decision.verdict.level]
    return Result(
        data=_body(decision),
        lines=[_line(decision)],
        warnings=decision.statement.warnings,
        exit_code=ALLOW if code == WARN and warn_ok else code,
        perfdata=[
            _perfdata(state, decision) for state in decision.statement.windows if state.spent is not None
        ],
    )


def _body(decision: Decision) -> dict[str, object]:
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
        "held_usd": statement.of("lifetime").held,
        "breaches": [{"window": breach.window, "reason": breach.reason} for breach in verdict.breaches],
        "warnings": statement.warnings,
    }


def _line(decision: Decision) -> str:
    verdict, statement = decision.verdict, decision.statement
    if verdict.reason is not None:
        resets = f" (resets {decision.resets_at.strftime('%Y-%m-%dT%H:%MZ')})" if decision.resets_at else ""
        return f"{verdict.level}: {verdict.reason}{resets}"
    caps = [
        f"{label(state.window)} {dollars(state.remaining)}"
        for state in statement.windows
        if state.remaining is not None
    ]
    return f"allow: {'left: ' + ', '.join(caps) if caps else headline(statement)}"


def _perfdata(state: WindowState, decision: Decision) -> str:
    budget = decision.statement.budget
    near = "" if state.cap is None or budget.warn_at is None else plain(multiply(state.cap, budget.warn_at))
    cap = "" if state.cap is None else plain(state.cap)
    return f"{state.window}={plain(state.spent or ZERO)};{near};{cap};0;{cap}"
