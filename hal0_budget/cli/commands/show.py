"""`show`: shows caps, what is spent, held and remaining of each, and when it resets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import statement_body
from hal0_budget.cli.options import ColorWhen, Context, shared_options, suggest
from hal0_budget.cli.render.emit import Result, error_body
from hal0_budget.errors import BudgetError
from hal0_budget.model.results import Statement


@shared_options()
def show(
    context: Context,
    persona: Annotated[
        str | None,
        typer.Argument(
            metavar="[PERSONA]",
            autocompletion=suggest("personas"),
            help="The persona's id. Default: every persona of the agent.",
        ),
    ] = None,
    _color: ColorWhen = "auto",
) -> Result:
    """Show caps and how much of them is used.

    Amounts are in USD, times in UTC.
    """
    home = context.home
    if persona is not None:
        statement = Account(home, persona).show()
        return Result(statement_body(statement), statements=[statement], warnings=statement.warnings)
    statements: list[Statement] = []
    bodies: list[dict[str, Any]] = []
    warnings: list[str] = []
    errors: list[str] = []
    code = 0
    for name in home.persona_ids():
        try:
            statement = Account(home, name).show()
        except BudgetError as error:
            bodies.append({"persona_id": name, **error_body(error)})
            errors.append(error.message)
            code = max(code, error.exit_code)
        else:
            statements.append(statement)
            bodies.append(statement_body(statement))
            warnings.extend(statement.warnings)
    return Result(
        {"agent": home.agent, "personas": bodies},
        statements=statements,
        errors=errors,
        warnings=warnings,
        exit_code=code,
    )
