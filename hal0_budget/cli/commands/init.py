"""`init`: creates persona files to start from."""

from __future__ import annotations

from typing import Annotated

import typer

from hal0_budget.cli.options import Context, LockWait, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.open import DEFAULT_PERSONAS
from hal0_budget.stores.open import init as set_up


@shared_options()
def init(
    context: Context,
    personas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PERSONA]...",
            autocompletion=suggest("personas"),
            help=f"Personas to create; the first becomes active. Default: {', '.join(DEFAULT_PERSONAS)}.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rewrite existing files, keeping readable caps; block all calls if one is unreadable. "
            "The old file is saved as FILE.bak.",
        ),
    ] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Create persona files to start from.

    Each has an empty budget; active.txt names the first. Existing files are not changed.
    """
    home = context.home
    done = set_up(home, personas or DEFAULT_PERSONAS, repair=repair, lock_timeout=lock_timeout)
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
