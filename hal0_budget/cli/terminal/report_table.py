"""What `report` prints on a terminal: a bar next to each share, and a list if a table is too wide."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hal0_budget.cli.render.report_sentences import (
    Sheet,
    capped,
    caps_sheet,
    forecast_words,
    groups_sheet,
    persona_words,
    source_words,
    span_words,
    total_words,
    verdict_words,
)
from hal0_budget.cli.terminal.text import Canvas, styled, table_of
from hal0_budget.reporting.report import PersonaReport, Report

_STYLES = {"allow": "green", "warn": "yellow", "block": "red"}


def drawn_report(report: Report, encoding: str, *, color: bool) -> str:
    """The answer of `report`: caps and groups, each as a table or a list."""
    canvas = Canvas(encoding, color=color)
    parts: list[Table | Text] = [
        Text(f"agent {report.agent}, {span_words(report)}"),
        Text(f"total {total_words(report.total)}", style="bold"),
    ]
    if words := source_words(report):
        parts.append(Text(f"  by cost source: {words}"))
    for part in report.personas:
        parts += _persona(canvas, part)
    if report.groups:
        parts += [Text(""), *_sheet(canvas, groups_sheet(report), "cyan")]
    return "".join(f"{line.rstrip()}\n" for line in canvas.drawn(*parts).splitlines())


def _persona(canvas: Canvas, part: PersonaReport) -> list[Table | Text]:
    lines: list[Table | Text] = [Text(""), styled(persona_words(part), "bold")]
    if part.verdict.level != "allow":
        lines.append(styled(f"  {verdict_words(part)}", _STYLES[part.verdict.level]))
    if capped(part):
        lines += _sheet(canvas, caps_sheet(part))
    if words := forecast_words(part):
        lines.append(Text(f"  {words}"))
    return lines


def _sheet(canvas: Canvas, sheet: Sheet, color: str | None = None) -> Sequence[Table | Text]:
    """A sheet of a report, with bars of one colour or coloured by their level."""
    table = table_of([*sheet.columns, ""], range(sheet.numbers_from, len(sheet.columns)))
    lines: list[Text] = []
    for row, share in zip(sheet.rows, sheet.shares, strict=True):
        drawing = canvas.bar(share, color)
        table.add_row(*map(Text, row), drawing)
        names = " ".join(cell for cell in row[: sheet.numbers_from] if cell)
        lines.append(Text(f"{names}  ").append(drawing))
        numbers = zip(sheet.columns[sheet.numbers_from :], row[sheet.numbers_from :], strict=True)
        lines += (Text(f"  {name:<14}{cell}") for name, cell in numbers)
    return canvas.table_or_list(table, lines, shutil.get_terminal_size().columns)
