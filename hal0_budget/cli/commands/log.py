"""`log`: prints the rows of a ledger, newest last, and new ones as they are appended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import ColorWhen, Context, Persona, shared_options, whole_number
from hal0_budget.cli.render.emit import Result
from hal0_budget.cli.render.rows import row_body
from hal0_budget.clock import utc_now
from hal0_budget.errors import UsageError
from hal0_budget.model.records import Entry
from hal0_budget.reporting.dates import FORMS, day_of
from hal0_budget.stores.base import Tail

_SHOWN = 20
_PAUSE = 0.2
_BATCH = 500
_MOST_ROWS = 10**18 - 1


@shared_options()
def log(
    context: Context,
    persona: Persona,
    last: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--last",
            metavar="N",
            help=f"Number of rows, or `all`. Default: {_SHOWN}, with --since all of them.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help=f"First day (UTC): {FORMS}."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new rows as they are appended, until interrupted.")
    ] = False,
    _color: ColorWhen = "auto",
) -> Result:
    """Show the rows of a ledger, newest last.

    Amounts are in USD, times in UTC. A row that a later row takes back is marked as voided. Unreadable
    lines are reported on stderr. With --follow, --json prints one object per row and line, and a ledger
    that is replaced is read from the beginning of the new one.
    """
    account = Account(context.home, persona)
    day = None if since is None else day_of(since, utc_now().date())
    tail = account.tail(_wanted(last, _SHOWN if since is None else None), day)
    if follow:
        return Result({}, more=_followed(tail))
    if context.as_json:
        found = list(tail.read())
        rows = [row_body(entry) for entry in found if isinstance(entry, Entry)]
        warnings = [line for line in found if isinstance(line, str)]
        return Result({"persona_id": persona, "rows": rows, "warnings": warnings}, warnings=warnings)
    return Result({}, more=_listed(tail.read()))


def _wanted(text: str | None, default: int | None) -> int | None:
    """The number of rows that `-n` asks for; None means all."""
    if text is None:
        return default
    if text == "all":
        return None
    try:
        return whole_number(text, _MOST_ROWS)
    except ValueError:
        raise UsageError(f"-n {text!r} is not a number of rows; write a number or all") from None


def _listed(found: Iterator[Entry | str]) -> Iterator[Result]:
    while batch := list(islice(found, _BATCH)):
        yield _result(batch)


def _followed(tail: Tail) -> Iterator[Result]:
    import gc

    # `main()` disables the garbage collector for short runs; this one may last for months.
    gc.enable()
    while True:
        for found in tail.read():
            yield _result([found])._replace(data=row_body(found) if isinstance(found, Entry) else {})
        # Heartbeat: an empty result lets the renderer notice a closed pipe.
        yield Result({})
        time.sleep(_PAUSE)


def _result(found: Iterable[Entry | str]) -> Result:
    return Result(
        {},
        rows=[entry for entry in found if isinstance(entry, Entry)],
        warnings=[line for line in found if isinstance(line, str)],
    )
