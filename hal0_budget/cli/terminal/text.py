"""Text for a terminal: styled, packed into lines of its width, never cut."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from hal0_budget.cli.render.emit import printable
from hal0_budget.cli.render.rows import Cell
from hal0_budget.cli.render.shares import filled, level_of

_UNBOUNDED = 100_000
_GAP = "  "
_BAR = 12
_COLORS = {"fine": "green", "near": "yellow", "over": "red"}


class Canvas:
    """Renders text and tables, in colour or not; bars are block characters if the encoding is UTF."""

    def __init__(self, encoding: str, *, color: bool = True) -> None:
        # Every setting that rich would guess from the environment is given: a guessed width would cut long
        # ids, and every line if COLUMNS is 0.
        self._console = Console(
            width=_UNBOUNDED, height=_UNBOUNDED, force_terminal=True, no_color=not color,
            color_system="standard" if color else None, highlight=False, emoji=False, markup=False,
        )  # fmt: skip
        self._full, self._empty = ("█", "░") if encoding.lower().startswith("utf") else ("#", ".")

    def bar(self, share: Decimal | None, color: str | None = None) -> Text:
        """A bar with that fraction of its cells full, coloured by its level; empty for None."""
        if share is None:
            return Text("")
        full = filled(share, _BAR)
        return Text(self._full * full + self._empty * (_BAR - full), style=color or _COLORS[level_of(share)])

    def table_or_list(self, table: Table, lines: Sequence[Text], columns: int) -> Sequence[Table | Text]:
        """The table, or the lines if the table is wider than `columns`."""
        return [table] if self._console.measure(table).maximum <= columns else lines

    def drawn(self, *drawings: RenderableType) -> str:
        """The drawings below each other, with escape codes."""
        with self._console.capture() as capture:
            for drawing in drawings:
                self._console.print(drawing)
        return capture.get()

    def folded(self, line: Text, columns: int) -> list[Text]:
        """A line, wrapped at `columns`."""
        if line.cell_len <= columns:
            return [line]
        return list(line.wrap(self._console, max(columns, 1), overflow="fold", no_wrap=False))


def table_of(columns: Sequence[str], numbers: range) -> Table:
    """An empty table without borders; the columns at the places `numbers` are right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place in numbers else "left", no_wrap=True)
    return table


def styled(text: str, style: str = "") -> Text:
    """Data as text that is safe on a terminal."""
    return Text(printable(text), style=style)


def packed(parts: Sequence[Text], columns: int, indent: int, extras: Sequence[Text] = ()) -> list[Text]:
    """Parts side by side, on as few lines of `columns` as possible; lines after the first are indented.

    A part is never broken; padding at its end may be cut. An extra is added only if it fits on the last
    line.
    """
    lines: list[Text] = []
    for part in parts:
        if lines and _fits(lines[-1], part, columns):
            lines[-1].append(_GAP).append_text(part)
        else:
            lines.append(Text(" " * indent if lines else "").append_text(part))
    for extra in extras:
        if lines and _fits(lines[-1], extra, columns):
            lines[-1].append(_GAP).append_text(extra)
    for line in lines:
        line.rstrip()
    return lines


def _fits(line: Text, part: Text, columns: int) -> bool:
    return line.cell_len + len(_GAP) + cell_len(part.plain.rstrip()) <= columns


def cell_text(cell: Cell) -> Text:
    """A cell, padded to the width of its column."""
    return Text(cell.padded(), style=cell.style)
