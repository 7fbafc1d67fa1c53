"""Shell completion: Typer reads the command line at the cursor; the candidates come from the agent's files.

The scripts in `cli/shells` run the program without arguments and with variables that hold the command line
(docs/decisions/013).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from hal0_budget.cli.app import COMMANDS, COMPLETION, PROGRAM
from hal0_budget.cli.options import FILES, FOLDERS, home_of
from hal0_budget.cli.render.emit import Result
from hal0_budget.errors import UsageError
from hal0_budget.stores.open import Home

if TYPE_CHECKING:
    from hal0_budget.account import Account

_READERS: dict[str, Any] = {
    "complete_bash": BashComplete,
    "complete_zsh": ZshComplete,
    "complete_fish": FishComplete,
}

# Ids come from providers too. Only those that no shell interprets are offered.
_SAFE = r"[A-Za-z0-9_][A-Za-z0-9_.@+/-]*"
# `void` offers the request ids of this many rows.
_LATEST = 100

Candidates = Iterable[str | tuple[str, str]]


def completed(program: Any) -> Result:
    """The candidates for the word at the cursor, for the script of a shell.

    The first line is `words`, `files` or `folders`; with `words`, each further line is a candidate, or a
    candidate, a space and its description. Raises UsageError if the variables of the shell are missing,
    AgentUnknown, PersonaNotFound or PermissionRefused if the files cannot be read.
    """
    try:
        reader = _READERS[os.environ[COMPLETION]](program, {}, PROGRAM, COMPLETION)
        arguments, last = reader.get_completion_args()
    except (KeyError, ValueError):
        raise UsageError(f"{COMPLETION} is for the scripts that `{PROGRAM} completion` prints") from None
    # bash splits `--root=DIR` into three words.
    arguments = [word for word in arguments if word != "="]
    found = [(item.value, item.help or "") for item in reader.get_completions(arguments, last)]
    if found and found[0][1] in {FILES, FOLDERS}:
        return Result({}, lines=[found[0][1]])
    option, equals, _ = last.partition("=")
    prefix = option + equals if equals and option.startswith("-") else ""
    return Result(
        {}, lines=["words", *(f"{prefix}{value} {help_text}".rstrip() for value, help_text in found)]
    )


def candidates(what: str, ctx: typer.Context, typed: str) -> Candidates:
    """The candidates of one kind for the word `typed`, with descriptions if they have any."""
    return _SOURCES[what](ctx, typed)


def _agents(ctx: typer.Context, _typed: str) -> Candidates:
    return _home(ctx).agent_ids()


def _commands(_ctx: typer.Context, _typed: str) -> Candidates:
    return COMMANDS


def _groups(_ctx: typer.Context, typed: str) -> Candidates:
    """Words of the list of `report --by` that are not in it yet, each after the finished part."""
    from hal0_budget.reporting.grouping import BY

    finished, comma, _ = typed.rpartition(",")
    return [f"{finished}{comma}{word}" for word in BY if word not in finished.split(",")]


def _holds(ctx: typer.Context, _typed: str) -> Candidates:
    """Open holds."""
    from hal0_budget.model.money import dollars

    return [
        (hold.hold_id, f"{dollars(hold.usd)}, expires {hold.expires:%H:%M:%SZ}")
        for account in _accounts(ctx)
        for hold in account.holds()
        if re.fullmatch(_SAFE, hold.hold_id)
    ]


def _personas(ctx: typer.Context, _typed: str) -> Candidates:
    return _home(ctx).persona_ids()


def _requests(ctx: typer.Context, _typed: str) -> Candidates:
    """Request ids of the latest charges that are not voided."""
    from hal0_budget.model.money import dollars
    from hal0_budget.model.records import Entry

    found = [entry for account in _accounts(ctx) for entry in account.tail(_LATEST).read()]
    rows = [entry.row for entry in found if isinstance(entry, Entry) and not entry.is_voided]
    return [
        (row.request_id, f"{dollars(row.cost_usd)}, {row.ts:%Y-%m-%d %H:%M:%SZ}")
        for row in rows
        if row.voids is None and re.fullmatch(_SAFE, row.request_id)
    ]


def _zones(_ctx: typer.Context, _typed: str) -> Candidates:
    import zoneinfo

    return sorted(zoneinfo.available_timezones())


_SOURCES: dict[str, Callable[[typer.Context, str], Candidates]] = {
    "agents": _agents,
    "commands": _commands,
    "groups": _groups,
    "holds": _holds,
    "personas": _personas,
    "requests": _requests,
    "zones": _zones,
    FILES: lambda _ctx, typed: [(typed, FILES)],
    FOLDERS: lambda _ctx, typed: [(typed, FOLDERS)],
}


def _accounts(ctx: typer.Context) -> Iterator[Account]:
    """The account of the persona on the command line, if it is there already."""
    from hal0_budget.account import Account

    # If an option at the end has no value yet, the parser leaves the arguments before it in `args`.
    persona = ctx.params.get("persona") or next(iter(ctx.args), None)
    if persona is not None:
        yield Account(_home(ctx), persona)


def _home(ctx: typer.Context) -> Home:
    """The home that the finished words name, else the variables."""
    return home_of(*(_given(ctx, name) for name in ("root", "personas_dir", "agent")))


def _given(ctx: Any, name: str) -> str | None:
    """The value of a shared option, given after or before the command, with `~` and `$NAME` expanded."""
    while ctx is not None:
        value: str | None = ctx.params.get(name)
        if value is not None:
            return os.path.expandvars(os.path.expanduser(value))
        ctx = ctx.parent
    return None
