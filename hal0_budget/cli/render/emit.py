"""The renderer: prints a result or an error as text, JSON or a monitoring line."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from hal0_budget.cli.answer import ALLOW, BLOCK, WARN, headline
from hal0_budget.cli.options import Output
from hal0_budget.errors import BudgetError, WriteFailed
from hal0_budget.model.money import dollars, plain
from hal0_budget.model.results import Statement
from hal0_budget.model.windows import label

if TYPE_CHECKING:
    from hal0_budget.cli.terminal.screen import View
    from hal0_budget.model.records import Entry

_NAGIOS = {ALLOW: (0, "OK"), WARN: (1, "WARNING"), BLOCK: (2, "CRITICAL")}
_NAGIOS_UNKNOWN = (3, "UNKNOWN")

# Seconds without progress after which a write to a full non-blocking pipe fails.
_WRITE_TIMEOUT = 5.0


class Result(NamedTuple):
    """The result of a command: `data` for JSON; lines, statements and rows for text; an exit code.

    `notes`, `warnings` and `errors` go to stderr; --quiet suppresses all but errors. `perfdata` is used
    by `--format nagios` only. `document` renders a whole page; its argument is whether to use colour.
    `more` are further results, each printed before the next is computed. `view` is shown on the terminal
    until the user quits it.
    """

    data: Mapping[str, Any]
    lines: Sequence[str] = ()
    statements: Sequence[Statement] = ()
    notes: Sequence[str] = ()
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    exit_code: int = 0
    perfdata: Sequence[str] = ()
    document: Callable[[bool], str] | None = None
    rows: Sequence[Entry] = ()
    more: Iterable[Result] = ()
    view: View | None = None


def emit(result: Result, output: Output) -> int:
    """Print a result in the style of `output`, then those in `more`. Returns the exit code.

    Raises WriteFailed if the answer could not be delivered.
    """
    if result.view is not None:
        from hal0_budget.cli.terminal.screen import play

        return play(result.view, color=_is_for_a_person(output))
    code = _emit_one(result, output)
    try:
        for part in result.more:
            _emit_one(part, output)
            if not output.quiet:
                _require_reader()
    except WriteFailed as error:
        # The reader of a stream closed the pipe. The exit code says so; no message is needed.
        if not isinstance(error.__cause__, BrokenPipeError):
            raise
        return error.exit_code
    return code


def _emit_one(result: Result, output: Output) -> int:
    for error in result.errors:
        complain(f"hal0-budget: {error}")
    if not output.quiet:
        for line in (*result.notes, *(f"warning: {warning}" for warning in result.warnings)):
            complain(line)
    if output.style == "nagios":
        code, word = _NAGIOS.get(result.exit_code, _NAGIOS_UNKNOWN)
        deliver(_nagios_line(word, " ".join(result.lines), result.perfdata))
        return code
    if output.quiet:
        return result.exit_code
    if output.style == "json" and result.data:
        deliver(json_text(result.data) + "\n")
        return result.exit_code
    text = "".join(printable(line) + "\n" for line in result.lines)
    if result.statements:
        text += _statements(result.statements, output)
    if result.document is not None:
        text += result.document(_is_for_a_person(output))
    if result.rows:
        text += _rows(result.rows, output)
    deliver(text)
    return result.exit_code


def emit_error(error: BudgetError, output: Output) -> int:
    """Print an error in the style of `output`. Returns the exit code; never raises an OSError."""
    code = error.exit_code
    if output.style == "nagios":
        code, word = _NAGIOS_UNKNOWN
        text = _nagios_line(word, error.message, ())
    else:
        complain(f"hal0-budget: {error.message}")
        if output.style != "json":
            return code
        text = json_text(error_body(error)) + "\n"
    with suppress(WriteFailed):
        deliver(text)
    return code


def error_body(error: BudgetError) -> dict[str, Any]:
    """The JSON `error` object of a failure."""
    return {"error": {"code": error.code, "message": error.message, "details": error.details}}


def stdout_encoding() -> str:
    """The encoding of stdout; ASCII if stdout is closed."""
    return "ascii" if sys.stdout is None else sys.stdout.encoding


def deliver(text: str) -> None:
    """Write all of `text` to stdout. Raises WriteFailed."""
    _write(sys.stdout, text)


def complain(message: str) -> None:
    """Print a line on stderr; ignored if stderr cannot be written to."""
    with suppress(WriteFailed):
        _write(sys.stderr, printable(message) + "\n")


def printable(text: str) -> str:
    """Escape every character that could move the cursor, reorder or hide text, or end the line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def json_text(value: Any) -> str:
    """Encode `value` as ASCII JSON: decimals exact and without exponent, times as RFC 3339."""
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return f'"{value.isoformat()}"'
        case Mapping():
            return (
                "{" + ", ".join(f"{json.dumps(key)}: {json_text(item)}" for key, item in value.items()) + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(json_text(item) for item in value) + "]"
        case _:
            return json.dumps(value)


def _statements(statements: Sequence[Statement], output: Output) -> str:
    if _is_for_a_person(output):
        from hal0_budget.cli.terminal import table

        return table.drawn_statements(statements, stdout_encoding())
    return "\n".join(_plain_table(statement) for statement in statements)


def _rows(entries: Sequence[Entry], output: Output) -> str:
    if _is_for_a_person(output):
        from hal0_budget.cli.terminal import table

        return table.drawn_rows(entries, stdout_encoding())
    from hal0_budget.cli.render.rows import plain_line

    return "".join(f"{plain_line(entry)}\n" for entry in entries)


def _is_for_a_person(output: Output) -> bool:
    if output.color != "auto":
        return output.color == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def _plain_table(statement: Statement) -> str:
    rows: list[tuple[str, ...]] = [("window", "cap", "spent", "held", "remaining", "resets at")]
    for state in statement.windows:
        amounts = (state.cap, state.spent, state.held, state.remaining)
        resets = state.resets_at.strftime("%Y-%m-%dT%H:%MZ") if state.resets_at else "-"
        rows.append((label(state.window), *("-" if usd is None else dollars(usd) for usd in amounts), resets))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [headline(statement)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 5)), row[5]]
        lines.append("  " + "  ".join(cells))
    if statement.unconfirmed:
        lines.append(unconfirmed_line(statement))
    return "\n".join(lines) + "\n"


def unconfirmed_line(statement: Statement) -> str:
    """How much of the spending was booked for holds that expired without an actual cost."""
    return f"  unconfirmed: {dollars(statement.unconfirmed)} of it, booked for expired holds"


def _nagios_line(word: str, text: str, perfdata: Sequence[str]) -> str:
    line = f"BUDGET {word} - {printable(text).replace('|', '/')}"
    return f"{line} | {' '.join(perfdata)}\n" if perfdata else f"{line}\n"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _require_reader() -> None:
    """Raise WriteFailed if the other end of stdout (a pipe or a terminal) is closed. Writes nothing."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if poll.poll(0):
        raise WriteFailed("the reader closed the pipe") from BrokenPipeError()


def _write(stream: TextIO | None, text: str) -> None:
    """Write immediately, so that a failure can still change the exit code. Raises WriteFailed."""
    if stream is None:
        raise WriteFailed("the output is closed; the answer was not delivered")
    try:
        write_all(stream.fileno(), text.encode(stream.encoding, "backslashreplace"))
    except (OSError, ValueError) as error:
        raise WriteFailed(f"the answer could not be written: {error}") from error


def write_all(fd: int, data: bytes) -> None:
    """Write every byte of `data`. Raises OSError.

    Python's own streams are not used: with PYTHONUNBUFFERED they silently drop the rest of a short write.
    """
    left = memoryview(data)
    deadline = None
    while left:
        try:
            left = left[os.write(fd, left) :]
            deadline = None
        except BlockingIOError:
            deadline = deadline or time.monotonic() + _WRITE_TIMEOUT
            _wait_writable(fd, deadline)


def _wait_writable(fd: int, deadline: float) -> None:
    """Wait until a non-blocking file accepts more. Raises TimeoutError at `deadline` (monotonic seconds)."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(remaining * 1000):
        raise TimeoutError(f"the reader read nothing for {_WRITE_TIMEOUT:g} s")
