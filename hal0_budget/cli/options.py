"""The options that commands share, and what they name: which agent's files, how to answer."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

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


@dataclass
class Output:
    """How to answer: filled in by the options as they are parsed, read by `main()`.

    A monitoring line goes before JSON, wherever the two are asked for: its exit codes differ.
    """

    style: Literal["text", "json", "nagios"] = "text"
    quiet: bool = False
    color: Color = "auto"

    @classmethod
    def foreseen(cls, argv: Sequence[str]) -> Output:
        """The answer that a command line asks for which turned out not to parse."""
        pairs = {*pairwise(argv), *(tuple(word.split("=", 1)) for word in argv)}
        if "check" in argv and ("--format", "nagios") in pairs:
            return cls("nagios")
        return cls("json") if "--json" in argv or ("--format", "json") in pairs else cls()


def _set_json(ctx: typer.Context, value: bool) -> bool:
    output = ctx.ensure_object(Output)
    if value and output.style != "nagios":
        output.style = "json"
    return value


def _set_quiet(ctx: typer.Context, value: bool) -> bool:
    ctx.ensure_object(Output).quiet |= value
    return value


def whole_number(text: str, most: int) -> int:
    """The number from 0 to `most` that ASCII digits write, and nothing else. Raises ValueError."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) > most:
        raise ValueError(f"{text!r} is not a whole number from 0 to {most}")
    return int(text)


def _tokens(text: str) -> int:
    try:
        return whole_number(text, MOST_TOKENS)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _seconds(value: str | float) -> float:
    """The seconds that plain decimals write; a default is a number already."""
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
    typer.Option("--root", metavar="DIR", help=f"Folder of all agents (${ENV_ROOT}; {DEFAULT_ROOT})."),
]
PersonasDir = Annotated[
    str | None,
    typer.Option(
        "--personas-dir",
        metavar="DIR",
        help=f"Folder of the persona files, where it is another (${ENV_PERSONAS_DIR}).",
    ),
]
Agent = Annotated[
    str | None, typer.Option("--agent", metavar="ID", help=f"The agent (${ENV_AGENT}; {DEFAULT_AGENT}).")
]
AsJson = Annotated[bool, typer.Option("--json", callback=_set_json, help="Answer with one JSON object.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_set_quiet, help="Print nothing but errors; the exit code answers."
    ),
]
ColorWhen = Annotated[
    Color,
    typer.Option("--color", callback=_set_color, help="Colour and bars: on a terminal, always or never."),
]
LockWait = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="SECONDS",
        parser=_seconds,
        help="How long to wait for other commands, 0 to 3600.",
    ),
]
Ttl = Annotated[
    str, typer.Option("--ttl", metavar="TIME", help="How long the hold lasts, 1s to 24h, as in 90s, 15m, 2h.")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="The model; with token counts, what it costs.")
]
InputTokens = Annotated[
    int | None,
    typer.Option("--input-tokens", metavar="N", parser=_tokens, help="Tokens that will be sent."),
]
OutputTokens = Annotated[
    int | None,
    typer.Option("--output-tokens", metavar="N", parser=_tokens, help="Tokens that may come back, at most."),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="Prices: a document of OpenRouter's /models or of LiteLLM's; else those of hal0-budget[prices].",
    ),
]
Persona = Annotated[str, typer.Argument(metavar="PERSONA", help="The persona's id.", show_default=False)]


def home_of(root: str | None, personas_dir: str | None, agent: str | None) -> Home:
    """The files that the options name; else the variables; else the defaults.

    Raises UsageError for a name that is given but empty: a root is never guessed.
    """
    personas = _given(personas_dir, "--personas-dir", ENV_PERSONAS_DIR)
    return Home(
        Path(_given(root, "--root", ENV_ROOT) or DEFAULT_ROOT),
        _given(agent, "--agent", ENV_AGENT) or DEFAULT_AGENT,
        Path(personas) if personas else None,
    )


def ttl_of(text: str) -> timedelta:
    """The time that `90s`, `15m` or `2h` writes. Raises InvalidHold."""
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    if not found:
        raise InvalidHold(f"--ttl {text!r} is not a time such as 90s, 15m or 2h")
    return int(found[1]) * _UNITS[found[2]]


def _given(value: str | None, option: str, variable: str) -> str | None:
    name = option
    if value is None:
        name, value = f"${variable}", os.environ.get(variable)
    if value == "":
        raise UsageError(f"{name} is given but empty; name a value or leave it out")
    return value
