"""The page of `watch`: a block per persona, then the latest rows in the remaining lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.text import Text

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render.emit import printable, stdout_encoding, unconfirmed_line
from hal0_budget.cli.render.rows import cost_cell, notes, source_style
from hal0_budget.cli.render.shares import used_share
from hal0_budget.cli.terminal.table import bar, resets
from hal0_budget.cli.terminal.text import Canvas, packed, styled
from hal0_budget.model.money import add, dollars, total
from hal0_budget.model.records import Entry, Hold
from hal0_budget.model.results import Statement, WindowState
from hal0_budget.model.windows import label

if TYPE_CHECKING:
    from hal0_budget.cli.commands.watch import Watched

_INDENT = 2
_LABEL = 10
_HOLDS = 3
# A terminal of at least _HIGH lines keeps _FEED lines for the latest rows.
_FEED = 5
_HIGH = 16
# Minimum lines needed to start a persona's block.
_LEAST = 3
# Longer texts do not widen their column.
_WIDEST = 32


class Page:
    """Lays out the page for a terminal size; nothing is cut, and what does not fit is counted."""

    def __init__(self, columns: int, lines: int, *, color: bool) -> None:
        self._columns = columns
        self._lines = lines
        self._canvas = Canvas(stdout_encoding(), color=color)

    def drawn(
        self, agent: str, now: datetime, personas: Sequence[Watched], rows: Iterable[tuple[str, Entry]]
    ) -> list[str]:
        """The lines of the page."""
        rows = list(rows)
        widths = _Widths(personas, [entry for _, entry in rows])
        blocks = [self._fitted(self._block(persona, widths, now)) for persona in personas]
        feed = [self._fitted(self._row(name, entry, widths)) for name, entry in rows]
        header = self._header(agent, now)
        room = self._lines - len(header)
        for_feed = min(_FEED, 1 + sum(map(len, feed))) if feed and self._lines >= _HIGH else 0
        body = self._stacked(personas, blocks, room - for_feed)
        page = [*header, *body, *self._feed(feed, room - len(body))][: self._lines]
        return self._canvas.drawn(*page).split("\n")[: len(page)]

    def _header(self, agent: str, now: datetime) -> list[Text]:
        parts = [Text(f"agent {agent}", "bold"), Text(f"{now:%Y-%m-%d %H:%MZ}", "dim")]
        header = packed(parts, self._columns, 0, [Text("q quits", "dim")])
        return [*header, Text("")] if self._lines >= _HIGH else header

    def _stacked(self, personas: Sequence[Watched], blocks: list[list[Text]], room: int) -> list[Text]:
        """The blocks that fit, with blank lines between them if there is room, and a count of the others."""
        spaced = sum(len(block) + 1 for block in blocks) <= room
        page: list[Text] = []
        for number, block in enumerate(blocks):
            is_last = number + 1 == len(blocks)
            left = room - len(page) - (not is_last)
            if len(block) <= left:
                page += [*block, *[Text("")] * spaced]
            elif page or left < _LEAST:
                return page + self._left_out(personas[number:])
            else:
                rest = _note(f"{len(block) - left + 1} more lines", _INDENT)
                return [*block[: left - 1], rest, *self._left_out(personas[number + 1 :])]
        return page

    def _left_out(self, personas: Sequence[Watched]) -> list[Text]:
        if not personas:
            return []
        capped = sum(_is_at_a_cap(persona) for persona in personas)
        more = "1 more persona" if len(personas) == 1 else f"{len(personas)} more personas"
        return [_note(f"{more}, {capped} at a cap or damaged" if capped else more)]

    def _feed(self, feed: list[list[Text]], room: int) -> list[Text]:
        """The latest rows, newest last: as many as fit completely."""
        page: list[Text] = []
        for row in reversed(feed):
            if 1 + len(page) + len(row) > room:
                break
            page = row + page
        return [_note("latest charges"), *page] if page else []

    def _block(self, persona: Watched, widths: _Widths, now: datetime) -> list[Text]:
        statement = persona.statement
        if statement is None:
            return [styled(f"{persona.name}: cannot be read", "bold red"), styled(persona.error or "", "red")]
        block = [styled(headline(statement), "bold")]
        for state in statement.windows:
            if state.cap is not None:
                block += self._cap(state, widths)
        if not statement.budget.caps:
            today, ever = statement.of("daily"), statement.of("lifetime")
            text = f"  {'spent':<{_LABEL}}{_usd(today.spent)} today"
            block += packed([Text(text)], self._columns, _INDENT, [Text(f"{_usd(ever.spent)} ever")])
        for hold in persona.holds[:_HOLDS]:
            block += self._hold(hold, now)
        if more := persona.holds[_HOLDS:]:
            usd = dollars(total([hold.usd for hold in more]))
            block.append(_note(f"{len(more)} more hold{'s' * (len(more) > 1)}, {usd}", _INDENT))
        if statement.unconfirmed:
            block.append(Text(unconfirmed_line(statement), "yellow"))
        return block + _warnings(statement)

    def _cap(self, state: WindowState, widths: _Widths) -> list[Text]:
        name = Text(f"{'':<{_INDENT}}{label(state.window):<{_LABEL}}")
        if state.spent is None:
            return [name.append(f"cap {_usd(state.cap)}")]
        drawing = bar(self._canvas, state)
        used = Text(f"{_used(state):>{widths.used}} of {_usd(state.cap):<{widths.cap}}")
        extras = [Text(f"left {_usd(state.remaining):<{widths.left}}")]
        if state.resets_at:
            extras.append(Text(f"resets {resets(state)}", "dim"))
        return packed([name.append_text(drawing), used], self._columns, _INDENT + _LABEL, extras)

    def _hold(self, hold: Hold, now: datetime) -> list[Text]:
        parts = [Text(f"  {'hold':<{_LABEL}}{dollars(hold.usd)}"), styled(hold.hold_id, "dim")]
        left = Text(_time_left(hold.expires - now), "yellow" if hold.expires <= now else "")
        what = styled(f"{hold.surface} {hold.model}", "dim")
        return packed([*parts, left], self._columns, _INDENT + _LABEL, [what])

    def _row(self, name: str, entry: Entry, widths: _Widths) -> list[Text]:
        row, cost = entry.row, cost_cell(entry)
        parts = [
            Text(f"  {row.ts:%H:%M:%SZ}", "dim"),
            Text(cost.text.rjust(widths.cost), cost.style),
            Text(name.ljust(widths.name)),
            styled(f"{row.model:<{widths.model}}"),
        ]
        extras = [styled(f"{row.surface:<{widths.surface}}", "dim")]
        if widths.source:
            extras.append(styled(f"{row.cost_source or '':<{widths.source}}", source_style(row)))
        extras.append(styled(row.request_id, "dim"))
        extras += (Text(cell.text, cell.style) for cell in notes(entry))
        return packed(parts, self._columns, 2 * _INDENT, extras)

    def _fitted(self, lines: Iterable[Text]) -> list[Text]:
        """The lines, with those that are too long wrapped."""
        return [part for line in lines for part in self._canvas.folded(line, self._columns)]


class _Widths:
    """The widths of amounts and names, so that they are aligned across all personas."""

    def __init__(self, personas: Sequence[Watched], entries: Sequence[Entry]) -> None:
        statements = [persona.statement for persona in personas if persona.statement]
        states = [state for found in statements for state in found.windows if state.cap is not None]
        self.used = max((len(_used(state)) for state in states if state.spent is not None), default=0)
        self.cap = max((len(_usd(state.cap)) for state in states), default=0)
        self.left = max((len(_usd(state.remaining)) for state in states), default=0)
        self.name = max((len(persona.name) for persona in personas), default=0)
        self.cost = _most(dollars(entry.row.cost_usd) for entry in entries)
        self.model = _most(entry.row.model for entry in entries)
        self.source = _most(entry.row.cost_source or "" for entry in entries)
        self.surface = _most(entry.row.surface for entry in entries)


def _most(texts: Iterable[str]) -> int:
    """The length of the longest text, without those longer than _WIDEST."""
    return max((len(text) for text in texts if len(text) <= _WIDEST), default=0)


def _warnings(statement: Statement) -> list[Text]:
    if not statement.warnings:
        return []
    first, *others = statement.warnings
    more = f" (and {len(others)} more: hal0-budget verify {statement.persona})" if others else ""
    return [styled(f"  warning: {first}{more}", "yellow")]


def _is_at_a_cap(persona: Watched) -> bool:
    if persona.statement is None:
        return True
    return any((used_share(state) or 0) >= 1 for state in persona.statement.windows)


def _note(text: str, indent: int = 0) -> Text:
    return Text(" " * indent + printable(text), "dim italic")


def _used(state: WindowState) -> str:
    return _usd(None if state.spent is None or state.held is None else add(state.spent, state.held))


def _usd(amount: Decimal | None) -> str:
    return "-" if amount is None else dollars(amount)


def _time_left(left: timedelta) -> str:
    minutes, seconds = divmod(math.ceil(left.total_seconds()), 60)
    if left <= timedelta():
        return "expired"
    return f"expires in {minutes}m" if minutes else f"expires in {seconds}s"
