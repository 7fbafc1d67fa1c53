"""What a person at a terminal sees of `show`: a bar beside every number, in the width there is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from decimal import Decimal
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render import printable, unconfirmed_line
from hal0_budget.money import add, dollars
from hal0_budget.results import Statement, WindowState
from hal0_budget.verdict import remaining
from hal0_budget.windows import label

_BAR = 12
NEARLY = Decimal("0.8")
UNBOUNDED = 100_000
_COLUMNS = ("window", "", "spent", "held", "cap", "remaining", "resets at")


def drawn(statements: Sequence[Statement], stream: TextIO) -> str:
    """The statements as a terminal shows them: a table each, or lines where a table is too wide."""
    # Rich is told all that it would guess from the environment: colour is wanted where this is called,
    # and a width of its own would cut long ids, and every line where COLUMNS is 0.
    console = Console(
        file=stream, width=UNBOUNDED, height=UNBOUNDED, force_terminal=True, color_system="standard",
        no_color=False, highlight=False, emoji=False, markup=False,
    )  # fmt: skip
    blocks = console.encoding.startswith("utf")
    columns = shutil.get_terminal_size().columns
    with console.capture() as capture:
        for number, statement in enumerate(statements):
            if number:
                console.print()
            console.print(Text(printable(headline(statement)), style="bold"))
            table = _table(statement, blocks=blocks)
            if console.measure(table).maximum <= columns:
                console.print(table)
            else:
                for line in _lines(statement, blocks=blocks):
                    console.print(line)
            if statement.unconfirmed:
                console.print(Text(unconfirmed_line(statement)))
    return capture.get()


def _table(statement: Statement, *, blocks: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _COLUMNS[2:6] else "left", no_wrap=True)
    for state in statement.windows:
        amounts = (state.spent, state.held, state.cap, state.remaining)
        table.add_row(
            Text(label(state.window)),
            _bar(state, blocks=blocks),
            *(Text("-" if usd is None else dollars(usd)) for usd in amounts),
            Text(_resets(state)),
        )
    return table


def _lines(statement: Statement, *, blocks: bool) -> list[Text]:
    """A line for each number, for a narrow terminal."""
    lines = []
    for state in statement.windows:
        bar = _bar(state, blocks=blocks)
        lines.append(Text(f"{label(state.window):<8}  ").append(bar) if bar else Text(label(state.window)))
        parts = [("spent", state.spent), ("held", state.held), ("cap", state.cap), ("left", state.remaining)]
        lines += [Text(f"  {name:<6}{dollars(usd)}") for name, usd in parts if usd is not None]
        if state.resets_at:
            lines.append(Text(f"  resets {_resets(state)}"))
    return lines


def _bar(state: WindowState, *, blocks: bool) -> Text:
    share = _share(state)
    if share is None:
        return Text("")
    filled = min(_BAR, int(share * _BAR) + (0 < share * _BAR < 1))
    full, empty = ("█", "░") if blocks else ("#", ".")
    return Text(f"{full * filled}{empty * (_BAR - filled)} {_percent(share):>4}", style=_style(share))


def _share(state: WindowState) -> Decimal | None:
    """How much of the cap is used, for the length of a bar only; None where nothing is capped."""
    if state.cap is None or state.spent is None or state.held is None:
        return None
    used = add(state.spent, state.held)
    if not remaining(state.cap, used):
        return used / state.cap if state.cap else Decimal(1)
    return used / state.cap


def _percent(share: Decimal) -> str:
    """The share, rounded down: only what is used up is 100%."""
    return f"{int(share * 100)}%"


def _style(share: Decimal | None) -> str:
    if share is None:
        return ""
    return "red" if share >= 1 else "yellow" if share >= NEARLY else "green"


def _resets(state: WindowState) -> str:
    return state.resets_at.strftime("%Y-%m-%d %H:%MZ") if state.resets_at else "never"
