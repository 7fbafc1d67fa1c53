"""`init`: persona files to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.cli.options import Agent, AsJson, LockWait, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.stores.base import DEFAULT_TIMEOUT
from hal0_budget.stores.open import DEFAULT_PERSONAS, create


def init(
    personas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PERSONA]...", help=f"Ids; the first becomes active. Else {', '.join(DEFAULT_PERSONAS)}."
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rewrite what exists; keep readable caps, block where one is not; the old file is FILE.bak.",
        ),
    ] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Write persona files to start from.

    Each has an empty budget; active.txt names the first. What exists is left.
    """
    home = home_of(root, personas_dir, agent)
    done = create(home, personas or DEFAULT_PERSONAS, repair=repair, lock_timeout=lock_timeout)
    return Result(
        data={
            "agent": home.agent,
            "files": [
                {
                    "path": str(created.path),
                    "state": created.state,
                    "saved_as": str(created.saved_as) if created.saved_as else None,
                    "warnings": created.warnings,
                }
                for created in done
            ],
        },
        lines=[
            f"{created.state} {created.path}"
            + (f" (the old file is {created.saved_as})" if created.saved_as else "")
            for created in done
        ],
        warnings=[warning for created in done for warning in created.warnings],
    )
