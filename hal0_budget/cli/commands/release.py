"""`release`: gives a hold back."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import Agent, AsJson, LockWait, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.model.money import dollars
from hal0_budget.stores.base import DEFAULT_TIMEOUT


def release(
    persona: Persona,
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="The hold's id.", show_default=False)],
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Give a hold back, because its call was never made."""
    hold = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout).release(hold_id)
    return Result(
        data={"persona_id": persona, "released": True, "hold": {"id": hold.hold_id, "usd": hold.usd}},
        lines=[f"released {dollars(hold.usd)} of {persona}: hold {hold.hold_id}"],
    )
