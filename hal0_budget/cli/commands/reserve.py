"""`reserve`: checks a call and holds its estimate, so that parallel calls cannot overspend."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hal0_budget.account import UNKNOWN, Account
from hal0_budget.cli.answer import decision_body, decision_code, decision_line
from hal0_budget.cli.options import (
    Context,
    InputTokens,
    LockWait,
    Model,
    OutputTokens,
    Persona,
    Prices,
    Ttl,
    shared_options,
    ttl_of,
)
from hal0_budget.cli.pricing import estimate_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.stores import DEFAULT_TIMEOUT


@shared_options()
def reserve(
    context: Context,
    persona: Persona,
    estimate: Annotated[
        str | None,
        typer.Option("--estimate", metavar="USD", help="Expected cost of the call."),
    ] = None,
    model: Model = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    prices: Prices = None,
    ttl: Ttl = "15m",
    hold_id: Annotated[
        str | None, typer.Option("--hold-id", metavar="ID", help="The hold's id. Default: a new id.")
    ] = None,
    on_expiry: Annotated[
        Literal["book", "release"],
        typer.Option("--on-expiry", help="When the hold expires: book it as unconfirmed, or release it."),
    ] = "book",
    surface: Annotated[str, typer.Option("--surface", metavar="NAME", help="The paid service.")] = "cli",
    warn_ok: Annotated[
        bool, typer.Option("--warn-ok", help="Exit with 0 instead of 10 on a warning.")
    ] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Decide as check does, and hold the estimate.

    Prints the id of the hold on one line; everything else goes to stderr. The hold counts against every
    window until charge --hold settles it, release gives it back, or it expires. Exit codes are those of
    check; a blocked call gets no hold. Instead of an estimate, give a model and its token counts.
    """
    expected = estimate_of(estimate, model, input_tokens, output_tokens, prices)
    account = Account(context.home, persona, lock_timeout=lock_timeout)
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
