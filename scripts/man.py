"""The manual page, of what stands elsewhere already: in the parser, and in tables of the docs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

import hal0_budget
from hal0_budget.cli.app import COMMANDS, PROGRAM, app

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / f"{PROGRAM}.1"

# The day that the page's shape was last changed.
DATE = "2026-11-23"

# Where bold begins and ends, until everything else was escaped.
_BOLD, _ROMAN = "\x02", "\x03"
_ROFF = str.maketrans(
    {
        "\\": r"\e",
        "-": r"\-",
        "'": r"\(aq",
        "`": r"\(ga",
        "^": r"\(ha",
        "~": r"\(ti",
        _BOLD: r"\fB",
        _ROMAN: r"\fR",
    }
)
_WIDTH = 66


def page() -> str:
    """The whole page, in roff."""
    readme, exit_codes, files, shell = (
        (PROJECT / name).read_text()
        for name in ("README.md", "docs/exit-codes.md", "docs/files.md", "docs/shell.md")
    )
    program = typer.main.get_command(app)
    context = typer.Context(program, **program.context_settings)
    title = f'.TH {PROGRAM.upper()} 1 {DATE} "{PROGRAM} {hal0_budget.__version__}" "User Commands"'
    lines = [
        *(title, ".SH NAME", *text(f"{PROGRAM} - {_summary(program)}")),
        *(".SH SYNOPSIS", *text(f"{_BOLD}{PROGRAM}{_ROMAN} [OPTIONS] COMMAND [ARGS]...")),
        *(".SH DESCRIPTION", *paragraphs(_between(readme, "\n\n", "\n## "))),
        *(".SH OPTIONS", "These may stand before the command or after it.", *parameters(program, context)),
        *(".SH COMMANDS", *(line for name in COMMANDS for line in command(program, context, name))),
        *(".SH EXIT STATUS", *tagged(_table(exit_codes, "| code |"), 1)),
        *(".PP", "In full:", *tagged(_table(exit_codes, "| exit |"), 2)),
        *(".SH ENVIRONMENT", *tagged(_table(shell, "| variable |"), 1)),
        *(".SH FILES", *literal(_between(files, "```\n", "```"))),
        *(".SH EXAMPLES", *literal(_between(readme, "```bash\n", "```"))),
        *(".SH SEE ALSO", ".BR jq (1),", ".BR crontab (5),", ".BR sysexits.h (3head)"),
    ]
    return "\n".join(lines) + "\n"


def command(program: Any, above: typer.Context, name: str) -> Iterator[str]:
    """The part of one command."""
    found = program.get_command(above, name)
    context = typer.Context(found, info_name=name, parent=above, **found.context_settings)
    common = {option for param in program.get_params(above) for option in param.opts}
    yield f".SS {name.translate(_ROFF)}"
    yield from text(" ".join((f"{_BOLD}{PROGRAM} {name}{_ROMAN}", *found.collect_usage_pieces(context))))
    yield ".PP"
    yield from paragraphs(found.help)
    yield from parameters(found, context, common)
    # The longest name: those of --help come in any order.
    also = [max(param.opts, key=len) for param in found.get_params(context) if common & {*param.opts}]
    yield ".PP"
    yield from text(f"Also {', '.join(also)}.")


def parameters(found: Any, context: typer.Context, common: Iterable[str] = ()) -> Iterator[str]:
    """Arguments and options of a command but for the `common` ones, as `--help` tells of them."""
    for param in found.get_params(context):
        record = param.get_help_record(context)
        if record and not {*param.opts} & {*common}:
            yield from (".TP", *text(f"{_BOLD}{record[0]}{_ROMAN}"), *text(record[1].replace("  [", " [")))


def tagged(rows: Iterable[list[str]], tags: int) -> Iterator[str]:
    """Rows of a table: the first `tags` columns, and what the next says of them."""
    for row in rows:
        tag = " ".join(_plain(cell) for cell in row[:tags] if cell)
        yield from (".TP", *text(f"{_BOLD}{tag}{_ROMAN}"), *text(_marked(row[tags])))


def paragraphs(source: str) -> Iterator[str]:
    """Paragraphs of text with blank lines between them."""
    for number, part in enumerate(re.split(r"\n\s*\n", source.strip())):
        if number:
            yield ".PP"
        yield from text(_marked(part))


def text(source: str) -> list[str]:
    """Running text as lines of roff."""
    wrapped = textwrap.wrap(source, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_escaped(line) for line in wrapped]


def literal(source: str) -> list[str]:
    """Text that is to stand line by line as it is."""
    return [".EX", *(_escaped(line) for line in source.splitlines()), ".EE"]


def _escaped(line: str) -> str:
    return (r"\&" if line.startswith((".", "'")) else "") + line.translate(_ROFF)


def _marked(source: str) -> str:
    """Markdown without its links, what is code in bold."""
    source = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", source)
    return re.sub(r"`([^`]+)`", rf"{_BOLD}\1{_ROMAN}", source)


def _plain(cell: str) -> str:
    return cell.replace("`", "")


def _summary(program: Any) -> str:
    first: str = program.help.partition(":")[0]
    return first[0].lower() + first[1:]


def _between(source: str, start: str, end: str) -> str:
    return source.partition(start)[2].partition(end)[0]


def _table(source: str, head: str) -> Iterator[list[str]]:
    """The rows of the table that begins with `head`."""
    lines = source[source.index(head) :].splitlines()
    for line in lines[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]
