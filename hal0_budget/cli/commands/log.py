"""`log`: the rows of a ledger, newest last, and those that come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.options import (
    Agent,
    AsJson,
    ColorWhen,
    Persona,
    PersonasDir,
    Quiet,
    Root,
    home_of,
    whole_number,
)
from hal0_budget.cli.render.emit import Result
from hal0_budget.cli.render.rows import row_body
from hal0_budget.clock import utc_now
from hal0_budget.errors import UsageError
from hal0_budget.model.records import Entry
from hal0_budget.reporting.dates import FORMS, day_of
from hal0_budget.stores.base import Rows

_SHOWN = 20
_PAUSE = 0.2
_BATCH = 500
_MOST_ROWS = 10**18 - 1


def log(
    persona: Persona,
    last: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--last",
            metavar="N",
            help=f"How many rows, or all; {_SHOWN}, with --since all.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help=f"Rows of that day (UTC) and later: {FORMS}."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with the rows that come, until interrupted.")
    ] = False,
    color: ColorWhen = "auto",
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Show the rows of a ledger, newest last.

    Amounts are USD, times UTC; a row that a later one takes back is marked as voided. Unreadable lines are
    named on stderr. With --follow, a ledger that is replaced is read on from the beginning of the new one,
    and --json answers with one object a row and line.
    """
    account = Account(home_of(root, personas_dir, agent), persona)
    day = None if since is None else day_of(since, utc_now().date())
    tail = account.tail(_wanted(last, _SHOWN if since is None else None), day)
    if follow:
        return Result({}, more=_followed(tail))
    if as_json:
        found = list(tail.read())
        rows = [row_body(entry) for entry in found if isinstance(entry, Entry)]
        warnings = [line for line in found if isinstance(line, str)]
        return Result({"persona_id": persona, "rows": rows, "warnings": warnings}, warnings=warnings)
    return Result({}, more=_listed(tail.read()))


def _wanted(text: str | None, default: int | None) -> int | None:
    """How many rows `-n` asks for; None for all of them."""
    if text is None:
        return default
    if text == "all":
        return None
    try:
        return whole_number(text, _MOST_ROWS)
    except ValueError:
        raise UsageError(f"-n {text!r} is neither a number of rows nor all") from None


def _listed(found: Iterator[Entry | str]) -> Iterator[Result]:
    while batch := list(islice(found, _BATCH)):
        yield _result(batch)


def _followed(tail: Rows) -> Iterator[Result]:
    import gc

    # This may live for months, unlike all that `main()` turned it off for.
    gc.enable()
    while True:
        for found in tail.read():
            yield _result([found])._replace(data=row_body(found) if isinstance(found, Entry) else {})
        # Nothing to say: whoever prints sees to it that there is still somebody to say it to.
        yield Result({})
        time.sleep(_PAUSE)


def _result(found: Iterable[Entry | str]) -> Result:
    return Result(
        {},
        rows=[entry for entry in found if isinstance(entry, Entry)],
        warnings=[line for line in found if isinstance(line, str)],
    )
