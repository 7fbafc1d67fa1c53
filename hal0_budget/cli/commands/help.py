"""`help`: shows what the program or a command does, and its options."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hal0_budget.cli.options import suggest
from hal0_budget.cli.render.emit import Result


def help(  # noqa: A001, the command's name
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="[COMMAND]",
            autocompletion=suggest("commands"),
            help="The command. Default: the program.",
            show_default=False,
        ),
    ] = None,
) -> Result:
    """Show the help of the program or of a command, and exit with 0.

    With --help, a command whose exit code scripts act on, such as check, exits with 64: 0 would be a verdict.
    """
    from hal0_budget.cli.app import PROGRAM, app

    program: Any = typer.main.get_command(app)
    context = typer.Context(program, info_name=PROGRAM, **program.context_settings)
    if command is not None:
        _, found, _ = program.resolve_command(context, [command])
        context = typer.Context(found, info_name=command, parent=context, **found.context_settings)
    return Result({}, lines=context.get_help().splitlines())
