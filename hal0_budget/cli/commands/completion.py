"""`completion`: prints the completion script of a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hal0_budget.cli.render.emit import Result


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"],
        typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False),
    ],
) -> Result:
    """Print the completion script of a shell.

    The script completes commands, options, personas, ids and more. A shell that does not load it from the
    installed files loads it with: eval "$(hal0-budget completion bash)", the same in zsh after compinit, or
    hal0-budget completion fish | source.
    """
    script = Path(__file__).parents[1] / "shells" / f"completion.{shell}"
    return Result({}, lines=script.read_text("ascii").splitlines())
