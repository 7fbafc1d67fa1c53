"""What may come next on a command line that is being typed, as the parser has it.

The parser's own completion is not used: it is asked for by environment variables, and whatever can
be asked for so could end a gate without a verdict.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import typer
import typer.core

from hal0_budget.cli.app import COMMANDS, app
from hal0_budget.cli.options import home_of


class Candidates(NamedTuple):
    """What the unfinished word may become: each word with what it is, or what the shell knows best."""

    kind: Literal["words", "files", "folders"]
    words: tuple[tuple[str, str], ...] = ()


def candidates(typed: Sequence[str]) -> Candidates:
    """What the last of the words typed after the program's name may become.

    Words may stand as the shell has them, in quotes and with a `~`; bash cuts `--root=DIR` into three.
    Raises AgentUnknown, UsageError, PermissionRefused where the personas cannot be told.
    """
    *before, last = typed or [""]
    line = _Line()
    for word in before:
        line.take(word)
    found = line.completed(last)
    return found._replace(words=tuple(pair for pair in found.words if pair[0].startswith(last)))


class _Line:
    """A command line that is being typed, as far as its finished words tell."""

    def __init__(self) -> None:
        self._program: Any = typer.main.get_command(app)
        self._is_literal = False
        self._awaiting: Any = None
        self._used: set[str] = set()
        self._given: dict[str, str] = {}
        self._enter(self._program)

    def take(self, word: str) -> None:
        """Read one more finished word."""
        if self._awaiting is not None:
            if word != "=":
                self._give(self._awaiting, word)
                self._awaiting = None
        elif self._is_literal or not word.startswith("-"):
            self._take_argument(word)
        elif word == "--":
            self._is_literal = True
        else:
            self._take_option(word)

    def completed(self, last: str) -> Candidates:
        """What the unfinished word may be, whatever there is of it."""
        if self._awaiting is not None:
            return self._values(self._awaiting)
        if not self._is_literal and last.startswith("-"):
            name, joined, _ = last.partition("=")
            if not joined:
                return Candidates("words", tuple(self._option_names()))
            option = self._options.get(name)
            return Candidates("words") if option is None else self._values(option, f"{name}=")
        if self._command is self._program:
            return Candidates("words", tuple(self._command_names()))
        return self._values(self._arguments[0]) if self._arguments else Candidates("words")

    def _enter(self, command: Any) -> None:
        self._command = command
        params = command.get_params(typer.Context(command, **command.context_settings))
        self._arguments = [found for found in params if isinstance(found, typer.core.TyperArgument)]
        self._options: dict[str, Any] = {
            name: found
            for found in params
            if isinstance(found, typer.core.TyperOption) and not found.hidden
            for name in (*found.opts, *found.secondary_opts)
        }

    def _take_argument(self, word: str) -> None:
        if self._command is self._program:
            command = self._program.get_command(None, word)
            if command is None:
                self._command, self._arguments, self._options = None, [], {}
            else:
                self._enter(command)
        elif self._arguments and self._arguments[0].nargs == 1:
            del self._arguments[0]

    def _take_option(self, word: str) -> None:
        name, joined, value = word.partition("=")
        option = self._options.get(name)
        if option is None:
            return
        self._used.add(option.name)
        if joined:
            self._give(option, value)
        elif not option.is_flag:
            self._awaiting = option

    def _give(self, option: Any, word: str) -> None:
        self._given[option.name] = _expanded(word)

    def _command_names(self) -> Iterator[tuple[str, str]]:
        for name in COMMANDS:
            help_text = self._program.get_command(None, name).help or ""
            yield name, help_text.partition("\n")[0]

    def _option_names(self) -> Iterator[tuple[str, str]]:
        for name, option in self._options.items():
            if option.multiple or option.name not in self._used:
                yield name, option.help or ""

    def _values(self, param: Any, before: str = "") -> Candidates:
        """What a parameter may be; `before` is what stands before it in the same word."""
        metavar = (param.metavar or "").strip("[].")
        if metavar.startswith(("FILE", "-- CMD")):
            return Candidates("files")
        if metavar == "DIR":
            return Candidates("folders")
        values: Iterable[str] = getattr(param.type, "choices", ())
        if metavar == "COMMAND":
            values = COMMANDS
        if metavar == "PERSONA":
            values = home_of(
                *(self._given.get(name) for name in ("root", "personas_dir", "agent"))
            ).persona_ids()
        return Candidates("words", tuple((f"{before}{value}", "") for value in values))


def _expanded(word: str) -> str:
    """The value that a shell would make of a word, where that needs no running of anything."""
    # Else it is unquoted already, or unfinished.
    with suppress(ValueError):
        (word,) = shlex.split(word)
    return os.path.expandvars(os.path.expanduser(word))
