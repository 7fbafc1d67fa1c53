"""`charge`: the record after a paid call."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import Agent, AsJson, LockWait, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render import Result, statement_body
from hal0_budget.errors import BudgetError, InvalidCharge
from hal0_budget.money import dollars, parse_usd
from hal0_budget.store.lock import DEFAULT_TIMEOUT


def charge(
    persona: Persona,
    cost: Annotated[
        str, typer.Option("--cost", metavar="USD", help="What the call did cost.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model called.", show_default=False)
    ],
    surface: Annotated[
        str, typer.Option("--surface", metavar="NAME", help="The paid service called.")
    ] = "cli",
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="The provider's id of the call; else one is made."),
    ] = None,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Record what one call did cost. When this ends in 0, the row is on the disk.

    Records even where the persona is malformed or the ledger damaged, and says on stderr what is wrong.
    """
    try:
        usd = parse_usd(cost)
    except ValueError as error:
        raise InvalidCharge(f"--cost {cost!r} is not an amount in USD: {error}") from None
    account = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout)
    row = account.charge(usd, model=model, surface=surface, request_id=request_id)
    body, warnings = _after(account)
    return Result(
        data={
            **body,
            "recorded": True,
            "row": {
                "ts": row.ts,
                "surface": row.surface,
                "model": row.model,
                "cost_usd": row.cost_usd,
                "request_id": row.request_id,
            },
        },
        lines=[f"charged {dollars(row.cost_usd)} to {persona}: request {row.request_id}"],
        warnings=warnings,
    )


def _after(account: Account) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The account after the charge, where it can be told; nothing here can undo the charge."""
    try:
        statement = account.show()
    except BudgetError as error:
        warning = f"the charge is recorded, but: {error.message}"
        unknown = dict.fromkeys(("budget", "spend", "remaining", "windows"))
        return {"persona_id": account.persona, **unknown, "warnings": [warning]}, (warning,)
    return statement_body(statement), statement.warnings
