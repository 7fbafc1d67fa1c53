"""`void`: cancels a wrong charge with a new row."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import Context, LockWait, Persona, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.model.money import dollars, negative
from hal0_budget.stores import DEFAULT_TIMEOUT


@shared_options()
def void(
    context: Context,
    persona: Persona,
    request_id: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST_ID",
            autocompletion=suggest("requests"),
            help="The charge's request id.",
            show_default=False,
        ),
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why the charge is wrong.", show_default=False)
    ],
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Cancel a wrong charge.

    The original row stays. A new row refers to it, with the negative amount at the time of the original,
    so that every window has the right sum.
    """
    account = Account(context.home, persona, lock_timeout=lock_timeout)
    row = account.void(request_id, reason)
    return Result(
        data={
            "persona_id": persona,
            "voided": True,
            "row": {
                "ts": row.ts,
                "surface": row.surface,
                "model": row.model,
                "cost_usd": row.cost_usd,
                "request_id": row.request_id,
                "voids": row.voids,
                "reason": row.reason,
            },
        },
        lines=[f"voided {dollars(negative(row.cost_usd))} of {persona}: request {request_id}"],
    )
