"""The chart of daily spend against the daily cap, made of table cells so that mail programs show it."""

from __future__ import annotations

import html
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from hal0_budget.model.money import ZERO, dollars
from hal0_budget.reporting.report import PersonaReport, Report

_A_DAY = timedelta(days=1)
_DAYS = 31
_HEIGHT = 96
# A cap more than this many times the highest day is not drawn: the days would be too small to see.
_FAR = 4
# Up to this many days, each has a label; with more, each Monday that has room for one.
_LABELLED = 10
_ROOM = 2
_FONT = "font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
_SMALL = f"{_FONT};font-size:12px;line-height:18px;color:#5f5e58"
_TABLE = 'cellpadding="0" cellspacing="0" border="0" width="100%"'


class Chart(NamedTuple):
    """The days to draw, oldest first, with their spend in USD, and the daily cap if there is one."""

    days: tuple[tuple[date, Decimal], ...]
    cap: Decimal | None

    @property
    def highest(self) -> tuple[date, Decimal]:
        """The first of the days with the most spend, and its spend."""
        return max(self.days, key=lambda day: day[1])

    @property
    def shows_cap(self) -> bool:
        """Whether the cap is low enough to be drawn as a line."""
        return self.cap is not None and 0 < self.cap <= _FAR * self.highest[1]


def chart_of(report: Report, part: PersonaReport) -> Chart | None:
    """The last days of the span, at most 31; None if nothing was spent on them."""
    spent = {date.fromisoformat(day): usd for day, usd in part.days.items()}
    last = min(report.span.last or report.today, report.today)
    begin = report.span.first or min(spent, default=last)
    first = date.fromordinal(max(begin.toordinal(), last.toordinal() - _DAYS + 1))
    if first > last:
        return None
    days = tuple(
        (day, max(ZERO, spent.get(day, ZERO)))
        for day in (first + number * _A_DAY for number in range((last - first).days + 1))
    )
    found = Chart(days, part.statement.budget.caps.get("daily"))
    return found if found.highest[1] else None


def chart(report: Report, part: PersonaReport) -> str:
    """The chart of one persona as HTML, with a description in words; empty if nothing was spent."""
    found = chart_of(report, part)
    if found is None:
        return ""
    words = words_of(found)
    top = max(found.highest[1], found.cap or ZERO) if found.shows_cap else found.highest[1]
    below = round(_HEIGHT * found.cap / top) if found.shows_cap and found.cap else _HEIGHT
    heights = [_pixels(usd, top) for _, usd in found.days]
    rows = _row([min(height, below) for height in heights], below, "bar", "#2f6f8f", found)
    if found.shows_cap:
        over = [max(0, height - below) for height in heights]
        rows = _row(over, _HEIGHT - below, "over", "#b3261e", found) + rows
    return (
        f'<div class="keep" style="margin:16px 0 0"><table {_TABLE} role="img" aria-label="'
        f'{html.escape(f"Spend a day of {part.persona}. {words}")}" style="table-layout:fixed">\n'
        f"{rows}{_labels(found)}</table>\n"
        f'<p class="dim" style="{_SMALL};margin:4px 0 0">{words}</p></div>\n'
    )


def words_of(found: Chart) -> str:
    """A description of the chart, for readers who cannot see it."""
    day, usd = found.highest
    words = f"Spend a day, {found.days[0][0]} to {found.days[-1][0]}: the highest is {dollars(usd)} on {day}"
    if found.cap is None:
        return f"{words}; there is no daily cap."
    over = sum(usd > found.cap for _, usd in found.days)
    above = f"{over} of {len(found.days)} days above" if over else "no day above"
    line = ", the dashed line" if found.shows_cap else ""
    return f"{words}; {above} the daily cap of {dollars(found.cap)}{line}."


def _pixels(usd: Decimal, top: Decimal) -> int:
    """The height of a bar; at least 2 if anything was spent."""
    return max(2, round(_HEIGHT * usd / top)) if usd else 0


def _row(heights: list[int], room: int, kind: str, color: str, found: Chart) -> str:
    """A table row with a bar per day, aligned to the bottom; in the `bar` row the top border is the cap."""
    is_own = kind == "bar"
    line = "border-top:1px dashed #b3261e;" if is_own and found.shows_cap else ""
    floor = "border-bottom:1px solid #bdbbb2;" if is_own else ""
    cells = []
    for (day, usd), height in zip(found.days, heights, strict=True):
        bar = (
            f'<table role="presentation" {_TABLE}><tr><td class="{kind}" bgcolor="{color}" height="{height}" '
            f'style="background:{color};height:{height}px;font-size:0;line-height:0">&nbsp;</td></tr></table>'
        )
        cells.append(
            f'<td class="{"cap" if line else "day"}" valign="bottom" height="{room}" '
            f'title="{day}: {dollars(usd)}" style="height:{room}px;vertical-align:bottom;padding:0 1px;'
            f'font-size:0;line-height:0;{line}{floor}">{bar if height else ""}</td>'
        )
    return f"<tr>{''.join(cells)}</tr>\n"


def _labels(found: Chart) -> str:
    """The labels below the bars: every day if they are few, else every Monday."""
    days = [day for day, _ in found.days]
    starts = [
        place for place, day in enumerate(days) if len(days) <= _LABELLED or day.weekday() == 0 or place == 0
    ]
    cells = "".join(
        f'<td colspan="{end - start}" class="dim" style="{_SMALL};font-size:11px;padding:2px 1px 0;'
        f'white-space:nowrap;overflow:hidden">{_label(days, start, end)}</td>'
        for start, end in pairwise([*starts, len(days)])
    )
    return f"<tr>{cells}</tr>\n"


def _label(days: list[date], start: int, end: int) -> str:
    """The day as a label, or an empty text if there is no room."""
    has_room = len(days) <= _LABELLED or end - start > _ROOM
    return days[start].strftime("%m-%d") if has_room else ""
