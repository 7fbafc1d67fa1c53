"""`void`: takes a wrong charge back with a row of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import Agent, AsJson, LockWait, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.model.money import dollars, negative
from hal0_budget.stores.base import DEFAULT_TIMEOUT


def void(
    persona: Persona,
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="The charge's request id.", show_default=False)
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.", show_default=False)],
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Take a wrong charge back.

    The original stays; a row of its own names it, with the negative amount at the time of the original,
    so that every window comes out right.
    """
    account = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout)
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
