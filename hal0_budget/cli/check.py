"""`check`: the gate before a paid call."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import amount_of, decision_body, decision_code, decision_line, perfdata
from hal0_budget.cli.options import Agent, AsJson, Output, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render import Result
from hal0_budget.errors import InvalidEstimate


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
    usd = None if estimate is None else amount_of("--estimate", estimate, InvalidEstimate)
    decision = Account(home_of(root, personas_dir, agent), persona).check(usd)
    return Result(
        data=decision_body(decision),
        lines=[decision_line(decision)],
        warnings=decision.statement.warnings,
        exit_code=decision_code(decision, warn_ok=warn_ok),
        perfdata=perfdata(decision),
    )
