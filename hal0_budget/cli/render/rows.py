"""A ledger row as text or JSON: columns of fixed width first, columns of any width last."""

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
    """A part of a row that is never cut: its text, its style on a terminal, and the width of its column."""

    text: str
    style: str = ""
    width: int = 0

    def padded(self) -> str:
        """The text padded to the width of its column; amounts are right-aligned."""
        return self.text.rjust(self.width) if "$" in self.text else self.text.ljust(self.width)


def plain_line(entry: Entry) -> str:
    """A row as plain text: two spaces between columns, a dash for a missing value."""
    return "  ".join(cell.padded() or "-" for cell in cells(entry)).rstrip()


def cells(entry: Entry) -> list[Cell]:
    """The columns of a row: time, cost, cost source, surface, model, request id, and notes."""
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
    """The exact cost of a row."""
    cost = entry.row.cost_usd
    style = "red" if cost < 0 else "dim" if entry.is_voided else "bold"
    return Cell(dollars(cost), style, 10)


def source_style(row: Row) -> str:
    """The style of a row's cost source: an estimate stands out."""
    return "yellow" if row.cost_source in _DOUBTFUL else "dim"


def notes(entry: Entry) -> list[Cell]:
    """The notes on a row: its tokens, the row that it voids, and whether it is voided itself."""
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
    """The JSON keys of a row; those after `voided` only if the row has them."""
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
