"""What a person at a terminal sees of `report`: a bar beside every share, in the width there is."""

from __future__ import annotations

import shutil
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hal0_budget.cli.render.emit import printable
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
from hal0_budget.cli.terminal.canvas import UNBOUNDED
from hal0_budget.cli.terminal.table import NEARLY
from hal0_budget.reporting.report import Report

_BAR = 12
_STYLES = {"allow": "green", "warn": "yellow", "block": "red"}


def table_text(report: Report, encoding: str, *, in_color: bool) -> str:
    """The report with bars, and a list in place of a table that is too wide for the terminal."""
    # As in `table.drawn`: rich is told all that it would guess.
    console = Console(
        width=UNBOUNDED, height=UNBOUNDED, force_terminal=in_color, no_color=not in_color,
        color_system="standard" if in_color else None, highlight=False, emoji=False, markup=False,
    )  # fmt: skip
    blocks = encoding.lower().startswith("utf")
    with console.capture() as capture:
        console.print(Text(f"agent {report.agent}, {span_words(report)}"))
        console.print(Text(f"total {total_words(report.total)}", style="bold"))
        if words := source_words(report):
            console.print(Text(f"  by cost source: {words}"))
        for part in report.personas:
            console.print()
            console.print(Text(printable(persona_words(part)), style="bold"))
            if part.verdict.level != "allow":
                console.print(Text(f"  {printable(verdict_words(part))}", style=_STYLES[part.verdict.level]))
            if capped(part):
                _print(console, caps_sheet(part), blocks=blocks, judged=True)
            if words := forecast_words(part):
                console.print(Text(f"  {words}"))
        if report.groups:
            console.print()
            _print(console, groups_sheet(report), blocks=blocks, judged=False)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _print(console: Console, sheet: Sheet, *, blocks: bool, judged: bool) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, name in enumerate(sheet.columns):
        right = sheet.numbers_from <= place
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("", no_wrap=True)
    bars = [_bar(share, blocks=blocks, judged=judged) for share in sheet.shares]
    for row, bar in zip(sheet.rows, bars, strict=True):
        table.add_row(*map(Text, row), bar)
    if console.measure(table).maximum <= shutil.get_terminal_size().columns:
        console.print(table)
        return
    for row, bar in zip(sheet.rows, bars, strict=True):
        console.print(Text(" ".join(cell for cell in row[: sheet.numbers_from] if cell) + "  ").append(bar))
        for name, cell in zip(sheet.columns[sheet.numbers_from :], row[sheet.numbers_from :], strict=True):
            console.print(Text(f"  {name:<14}{cell}"))


def _bar(share: Decimal | None, *, blocks: bool, judged: bool) -> Text:
    if share is None:
        return Text("")
    filled = min(_BAR, int(share * _BAR) + (0 < share * _BAR < 1))
    full, empty = ("█", "░") if blocks else ("#", ".")
    style = "red" if share >= 1 else "yellow" if share >= NEARLY else "green"
    return Text(full * filled + empty * (_BAR - filled), style=style if judged else "cyan")
