"""`report`: shows what was spent, on what, and when the caps will be reached."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from hal0_budget.cli.options import FILES, ColorWhen, Context, Output, shared_options, suggest
from hal0_budget.cli.render.emit import Result, json_text, stdout_encoding
from hal0_budget.cli.terminal.progress import reading
from hal0_budget.clock import utc_now
from hal0_budget.durable import replace
from hal0_budget.errors import UsageError, from_os_error
from hal0_budget.reporting.dates import day_at, zone_of
from hal0_budget.reporting.grouping import by_of, default_since
from hal0_budget.reporting.report import Report
from hal0_budget.reporting.report import report as made

Format = Literal["table", "plain", "csv", "markdown", "json", "html"]

_ENDINGS: dict[str, Format] = {
    ".txt": "plain",
    ".csv": "csv",
    ".md": "markdown",
    ".json": "json",
    ".html": "html",
}


def _set_format(ctx: typer.Context, value: Format | None) -> Format | None:
    if value == "json":
        ctx.ensure_object(Output).style = "json"
    return value


@shared_options()
def report(
    context: Context,
    personas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PERSONA...]",
            autocompletion=suggest("personas"),
            help="The personas' ids. Default: every persona of the agent.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DAY",
            help="First day: 2026-05-29, 20260529, today, yesterday, or the first of the last 7d, 2w or 1mo.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="Last day (inclusive).")] = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="LIST",
            autocompletion=suggest("groups"),
            help="Group by any of day, week, month, model, surface, persona, source.",
        ),
    ] = "persona,day",
    report_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            callback=_set_format,
            help="Default: a table on a terminal, else plain.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            autocompletion=suggest(FILES),
            help="Write to a file; its ending (.txt, .csv, .md, .json, .html) sets the format.",
        ),
    ] = None,
    timezone: Annotated[
        str,
        typer.Option(
            "--timezone",
            metavar="IANA",
            autocompletion=suggest("zones"),
            help="Time zone of the days, such as Europe/Berlin.",
        ),
    ] = "UTC",
    only_if: Annotated[
        Literal["warn", "block"] | None,
        typer.Option(
            "--only-if",
            help="Print nothing unless a persona is at this level (or above) now, or cannot be read.",
            show_default=False,
        ),
    ] = None,
    _color: ColorWhen = "auto",
) -> Result:
    """Show what was spent, on what, and when caps will be reached.

    Without --since and --until: the last 7 days; grouped by week 8 weeks, by month 12 months. Unreadable
    rows are left out and reported on stderr. If a persona cannot be read, the others are still reported,
    and the command exits with the code of that failure.
    """
    form = _form(report_format, output, as_json=context.as_json)
    words, zone = by_of(by), zone_of(timezone)
    if since is None and until is None:
        since = default_since(words, day_at(utc_now(), zone)).isoformat()
    home = context.home
    with reading() as progress:
        found = made(home, personas or (), since=since, until=until, by=words, zone=zone, progress=progress)
    if len(found.failures) == len(personas or ()) == 1:
        raise found.failures[0].error
    code = max((failure.error.exit_code for failure in found.failures), default=0)
    if only_if and not _is_at_level(found, only_if):
        return Result({})
    answer = _answer(found, form, output)
    return answer._replace(
        errors=[failure.error.message for failure in found.failures],
        warnings=[warning for part in found.personas for warning in part.statement.warnings],
        exit_code=code,
    )


def text_of(found: Report, form: Format, encoding: str = "utf-8", *, in_color: bool = False) -> str:
    """The report in a format, as text."""
    if form == "html":
        from hal0_budget.cli.render.report_html import html_text

        return html_text(found)
    if form == "table":
        from hal0_budget.cli.terminal.report_table import drawn_report

        return drawn_report(found, encoding, color=in_color)
    from hal0_budget.cli.render import report_text

    if form == "json":
        return f"{json_text(report_text.body(found))}\n"
    if form == "csv":
        return report_text.csv_text(found)
    return report_text.markdown_text(found) if form == "markdown" else report_text.plain_text(found, encoding)


def _form(asked: Format | None, output: Path | None, *, as_json: bool) -> Format | None:
    """The format that the options ask for; None means that it depends on stdout. Raises UsageError."""
    if as_json and asked not in {None, "json"}:
        raise UsageError(f"--json and --format {asked} are two formats; choose one")
    if asked or as_json:
        return asked or "json"
    if output is None:
        return None
    if output.suffix not in _ENDINGS:
        raise UsageError(f"-o {output} has no known ending: use {', '.join(_ENDINGS)}, or add --format")
    return _ENDINGS[output.suffix]


def _is_at_level(found: Report, only_if: Literal["warn", "block"]) -> bool:
    """Whether a persona is at that level or above, or something could not be read."""
    levels = {"block"} if only_if == "block" else {"block", "warn"}
    return bool(found.failures) or any(
        part.verdict.level in levels or part.problems for part in found.personas
    )


def _answer(found: Report, form: Format | None, output: Path | None) -> Result:
    if output is not None:
        _write(output, text_of(found, form or "plain"))
        return Result({}, notes=[f"wrote {output}"])
    if form == "json":
        from hal0_budget.cli.render.report_text import body

        return Result(body(found))
    return Result({}, document=partial(_shown, found, form))


def _shown(found: Report, form: Format | None, is_for_a_person: bool) -> str:
    default: Format = "table" if is_for_a_person else "plain"
    return text_of(found, form or default, stdout_encoding(), in_color=is_for_a_person)


def _write(path: Path, text: str) -> None:
    """Atomically replace a file by `text`. Raises UsageError, WriteFailed, PermissionRefused."""
    if path.exists() and not path.is_file():
        raise UsageError(f"-o {path} is not a regular file; without -o the report goes to stdout")
    try:
        replace(path, text.encode("utf-8", "backslashreplace"), f".{os.getpid()}.new")
    except OSError as error:
        error.filename = str(path)
        raise from_os_error(error) from error
