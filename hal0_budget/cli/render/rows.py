"""How a row of the ledger reads: columns of a fixed width first, what may be of any width behind them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from hal0_budget.cli.render.emit import printable
from hal0_budget.model.money import dollars
from hal0_budget.model.records import Entry, Row

_DOUBTFUL = ("estimated", "unconfirmed")
_MORE = (
    *("cost_source", "hold_id", "voids", "reason", "price"),
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
)


class Cell(NamedTuple):
    """A part of a row that is never cut: its text, the style a terminal gives it, the width of its column."""

    text: str
    style: str = ""
    width: int = 0

    def padded(self) -> str:
        """The text as wide as its column; amounts stand to the right."""
        return self.text.rjust(self.width) if "$" in self.text else self.text.ljust(self.width)


def plain_line(entry: Entry) -> str:
    """A row as a pipe gets it: two spaces between columns, a dash for what is not there."""
    return "  ".join(cell.padded() or "-" for cell in cells(entry)).rstrip()


def cells(entry: Entry) -> list[Cell]:
    """The columns of a row: time, cost, how it is known, surface, model, request id, and notes."""
    row = entry.row
    return [
        Cell(f"{row.ts:%Y-%m-%dT%H:%M:%SZ}", "dim", 20),
        cost_cell(entry),
        Cell(printable(row.cost_source or "-"), source_style(row), 11),
        Cell(printable(row.surface), "", 10),
        Cell(printable(row.model), "", 28),
        Cell(printable(row.request_id), "dim"),
        *notes(entry),
    ]


def cost_cell(entry: Entry) -> Cell:
    """What a row did cost, exactly."""
    cost = entry.row.cost_usd
    style = "red" if cost < 0 else "dim" if entry.is_voided else "bold"
    return Cell(dollars(cost), style, 10)


def source_style(row: Row) -> str:
    """How a row's source looks: one that nobody reported is to be seen."""
    return "yellow" if row.cost_source in _DOUBTFUL else "dim"


def notes(entry: Entry) -> list[Cell]:
    """What else is to be said of a row: its tokens, what it takes back, that it was taken back."""
    row = entry.row
    counts = (
        (row.input_tokens, "in"),
        (row.cache_read_tokens, "cached"),
        (row.cache_write_tokens, "cache written"),
        (row.output_tokens, "out"),
    )
    tokens = ", ".join(f"{count} {what}" for count, what in counts if count is not None)
    found = [Cell(tokens, "dim")] if tokens else []
    if row.voids is not None:
        why = f": {row.reason}" if row.reason else ""
        found.append(Cell(printable(f"voids {row.voids}{why}"), "red"))
    return [*found, Cell("voided", "red")] if entry.is_voided else found


def row_body(entry: Entry) -> dict[str, Any]:
    """The keys of a row in JSON; those after `voided` only where the row has them."""
    row = entry.row
    body: dict[str, Decimal | Any] = {
        "ts": row.ts,
        "surface": row.surface,
        "model": row.model,
        "cost_usd": row.cost_usd,
        "request_id": row.request_id,
        "voided": entry.is_voided,
    }
    return body | {key: value for key in _MORE if (value := getattr(row, key)) is not None}
