"""What is drawn for a person at a terminal: styled text packed into the width there is, nothing cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from hal0_budget.cli.render.emit import printable
from hal0_budget.cli.render.rows import Cell

UNBOUNDED = 100_000
GAP = "  "


class Canvas:
    """Draws for one stream: in colour or without, with blocks where its encoding has them."""

    def __init__(self, stream: TextIO, *, color: bool = True) -> None:
        # Rich is told all that it would guess from the environment: a width of its own would cut long
        # ids, and every line where COLUMNS is 0.
        self._console = Console(
            file=stream, width=UNBOUNDED, height=UNBOUNDED, force_terminal=True, no_color=not color,
            color_system="standard" if color else None, highlight=False, emoji=False, markup=False,
        )  # fmt: skip
        self.has_blocks = self._console.encoding.startswith("utf")

    def width(self, drawing: RenderableType) -> int:
        """The columns that a drawing takes."""
        return self._console.measure(drawing).maximum

    def drawn(self, *drawings: RenderableType) -> str:
        """The drawings below each other, as the stream is to be given them."""
        with self._console.capture() as capture:
            for drawing in drawings:
                self._console.print(drawing)
        return capture.get()

    def folded(self, line: Text, columns: int) -> list[Text]:
        """A line on as many lines as it needs."""
        if line.cell_len <= columns:
            return [line]
        return list(line.wrap(self._console, max(columns, 1), overflow="fold", no_wrap=False))


def styled(text: str, style: str = "") -> Text:
    """Text of data as it may reach a terminal."""
    return Text(printable(text), style=style)


def packed(parts: Sequence[Text], columns: int, indent: int, extras: Sequence[Text] = ()) -> list[Text]:
    """Parts beside each other, on as few lines of `columns` as will do, those after the first indented.

    A part is never broken; the padding at its end may be. Extras follow only where they fit on the last
    line.
    """
    lines: list[Text] = []
    for part in parts:
        if lines and _fits(lines[-1], part, columns):
            lines[-1].append(GAP).append_text(part)
        else:
            lines.append(Text(" " * indent if lines else "").append_text(part))
    for extra in extras:
        if lines and _fits(lines[-1], extra, columns):
            lines[-1].append(GAP).append_text(extra)
    for line in lines:
        line.rstrip()
    return lines


def _fits(line: Text, part: Text, columns: int) -> bool:
    return line.cell_len + len(GAP) + cell_len(part.plain.rstrip()) <= columns


def cell_text(cell: Cell) -> Text:
    """A cell as wide as its column."""
    return Text(cell.padded(), style=cell.style)
