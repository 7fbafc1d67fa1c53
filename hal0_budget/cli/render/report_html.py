"""A report as one HTML page for browsers, printers and mails: no script, no external resource.

Mail programs ignore most of a style sheet, so the layout is made of tables and inline styles. The style
sheet only adds the dark, the narrow and the print variants. All text is escaped.
"""

from __future__ import annotations

import html
from decimal import Decimal

from hal0_budget.cli.answer import headline
from hal0_budget.cli.render.emit import printable
from hal0_budget.cli.render.report_chart import chart
from hal0_budget.cli.render.report_sentences import (
    Sheet,
    capped,
    forecast_words,
    groups_sheet,
    notices,
    pace_words,
    source_words,
    span_words,
    total_words,
    unconfirmed_words,
)
from hal0_budget.cli.render.shares import filled, level_of, percent_of, used_share
from hal0_budget.model.money import dollars
from hal0_budget.model.results import WindowState
from hal0_budget.model.windows import label
from hal0_budget.reporting.grouping import TIMES
from hal0_budget.reporting.report import PersonaReport, Report

_FONT = "font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
_TEXT = f"{_FONT};font-size:14px;line-height:20px;color:#1b1b19"
_SMALL = f"{_FONT};font-size:12px;line-height:18px;color:#5f5e58"
_NUMBER = "text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_RULE = "border-top:1px solid #e3e1da"
_TABLE = 'cellpadding="0" cellspacing="0" border="0"'
_LAYOUT = f'role="presentation" width="100%" {_TABLE}'

# Colours of a verdict: text, background.
_PILLS = {"allow": ("#1d5e34", "#e3f1e7"), "warn": ("#714500", "#fbeed3"), "block": ("#931a1a", "#fbe4e2")}
# Class and colour of a bar by its level.
_BARS = {"fine": ("bar", "#2f6f8f"), "near": ("near", "#b77a10"), "over": ("over", "#b3261e")}

_STYLE = """
body{margin:0}
@media (max-width:520px){
.card{padding:20px 16px!important}.wide{display:none!important}
.big{font-size:28px!important;line-height:34px!important}
}
@media (prefers-color-scheme:dark){
.page{background:#151513!important}.card{background:#1e1e1b!important;border-color:#34342f!important}
.ink{color:#ecece6!important}.dim{color:#a8a79e!important}.rule{border-color:#34342f!important}
.bar{background:#6fb3d2!important}.near{background:#e0b35c!important}.over{background:#ef8078!important}
.rest{background:#33332e!important}.cap{border-top-color:#ef8078!important}
.allow{color:#8fd6a6!important;background:#173322!important}
.warn{color:#f0cd8a!important;background:#3a2c10!important}
.block{color:#ffb3ad!important;background:#431a18!important}
}
@media print{
@page{margin:14mm}
.page,.card{background:#fff!important;border:0!important}.card{padding:0!important}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
tr,.keep{break-inside:avoid}h2{break-after:avoid}
}
"""


def html_text(report: Report) -> str:
    """The whole page."""
    title = f"Spend of {report.agent}, {span_words(report)}"
    parts = [
        _heading(report),
        *(_notice(text) for text in notices(report)),
        *(_persona(report, part) for part in report.personas),
        _groups(report),
        _footer(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body class="page" style="margin:0;padding:0;background:#f4f3ef">\n<table {_LAYOUT} class="page" '
        'bgcolor="#f4f3ef" style="background:#f4f3ef"><tr><td align="center" style="padding:24px 8px">\n'
        f'<table {_LAYOUT} style="max-width:720px"><tr><td class="card" bgcolor="#ffffff" align="left" '
        'style="background:#ffffff;border:1px solid #e3e1da;padding:32px 36px">\n'
        + "".join(parts)
        + "</td></tr></table>\n</td></tr></table>\n</body>\n</html>\n"
    )


def _heading(report: Report) -> str:
    words = source_words(report)
    known = (
        f'<p class="dim" style="{_SMALL};margin:4px 0 0">By cost source: {_safe(words)}</p>\n'
        if words
        else ""
    )
    usd, _, calls = total_words(report.total).partition(" in ")
    return (
        f'<h1 class="dim" style="{_SMALL};font-weight:600;margin:0">'
        f"Spend of agent {_safe(report.agent)}</h1>\n"
        f'<p class="ink big" style="{_FONT};font-size:34px;line-height:42px;font-weight:600;'
        f'letter-spacing:-0.5px;margin:6px 0 2px;color:#1b1b19;overflow-wrap:anywhere">{_safe(usd)}</p>\n'
        f'<p class="ink" style="{_TEXT};margin:0">{_safe(calls)}</p>\n'
        f'<p class="dim" style="{_SMALL};margin:4px 0 0">{_safe(span_words(report))}</p>\n{known}'
    )


def _notice(text: str) -> str:
    color, background = _PILLS["warn"]
    return (
        f'<p class="warn" style="{_TEXT};color:{color};background:{background};padding:8px 12px;'
        f'margin:16px 0 0;overflow-wrap:anywhere">{_safe(text)}</p>\n'
    )


def _persona(report: Report, part: PersonaReport) -> str:
    level, reason = part.verdict.level, part.verdict.reason
    color, background = _PILLS[level]
    about = headline(part.statement).partition(": ")[2]
    lines = [f"{about}; {total_words(part.total)}; {pace_words(part)}", forecast_words(part)]
    lines += [reason] if reason else []
    lines += [unconfirmed_words(part)]
    return (
        f'<h2 class="ink rule" style="{_TEXT};font-size:18px;line-height:24px;font-weight:600;'
        f'margin:28px 0 4px;padding-top:24px;{_RULE};overflow-wrap:anywhere">{_safe(part.persona)} '
        f'<span class="{level}" style="{_SMALL};font-weight:600;color:{color};background:{background};'
        f'padding:2px 8px;white-space:nowrap">{level}</span></h2>\n'
        + "".join(f'<p class="dim" style="{_SMALL};margin:0">{_safe(line)}</p>\n' for line in lines if line)
        + _caps(part)
        + chart(report, part)
    )


def _caps(part: PersonaReport) -> str:
    states = capped(part)
    if not states:
        return ""
    rows = "".join(_cap(state) for state in states)
    return (
        f'<table {_TABLE} width="100%" aria-label="Caps of {_safe(part.persona)}" style="margin:12px 0 0">\n'
        f"{rows}</table>\n"
    )


def _cap(state: WindowState) -> str:
    share = used_share(state) or Decimal(0)
    held = f", {dollars(state.held)} held" if state.held else ""
    words = f"{dollars(state.spent or Decimal(0))} of {dollars(state.cap or Decimal(0))} spent{held}"
    left = f"{dollars(state.remaining or Decimal(0))} remaining"
    return (
        f'<tr><th scope="row" align="left" width="76" class="ink" style="{_TEXT};font-weight:400;'
        f'text-align:left;vertical-align:top;padding:6px 12px 6px 0">{label(state.window)}</th>'
        f'<td style="padding:6px 0;vertical-align:top">{_bar(share)}'
        f'<p class="dim" style="{_SMALL};margin:2px 0 0">{words}; {left}</p></td>'
        f'<td width="52" class="ink" style="{_TEXT};{_NUMBER};vertical-align:top;padding:6px 0 6px 12px">'
        f"{percent_of(share)}</td></tr>\n"
    )


def _bar(share: Decimal) -> str:
    """A bar made of two table cells; the number is next to it."""
    kind, color = _BARS[level_of(share)]
    full = filled(share, 100)
    cells = [(full, kind, color), (100 - full, "rest", "#ecebe5")]
    return (
        f'<table {_LAYOUT} aria-hidden="true" style="margin:5px 0 0;table-layout:fixed"><tr>'
        + "".join(
            f'<td class="{name}" width="{percent}%" height="10" bgcolor="{tint}" '
            f'style="background:{tint};height:10px;font-size:0;line-height:0">&nbsp;</td>'
            for percent, name, tint in cells
            if percent
        )
        + "</tr></table>"
    )


def _groups(report: Report) -> str:
    words = ", ".join(report.by)
    heading = (
        f'<h2 class="ink rule" style="{_TEXT};font-size:18px;line-height:24px;font-weight:600;'
        f'margin:28px 0 8px;padding-top:24px;{_RULE}">By {words}</h2>\n'
    )
    if not report.groups:
        return heading + f'<p class="dim" style="{_SMALL};margin:0">Nothing was spent.</p>\n'
    sheet = groups_sheet(report)
    head = "".join(
        f'<th scope="col" {_place(sheet, place, "dim")};font-size:12px;color:#5f5e58">{name}</th>'
        for place, name in enumerate(sheet.columns)
    )
    longest = max((share for share in sheet.shares if share), default=Decimal(1))
    rows = "".join(
        _group(sheet, row, share, longest) for row, share in zip(sheet.rows, sheet.shares, strict=True)
    )
    return (
        f'{heading}<div style="overflow-x:auto"><table {_TABLE} width="100%" aria-label="By {words}" '
        f'class="ink" style="{_TEXT};font-variant-numeric:tabular-nums">\n'
        f'<thead><tr valign="top">{head}<td class="wide" width="72"></td></tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _group(sheet: Sheet, row: tuple[str, ...], share: Decimal | None, longest: Decimal) -> str:
    """A table row of a group; its bar is scaled to the largest share."""
    cells = []
    for place, cell in enumerate(row):
        tag, scope = ("th", ' scope="row"') if place == 0 else ("td", "")
        weight = "" if share is None else ";font-weight:400"
        text = _safe(cell) if weight or place == 0 else f"<b>{_safe(cell)}</b>"
        cells.append(f'<{tag}{scope} {_place(sheet, place, "rule")};{_RULE}{weight}">{text}</{tag}>')
    bar = ""
    if share:
        bar = (
            f'<table {_TABLE} width="{max(2, int(share / longest * 100))}%" aria-hidden="true" '
            'style="margin-top:6px"><tr><td class="bar" bgcolor="#2f6f8f" height="8" '
            'style="background:#2f6f8f;font-size:0;line-height:0">&nbsp;</td></tr></table>'
        )
    cells.append(f'<td class="wide rule" style="padding:5px 0 5px 12px;{_RULE}">{bar}</td>')
    return f'<tr valign="top">{"".join(cells)}</tr>\n'


def _place(sheet: Sheet, place: int, kind: str) -> str:
    """The attributes of a cell of that column; the text ends inside `style="`."""
    wide = " wide" if sheet.columns[place].endswith("tokens") else ""
    padding = f"padding:5px 0 5px {12 if place else 0}px"
    if place >= sheet.numbers_from:
        return f'class="{kind}{wide}" align="right" nowrap style="{padding}'
    if sheet.columns[place] in TIMES:
        return f'class="{kind}" align="left" nowrap style="{padding}'
    return f'class="{kind}" align="left" style="{padding};overflow-wrap:anywhere;min-width:104px'


def _footer(report: Report) -> str:
    words = (
        f"Made {report.made_at:%Y-%m-%dT%H:%MZ} by hal0-budget. Caps are the current ones, on UTC windows. "
        "The pace is the average spend a day since midnight seven days ago, or since the first recorded day."
    )
    return f'<p class="dim rule" style="{_SMALL};margin:28px 0 0;padding-top:12px;{_RULE}">{words}</p>\n'


def _safe(text: str) -> str:
    """`text` escaped for HTML, with control characters made visible."""
    return html.escape(printable(text))
