"""`reserve`: a gate that holds under parallel calls."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hal0_budget.account import UNKNOWN, Account
from hal0_budget.cli.answer import decision_body, decision_code, decision_line
from hal0_budget.cli.options import (
    Agent,
    AsJson,
    InputTokens,
    LockWait,
    Model,
    OutputTokens,
    Persona,
    PersonasDir,
    Prices,
    Quiet,
    Root,
    Ttl,
    home_of,
    ttl_of,
)
from hal0_budget.cli.pricing import estimate_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.stores.base import DEFAULT_TIMEOUT


def reserve(
    persona: Persona,
    estimate: Annotated[
        str | None,
        typer.Option("--estimate", metavar="USD", help="What the call is expected to cost."),
    ] = None,
    model: Model = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    prices: Prices = None,
    ttl: Ttl = "15m",
    hold_id: Annotated[
        str | None, typer.Option("--hold-id", metavar="ID", help="The hold's id; else one is made.")
    ] = None,
    on_expiry: Annotated[
        Literal["book", "release"],
        typer.Option("--on-expiry", help="When its time is up: book it as unconfirmed, or give it back."),
    ] = "book",
    surface: Annotated[str, typer.Option("--surface", metavar="NAME", help="The paid service.")] = "cli",
    warn_ok: Annotated[bool, typer.Option("--warn-ok", help="End in 0 instead of 10 on a warning.")] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Decide as check does, and set the estimate aside.

    Prints the id of the hold, alone on a line; what else there is to say goes to stderr. The hold
    counts against every window until charge --hold settles it, release gives it back, or its time is up.
    Ends in the codes of check; blocked sets nothing aside. In place of an estimate, a model and its
    tokens say what the call will cost.
    """
    expected = estimate_of(estimate, model, input_tokens, output_tokens, prices)
    account = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout)
    decision, hold = account.reserve(
        expected.usd,
        ttl=ttl_of(ttl),
        hold_id=hold_id,
        on_expiry=on_expiry,
        surface=surface,
        model=model or UNKNOWN,
    )
    body = None if hold is None else {"id": hold.hold_id, "usd": hold.usd, "expires_at": hold.expires}
    return Result(
        data={**decision_body(decision), **expected.body(decision.statement), "hold": body},
        lines=[] if hold is None else [hold.hold_id],
        notes=[decision_line(decision), *expected.note(decision.statement)],
        warnings=decision.statement.warnings,
        exit_code=decision_code(decision, warn_ok=warn_ok),
    )
