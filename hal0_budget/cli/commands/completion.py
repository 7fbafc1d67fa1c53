"""`completion`: prints the completion script of a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hal0_budget.cli.candidates import candidates
from hal0_budget.cli.render.emit import Result


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"],
        typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False),
    ],
    typed: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- WORD...]", help="What the script asks: the words typed so far.", show_default=False
        ),
    ] = None,
) -> Result:
    """Print the completion script of a shell.

    The script completes commands, options, persona names and ids. Load it with: eval "$(hal0-budget
    completion bash)", the same in zsh after compinit, or hal0-budget completion fish | source.
    """
    if typed is not None:
        # So the script asks: the words typed after the program's name, the last one unfinished.
        found = candidates(typed)
        return Result({}, lines=[found.kind, *(" ".join(pair).rstrip() for pair in found.words)])
    script = Path(__file__).parents[1] / "shells" / f"completion.{shell}"
    return Result({}, lines=script.read_text("ascii").splitlines())
