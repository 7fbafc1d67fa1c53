"""`release`: releases a hold."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import Context, LockWait, Persona, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.model.money import dollars
from hal0_budget.stores import DEFAULT_TIMEOUT


@shared_options()
def release(
    context: Context,
    persona: Persona,
    hold_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", autocompletion=suggest("holds"), help="The hold's id.", show_default=False
        ),
    ],
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Release a hold whose call was never made."""
    hold = Account(context.home, persona, lock_timeout=lock_timeout).release(hold_id)
    return Result(
        data={"persona_id": persona, "released": True, "hold": {"id": hold.hold_id, "usd": hold.usd}},
        lines=[f"released {dollars(hold.usd)} of {persona}: hold {hold.hold_id}"],
    )
