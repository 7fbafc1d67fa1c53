"""A report as plain text, CSV, Markdown or JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hal0_budget.cli.answer import statement_body
from hal0_budget.cli.render.emit import error_body, printable
from hal0_budget.cli.render.report_sentences import (
    TOKEN_COLUMNS,
    Sheet,
    capped,
    caps_sheet,
    forecast_words,
    groups_sheet,
    notices,
    persona_words,
    source_words,
    span_words,
    total_words,
    verdict_words,
)
from hal0_budget.model.money import plain
from hal0_budget.model.sums import Sum
from hal0_budget.reporting.grouping import share_of
from hal0_budget.reporting.report import PersonaReport, Report

# Spreadsheets read a cell that begins with one of these as a formula; the last four are full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# Characters with a meaning in Markdown. Those of the first line become entities, because a backslash does
# not protect them everywhere: an escaped bar may still end a table cell.
_MARKDOWN = {
    **{ord(char): f"&#{ord(char)};" for char in "\\|<>&`"},
    **{ord(char): f"\\{char}" for char in "*_[]~#!"},
}


def plain_text(report: Report, encoding: str) -> str:
    """The report in columns: no colour, nothing cut, ASCII if `encoding` is not UTF-8."""
    lines = [
        f"agent {report.agent}, {span_words(report)}",
        f"total {total_words(report.total)}",
        *([f"  by cost source: {words}"] if (words := source_words(report)) else []),
    ]
    for part in report.personas:
        lines += ["", persona_words(part)]
        if part.verdict.level != "allow":
            lines.append(f"  {printable(verdict_words(part))}")
        if capped(part):
            lines += _columns(caps_sheet(part), encoding)
        if words := forecast_words(part):
            lines.append(f"  {words}")
    if report.groups:
        lines += ["", *_columns(groups_sheet(report), encoding)]
    return "".join(f"{line}\n" for line in lines)


def csv_text(report: Report) -> str:
    """The groups as CSV (RFC 4180): numbers are exact, and no cell is a formula."""
    import csv
    import io

    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([*report.by, "usd", "calls", "voids", "share", *TOKEN_COLUMNS])
    for group in report.groups:
        total = group.total
        share = "" if group.share is None else plain(group.share)
        texts = [_harmless(printable(key)) for key in group.keys]
        writer.writerow([*texts, plain(total.usd), total.calls, total.voids, share, *total.tokens])
    return file.getvalue()


def markdown_text(report: Report) -> str:
    """The report as Markdown; data is escaped and cannot become markup."""
    parts = [
        f"# Spend of {_marked(report.agent)}",
        f"{_marked(span_words(report))}: **{total_words(report.total)}**",
        *([f"By cost source: {words}."] if (words := source_words(report)) else []),
        *(f"- {_marked(printable(notice))}" for notice in notices(report)),
    ]
    for part in report.personas:
        parts += [f"## {_marked(part.persona)}", _marked(f"{persona_words(part)}; {verdict_words(part)}")]
        parts += [_marked_table(caps_sheet(part))] if capped(part) else []
        parts += [words] if (words := forecast_words(part)) else []
    if report.groups:
        parts += [f"## By {', '.join(report.by)}", _marked_table(groups_sheet(report))]
    return "\n\n".join(parts) + "\n"


def body(report: Report) -> dict[str, Any]:
    """The report as JSON data: text unchanged, amounts exact."""
    return {
        "agent": report.agent,
        "made_at": report.made_at,
        "since": report.span.first and report.span.first.isoformat(),
        "until": report.span.last and report.span.last.isoformat(),
        "timezone": report.zone,
        "by": report.by,
        "total": _sum(report.total),
        "sources": {
            name: {**_sum(part), "share": share_of(part.usd, report.total.usd)}
            for name, part in report.sources.items()
        },
        "groups": [
            {**dict(zip(report.by, group.keys, strict=True)), **_sum(group.total), "share": group.share}
            for group in report.groups
        ],
        "personas": [
            *(_persona(part) for part in report.personas),
            *({"persona_id": failure.persona, **error_body(failure.error)} for failure in report.failures),
        ],
    }


def _persona(part: PersonaReport) -> dict[str, Any]:
    return {
        **statement_body(part.statement),
        "verdict": part.verdict.level,
        "reason": part.verdict.reason,
        "total": _sum(part.total),
        "days": [{"day": day, "usd": usd} for day, usd in part.days.items()],
        "pace_usd_per_day": part.pace,
        "forecast": [{"window": window, "reached_at": at} for window, at in part.reached.items()],
    }


def _sum(total: Sum) -> Mapping[str, Decimal | int]:
    counts = dict(zip(TOKEN_COLUMNS, total.tokens, strict=True))
    return {"usd": total.usd, "calls": total.calls, "voids": total.voids, **counts}


def _columns(sheet: Sheet, encoding: str) -> list[str]:
    rows = [sheet.columns, *sheet.rows]
    if not encoding.lower().replace("-", "").startswith("utf8"):
        rows = [tuple(cell.encode("ascii", "backslashreplace").decode() for cell in row) for row in rows]
    last = len(sheet.columns) - 1
    widths = [max(width(row[place]) for row in rows) for place in range(last + 1)]
    return [
        "  "
        + "  ".join(_padded(row[place], widths[place], sheet, place) for place in range(last + 1)).rstrip()
        for row in rows
    ]


def width(text: str) -> int:
    """The width of a printable text in terminal columns."""
    if text.isascii():
        return len(text)
    marks = sum(unicodedata.category(char) in {"Mn", "Me"} for char in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(char) in {"W", "F"} for char in text)


def _padded(text: str, columns: int, sheet: Sheet, place: int) -> str:
    space = " " * (columns - width(text))
    return space + text if sheet.numbers_from <= place else text + space


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else text


def _marked(text: str) -> str:
    # URLs must not become links either.
    return text.translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")


def _marked_table(sheet: Sheet) -> str:
    rules = ["---:" if place >= sheet.numbers_from else "---" for place in range(len(sheet.columns))]
    rows = [sheet.columns, tuple(rules), *(tuple(map(_marked, row)) for row in sheet.rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
