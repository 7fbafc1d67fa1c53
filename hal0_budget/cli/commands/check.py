"""`check`: the gate before a paid call."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import amount_of, decision_body, decision_code, decision_line, perfdata
from hal0_budget.cli.options import (
    Context,
    InputTokens,
    Model,
    Output,
    OutputTokens,
    Persona,
    Prices,
    shared_options,
)
from hal0_budget.cli.render.emit import Result
from hal0_budget.errors import InvalidEstimate
from hal0_budget.model.results import Decision


def _set_format(ctx: typer.Context, value: Literal["text", "json", "nagios"]) -> str:
    if value != "text":
        ctx.ensure_object(Output).style = value
    return value


@shared_options()
def check(
    context: Context,
    persona: Persona,
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate",
            metavar="USD",
            help="Expected cost of the call. Without it: is any money left?",
        ),
    ] = None,
    warn_ok: Annotated[
        bool, typer.Option("--warn-ok", help="Exit with 0 instead of 10 on a warning.")
    ] = False,
    model: Model = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    prices: Prices = None,
    _answer_format: Annotated[
        Literal["text", "json", "nagios"],
        typer.Option(
            "--format", callback=_set_format, help="Text, JSON, or one line for a monitoring system."
        ),
    ] = "text",
) -> Result:
    """Ask whether a paid call may be made.

    Exit codes: 0 allow, 10 warn, 20 block, 64 and above: error, treat it as block. Changes neither the
    ledger nor the persona. Instead of an estimate, give a model and its token counts; then the answer
    also says how many output tokens still fit.
    """
    account = Account(context.home, persona)
    if (model, input_tokens, output_tokens, prices) == (None, None, None, None):
        usd = None if estimate is None else amount_of("--estimate", estimate, InvalidEstimate)
        return _answer(account.check(usd), warn_ok=warn_ok)
    from hal0_budget.cli.pricing import estimate_of

    expected = estimate_of(estimate, model, input_tokens, output_tokens, prices)
    decision = account.check(expected.usd)
    answer = _answer(decision, warn_ok=warn_ok)
    return answer._replace(
        data={**answer.data, **expected.body(decision.statement)}, notes=expected.note(decision.statement)
    )


def _answer(decision: Decision, *, warn_ok: bool) -> Result:
    return Result(
        data=decision_body(decision),
        lines=[decision_line(decision)],
        warnings=decision.statement.warnings,
        exit_code=decision_code(decision, warn_ok=warn_ok),
        perfdata=perfdata(decision),
    )
