"""What a person at a terminal sees of `show` and `log`: a bar beside every number, in the width there is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from decimal import Decimal
from typing import TextIO

from rich.table import Table
from rich.text import Text

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render.emit import unconfirmed_line
from hal0_budget.cli.render.rows import cells
from hal0_budget.cli.terminal.canvas import Canvas, cell_text, packed, styled
from hal0_budget.model.money import add, dollars
from hal0_budget.model.records import Entry
from hal0_budget.model.results import Statement, WindowState
from hal0_budget.model.verdict import remaining
from hal0_budget.model.windows import label

_BAR = 12
NEARLY = Decimal("0.8")
_LABEL = 10
_COLUMNS = ("window", "", "spent", "held", "cap", "remaining", "resets")
_ROW_INDENT = 4


def drawn(statements: Sequence[Statement], stream: TextIO) -> str:
    """The statements as a terminal shows them: a table each, or lines where a table is too wide."""
    canvas = Canvas(stream)
    columns = shutil.get_terminal_size().columns
    blocks = []
    for statement in statements:
        table = _table(statement, blocks=canvas.has_blocks)
        fits = canvas.width(table) <= columns
        body: list[Text | Table] = [table] if fits else _lines(statement, columns, blocks=canvas.has_blocks)
        if statement.unconfirmed:
            body.append(Text(unconfirmed_line(statement)))
        blocks.append(canvas.drawn(styled(headline(statement), "bold"), *body))
    return "\n".join(blocks)


def drawn_rows(entries: Sequence[Entry], stream: TextIO) -> str:
    """Rows of the ledger as a terminal shows them: a line each, or more where one is too narrow."""
    columns = shutil.get_terminal_size().columns
    lines = [line for entry in entries for line in packed(_texts(entry), columns, _ROW_INDENT)]
    return Canvas(stream).drawn(*lines)


def bar(state: WindowState, *, blocks: bool) -> Text:
    """How much of a cap is used, as a bar beside its number; empty where nothing is capped."""
    share = share_of(state)
    if share is None:
        return Text("")
    filled = min(_BAR, int(share * _BAR) + (0 < share * _BAR < 1))
    full, empty = ("█", "░") if blocks else ("#", ".")
    return Text(f"{full * filled}{empty * (_BAR - filled)} {_percent(share):>4}", style=_style(share))


def share_of(state: WindowState) -> Decimal | None:
    """How much of the cap is used, for the length of a bar only; None where nothing is capped."""
    if state.cap is None or state.spent is None or state.held is None:
        return None
    used = add(state.spent, state.held)
    if not remaining(state.cap, used):
        return used / state.cap if state.cap else Decimal(1)
    return used / state.cap


def resets(state: WindowState) -> str:
    """When a window starts afresh, in UTC: an hour of this day, or the day that it begins with."""
    if state.resets_at is None:
        return "never"
    return state.resets_at.strftime("%H:%MZ" if state.window == "hourly" else "%-d %b")


def _table(statement: Statement, *, blocks: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _COLUMNS[2:6] else "left", no_wrap=True)
    for state in statement.windows:
        amounts = (state.spent, state.held, state.cap, state.remaining)
        table.add_row(
            Text(label(state.window)),
            bar(state, blocks=blocks),
            *(Text("-" if usd is None else dollars(usd)) for usd in amounts),
            Text(resets(state)),
        )
    return table


def _lines(statement: Statement, columns: int, *, blocks: bool) -> list[Text | Table]:
    """The windows on lines of their own, for a narrow terminal."""
    lines: list[Text | Table] = []
    for state in statement.windows:
        name, drawing = f"{label(state.window):<{_LABEL}}", bar(state, blocks=blocks)
        amounts = {
            "spent": state.spent,
            "held": state.held or None,
            "cap": state.cap,
            "left": state.remaining,
        }
        parts = [Text(f"{what} {dollars(usd)}") for what, usd in amounts.items() if usd is not None]
        if state.resets_at:
            parts.append(Text(f"resets {resets(state)}"))
        if drawing:
            parts.insert(0, drawing)
        lines += packed([Text(name).append_text(parts[0]), *parts[1:]], columns, _LABEL)
    return lines


def _texts(entry: Entry) -> list[Text]:
    return [cell_text(cell) for cell in cells(entry)]


def _percent(share: Decimal) -> str:
    """The share, rounded down: only what is used up is 100%."""
    return f"{int(share * 100)}%"


def _style(share: Decimal | None) -> str:
    if share is None:
        return ""
    return "red" if share >= 1 else "yellow" if share >= NEARLY else "green"
