"""The parser: the list of commands, and the options that may come before a command."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

import hal0_budget
from hal0_budget.cli.options import Output, parameter, shared_parameters
from hal0_budget.cli.render.emit import Result, deliver
from hal0_budget.errors import UsageError

PROGRAM = "hal0-budget"

# The scripts in `cli/shells` set this variable to ask for completion.
COMPLETION = "_HAL0_BUDGET_COMPLETE"

# A command's name is the name of its module and of the function in it. A module is imported when its
# command is used, so that `check` does not pay for the others.
COMMANDS = (
    *("init", "show", "set", "check", "charge", "reserve", "release", "run", "void"),
    *("log", "watch", "report", "simulate", "verify", "completion", "help"),
)

# Scripts act on the exit code of these commands: 0 is a verdict, or means that something is recorded. A
# script may pass a persona id such as `-h`, so `--help` of these commands exits with 64.
GATES = frozenset({"check", "reserve", "charge", "run", "release", "void", "set", "verify"})

_SETTINGS = {"help_option_names": ["-h", "--help"]}

# The key under which the parser's context keeps all arguments.
_ARGUMENTS = "hal0_budget.arguments"


class Command(typer.core.TyperCommand):
    """One command."""

    def get_help_option(self, ctx: Any) -> Any:
        """The `--help` option; for a gate it exits with 64."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
            if self.name in GATES:
                option.help = "Show this message and exit with 64."
        return option


class Commands(typer.core.TyperGroup):
    """The group of commands; each is imported when it is used."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments up to the command, and save all of them."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        """The `--help` option of the program; it must be the only argument."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002, the parser's signature
        """The names of all commands, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002, as above
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hal0_budget.cli.commands.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_SETTINGS)
        single.command(cmd_name, cls=Command)(getattr(module, cmd_name))
        return typer.main.get_command(single)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the command in `args[0]`. Raises UsageError, which suggests the nearest name."""
        if args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
            raise UsageError(f"no such command {args[0]!r}; {advice}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
    epilog="Exit codes: 0 allow or done, 10 warn, 20 block, 64 and above: error, treat it as block.",
)


def _show_help(ctx: Any, _param: object, value: bool) -> None:
    """Print the help of a command or of the program.

    Raises UsageError if `--help` must be the only argument and is not.
    """
    if not value or ctx.resilient_parsing:
        return
    is_program = ctx.parent is None
    is_gate = ctx.info_name in GATES
    if (is_program or is_gate) and len(ctx.meta[_ARGUMENTS]) > (1 if is_program else 2):
        name = "COMMAND" if is_program else ctx.info_name
        raise UsageError(
            f"--help must be the only argument; nothing was done. For help: {PROGRAM} help {name}"
        )
    deliver(ctx.get_help() + "\n")
    raise typer.Exit(UsageError.exit_code if is_gate else 0)


def _show_version(ctx: typer.Context, value: bool) -> None:
    if not value:
        return
    if len(ctx.meta[_ARGUMENTS]) > 1:
        raise UsageError(f"--version must be the only argument; nothing was done. Run: {PROGRAM} --version")
    deliver(f"{PROGRAM} {hal0_budget.__version__}\n")
    raise typer.Exit


def program(ctx: typer.Context, **_options: object) -> None:
    """Spending caps for the personas of an agent: checked before every paid call, charged after it."""
    given = {name: value for name, value in ctx.params.items() if value not in (None, False)}
    ctx.default_map = dict.fromkeys(COMMANDS, given)


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
]
program.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [parameter("ctx", typer.Context), *shared_parameters(), parameter("version", Version, False)]
)
app.callback()(program)


def invoke(argv: Sequence[str], output: Output) -> Result | int:
    """Run the command line. Returns its result, or the exit code of `--help` and `--version`.

    Without arguments, a shell may ask for completion.

    Raises BudgetError, and typer.TyperException if the arguments do not parse. The parser's own `main`
    is not used: it reads environment variables and catches closed pipes, with its own exit codes.
    """
    command = typer.main.get_command(app)
    # Only without arguments: a variable in the environment must not make a gate exit with 0.
    if not argv and COMPLETION in os.environ:
        from hal0_budget.cli.completion import completed

        return completed(command)
    try:
        with command.make_context(PROGRAM, list(argv), obj=output) as ctx:
            result = command.invoke(ctx)
    except typer.Exit as end:
        return end.exit_code
    if not isinstance(result, Result):
        raise TypeError(f"a command returned {type(result).__name__}")
    return result
