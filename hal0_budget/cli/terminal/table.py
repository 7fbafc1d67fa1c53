"""What `show` and `log` print on a terminal: a bar next to each share, a list if a table is too wide."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render.emit import unconfirmed_line
from hal0_budget.cli.render.rows import cells
from hal0_budget.cli.render.shares import percent_of, used_share
from hal0_budget.cli.terminal.text import Canvas, cell_text, packed, styled, table_of
from hal0_budget.model.money import dollars
from hal0_budget.model.records import Entry
from hal0_budget.model.results import Statement, WindowState
from hal0_budget.model.windows import label

_LABEL = 10
_COLUMNS = ("window", "", "spent", "held", "cap", "remaining", "resets")
_ROW_INDENT = 4


def drawn_statements(statements: Sequence[Statement], encoding: str) -> str:
    """The answer of `show`: a table or a list per persona."""
    canvas = Canvas(encoding)
    blocks = []
    for statement in statements:
        body = [styled(headline(statement), "bold"), *_windows(canvas, statement)]
        if statement.unconfirmed:
            body.append(Text(unconfirmed_line(statement)))
        blocks.append(canvas.drawn(*body))
    return "\n".join(blocks)


def drawn_rows(entries: Sequence[Entry], encoding: str) -> str:
    """The answer of `log`: a row per line, or on more lines if one is too narrow."""
    columns = shutil.get_terminal_size().columns
    rows = ([cell_text(cell) for cell in cells(entry)] for entry in entries)
    return Canvas(encoding).drawn(*(line for row in rows for line in packed(row, columns, _ROW_INDENT)))


def bar(canvas: Canvas, state: WindowState) -> Text:
    """How much of a cap is used, as a bar and its percentage; empty without a cap."""
    share = used_share(state)
    drawing = canvas.bar(share)
    return drawing if share is None else drawing.append(f" {percent_of(share):>4}")


def resets(state: WindowState) -> str:
    """When a window resets, in UTC: the time of an hourly window, else the day."""
    if state.resets_at is None:
        return "never"
    return state.resets_at.strftime("%H:%MZ" if state.window == "hourly" else "%-d %b")


def _windows(canvas: Canvas, statement: Statement) -> Sequence[Table | Text]:
    columns = shutil.get_terminal_size().columns
    table = table_of(_COLUMNS, range(2, 6))
    lines: list[Text] = []
    for state in statement.windows:
        amounts = (state.spent, state.held, state.cap, state.remaining)
        table.add_row(
            Text(label(state.window)),
            bar(canvas, state),
            *(Text("-" if usd is None else dollars(usd)) for usd in amounts),
            Text(resets(state)),
        )
        lines += packed(_window_parts(canvas, state), columns, _LABEL)
    return canvas.table_or_list(table, lines, columns)


def _window_parts(canvas: Canvas, state: WindowState) -> list[Text]:
    """A window as the parts of a list item."""
    amounts = {"spent": state.spent, "held": state.held or None, "cap": state.cap, "left": state.remaining}
    parts = [Text(f"{what} {dollars(usd)}") for what, usd in amounts.items() if usd is not None]
    if state.resets_at:
        parts.append(Text(f"resets {resets(state)}"))
    if drawing := bar(canvas, state):
        parts.insert(0, drawing)
    return [Text(f"{label(state.window):<{_LABEL}}").append_text(parts[0]), *parts[1:]]
