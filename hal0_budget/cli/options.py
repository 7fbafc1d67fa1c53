"""Options that several commands share: which agent's files to use, and how to print the answer."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, NamedTuple, TypeVar

import typer

from hal0_budget.errors import InvalidHold, UsageError
from hal0_budget.stores.open import DEFAULT_AGENT, DEFAULT_ROOT, Home

ENV_ROOT = "HAL0_BUDGET_ROOT"
ENV_PERSONAS_DIR = "HAL0_PERSONAS_DIR"
ENV_AGENT = "HAL0_AGENT"

_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}

MOST_TOKENS = 10**12
_LONGEST_WAIT = 3600

Color = Literal["auto", "always", "never"]

R = TypeVar("R")


class Context(NamedTuple):
    """The values of the shared options: the agent's files, and how to print the answer."""

    home: Home
    as_json: bool
    quiet: bool


@dataclass
class Output:
    """How to print the answer. Callbacks of the options fill it in; `main()` reads it.

    If both `--format nagios` and `--json` are given, nagios wins, because its exit codes differ.
    """

    style: Literal["text", "json", "nagios"] = "text"
    quiet: bool = False
    color: Color = "auto"

    @classmethod
    def foreseen(cls, argv: Sequence[str]) -> Output:
        """Guess the output options of a command line that does not parse."""
        pairs = {*pairwise(argv), *(tuple(word.split("=", 1)) for word in argv)}
        if "check" in argv and ("--format", "nagios") in pairs:
            return cls("nagios")
        return cls("json") if "--json" in argv or ("--format", "json") in pairs else cls()


# Kinds for `suggest`: paths, which the shell completes itself.
FILES = "files"
FOLDERS = "folders"


def suggest(what: str) -> Callable[[typer.Context, str], Iterable[str | tuple[str, str]]]:
    """The completion callback of an option or argument: `what` names a kind of `cli.completion`.

    That module is imported only when a shell asks for candidates.
    """

    def _suggest(ctx: typer.Context, incomplete: str) -> Iterable[str | tuple[str, str]]:
        from hal0_budget.cli.completion import candidates

        return candidates(what, ctx, incomplete)

    # Typer finds the parameters by their names; without annotations it has none to evaluate.
    _suggest.__annotations__ = {}
    return _suggest


def _set_json(ctx: typer.Context, value: bool) -> bool:
    output = ctx.ensure_object(Output)
    if value and output.style != "nagios":
        output.style = "json"
    return value


def _set_quiet(ctx: typer.Context, value: bool) -> bool:
    ctx.ensure_object(Output).quiet |= value
    return value


def whole_number(text: str, most: int) -> int:
    """Parse a number from 0 to `most`, written in ASCII digits only. Raises ValueError."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) > most:
        raise ValueError(f"{text!r} is not a whole number from 0 to {most}")
    return int(text)


def _tokens(text: str) -> int:
    try:
        return whole_number(text, MOST_TOKENS)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _seconds(value: str | float) -> float:
    """Parse seconds, written as a plain decimal. The default value is a number already."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,9})?|\.[0-9]{1,9}", value) or float(value) > _LONGEST_WAIT:
            raise typer.BadParameter(f"{value!r} is not a number of seconds from 0 to {_LONGEST_WAIT}.")
        return float(value)
    return value


def _set_color(ctx: typer.Context, value: Color) -> Color:
    ctx.ensure_object(Output).color = value
    return value


Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="DIR",
        autocompletion=suggest(FOLDERS),
        help=f"Folder of all agents (${ENV_ROOT}, else {DEFAULT_ROOT}).",
    ),
]
PersonasDir = Annotated[
    str | None,
    typer.Option(
        "--personas-dir",
        metavar="DIR",
        autocompletion=suggest(FOLDERS),
        help=f"Folder of the persona files, if not below --root (${ENV_PERSONAS_DIR}).",
    ),
]
Agent = Annotated[
    str | None,
    typer.Option(
        "--agent",
        metavar="ID",
        autocompletion=suggest("agents"),
        help=f"The agent (${ENV_AGENT}, else {DEFAULT_AGENT}).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", callback=_set_json, help="Print one JSON object.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_set_quiet, help="Print errors only; the exit code is the answer."
    ),
]
ColorWhen = Annotated[
    Color,
    typer.Option(
        "--color", callback=_set_color, help="When to use colour and bars; auto means on a terminal."
    ),
]
LockWait = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="SECONDS",
        parser=_seconds,
        help="How long to wait for the lock, 0 to 3600.",
    ),
]
Ttl = Annotated[
    str,
    typer.Option("--ttl", metavar="TIME", help="Lifetime of the hold, 1s to 24h, such as 90s, 15m or 2h."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="The model; with token counts it prices the call."),
]
InputTokens = Annotated[
    int | None,
    typer.Option("--input-tokens", metavar="N", parser=_tokens, help="Number of tokens to be sent."),
]
OutputTokens = Annotated[
    int | None,
    typer.Option("--output-tokens", metavar="N", parser=_tokens, help="Maximum number of tokens received."),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        autocompletion=suggest(FILES),
        help="Price list from OpenRouter (/models) or LiteLLM. Default: the prices of hal0-budget[prices].",
    ),
]
Persona = Annotated[
    str,
    typer.Argument(
        metavar="PERSONA", autocompletion=suggest("personas"), help="The persona's id.", show_default=False
    ),
]


def parameter(name: str, annotation: Any, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command, as Typer reads it from a signature."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def shared_parameters(*, output: bool = True) -> list[inspect.Parameter]:
    """The parameters --root, --personas-dir and --agent, and with `output` also --json and --quiet."""
    location = [
        parameter("root", Root, None),
        parameter("personas_dir", PersonasDir, None),
        parameter("agent", Agent, None),
    ]
    flags = [parameter("as_json", AsJson, False), parameter("quiet", Quiet, False)]
    return location + flags if output else location


def shared_options(
    *, output: bool = True
) -> Callable[[Callable[Concatenate[Context, ...], R]], Callable[..., R]]:
    """Add the shared options to a command, which gets their values as a `Context`, its first argument.

    Typer reads the options of a command from its signature; there they replace the `Context`. Without
    `output`, the command has no --json and --quiet.
    """

    def _decorate(command: Callable[Concatenate[Context, ...], R]) -> Callable[..., R]:
        shared = shared_parameters(output=output)
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def _run(**values: Any) -> R:
            root, personas_dir, agent, *flags = (values.pop(option.name) for option in shared)
            as_json, quiet = flags or (False, False)
            return command(Context(home_of(root, personas_dir, agent), as_json, quiet), **values)

        _run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        # The annotations of the signature are evaluated already; Typer would evaluate these again.
        _run.__annotations__ = {}
        return _run

    return _decorate


def home_of(root: str | None, personas_dir: str | None, agent: str | None) -> Home:
    """The agent's files: from the options, else the environment variables, else the defaults.

    Raises UsageError if a value is empty: an empty root must not fall back to the default root.
    """
    personas = _given(personas_dir, "--personas-dir", ENV_PERSONAS_DIR)
    return Home(
        Path(_given(root, "--root", ENV_ROOT) or DEFAULT_ROOT),
        _given(agent, "--agent", ENV_AGENT) or DEFAULT_AGENT,
        Path(personas) if personas else None,
    )


def ttl_of(text: str) -> timedelta:
    """Parse a duration such as `90s`, `15m` or `2h`. Raises InvalidHold."""
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    if not found:
        raise InvalidHold(f"--ttl {text!r} is not a duration such as 90s, 15m or 2h")
    return int(found[1]) * _UNITS[found[2]]


def _given(value: str | None, option: str, variable: str) -> str | None:
    name = option
    if value is None:
        name, value = f"${variable}", os.environ.get(variable)
    if value == "":
        raise UsageError(f"{name} is empty; give it a value or leave it out")
    return value
