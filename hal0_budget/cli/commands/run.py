"""`run`: reserves, runs a command and charges its cost in one step."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hal0_budget.account import UNKNOWN, Account
from hal0_budget.cli.answer import BLOCK, decision_body, decision_line
from hal0_budget.cli.options import (
    FILES,
    Context,
    InputTokens,
    LockWait,
    Model,
    OutputTokens,
    Persona,
    Prices,
    Ttl,
    shared_options,
    suggest,
    ttl_of,
)
from hal0_budget.cli.pricing import estimate_of
from hal0_budget.cli.process.runner import Copy, CostFile, NotStarted, run_child
from hal0_budget.cli.render.emit import Result, complain
from hal0_budget.cli.response import prices_of
from hal0_budget.clock import utc_now
from hal0_budget.errors import BudgetError, InvalidReply, ProviderError, UsageError, WriteFailed
from hal0_budget.model.charge import Charge
from hal0_budget.model.money import dollars, parse_usd
from hal0_budget.model.records import Hold
from hal0_budget.providers.costing import Fallback, charge_of
from hal0_budget.providers.response_stream import MAX_RESPONSE, read_response
from hal0_budget.stores import DEFAULT_TIMEOUT


@shared_options()
def run(
    context: Context,
    persona: Persona,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- CMD...", autocompletion=suggest(FILES), help="The command to run.", show_default=False
        ),
    ],
    estimate: Annotated[
        str | None,
        typer.Option("--estimate", metavar="USD", help="Expected cost of the call."),
    ] = None,
    model: Model = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    prices: Prices = None,
    cost_file: Annotated[
        str | None,
        typer.Option(
            "--cost-file",
            metavar="FILE",
            autocompletion=suggest(FILES),
            help="File that the command writes its cost in USD to.",
        ),
    ] = None,
    from_stdout: Annotated[
        bool,
        typer.Option("--from-stdout", help="Read the actual cost from the response that the command prints."),
    ] = False,
    surface: Annotated[str, typer.Option("--surface", metavar="NAME", help="The paid service.")] = "cli",
    ttl: Ttl = "15m",
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Reserve, run a command, and charge its actual cost.

    The command inherits stdin, stdout and stderr, and its exit code is passed on. It is not started if
    the estimate is blocked (20) or cannot be judged (64 and above); only then does --json print an
    answer, because stdout belongs to the command. With --from-stdout its output is passed on unchanged
    and is read as the provider's response. If no actual cost is found, the estimate is booked and marked
    as estimated; if the provider answered with an error, the hold is released.
    """
    if from_stdout and cost_file is not None:
        raise UsageError(
            "--from-stdout and --cost-file both name the source of the actual cost; leave one out"
        )
    account = Account(context.home, persona, lock_timeout=lock_timeout)
    # With --from-stdout and --estimate, the prices are for the response only.
    for_estimate = None if from_stdout and estimate is not None else prices
    expected = estimate_of(estimate, model, input_tokens, output_tokens, for_estimate)
    costs = CostFile(Path(cost_file)) if cost_file else None
    copy = Copy(MAX_RESPONSE) if from_stdout else None
    decision, hold = account.reserve(expected.usd, ttl=ttl_of(ttl), surface=surface, model=model or UNKNOWN)
    if hold is None:
        return Result(
            {**decision_body(decision), **expected.body(decision.statement)},
            notes=[decision_line(decision), *expected.note(decision.statement)],
            warnings=decision.statement.warnings,
            exit_code=BLOCK,
        )
    if decision.verdict.level == "warn" and not context.quiet:
        complain(decision_line(decision))
    try:
        code = run_child(command, copy)
    except NotStarted as error:
        account.release(hold.hold_id)
        return Result({}, errors=[str(error)], exit_code=error.exit_code)
    try:
        if copy is not None:
            fallback = Fallback(estimate=hold.usd, price=expected.basis)
            charge, doubt = _from_response(hold, copy.kept(), prices, model, fallback)
        else:
            charge, doubt = _from_file(hold, costs, expected.basis)
    except ProviderError as error:
        return _release(account, hold, error.message, _exit_code(copy, code))
    return _settle(account, hold, charge, doubt, _exit_code(copy, code))


def _exit_code(copy: Copy | None, code: int) -> int:
    """The exit code of a command that exited with `code`: not 0 if its output did not reach our stdout."""
    if copy is None or copy.failure is None or code != 0:
        return code
    complain(f"hal0-budget: the output of the command could not be passed on: {copy.failure.strerror}")
    return WriteFailed.exit_code


def _release(account: Account, hold: Hold, why: str, code: int) -> Result:
    """Release the hold of a command that exited with `code`. Returns the result of `run`."""
    try:
        account.release(hold.hold_id)
    except BudgetError as error:
        message = f"{why}; hold {hold.hold_id} was not released: {error.message}"
        return Result({}, errors=[message], exit_code=code or error.exit_code)
    return Result({}, notes=[f"{why}; the hold is released"], exit_code=code)


def _settle(account: Account, hold: Hold, charge: Charge, doubt: list[str], code: int) -> Result:
    """Settle the hold of a command that exited with `code`. Returns the result of `run`."""
    try:
        (receipt,) = account.charge_all((charge._replace(surface=hold.surface, hold_id=hold.hold_id),))
    except BudgetError as error:
        when = f"unless it is settled, {dollars(hold.usd)} will be booked at {_clock(hold.expires)}"
        message = f"hold {hold.hold_id} is not settled: {error.message}; {when}"
        return Result({}, errors=[message], exit_code=code or error.exit_code)
    notes = [
        f"charged {dollars(receipt.row.cost_usd)} to {account.persona}: request {receipt.row.request_id}"
    ]
    if receipt.overrun is not None:
        notes.append(f"overrun: the call cost {dollars(receipt.overrun)} more than was held")
    return Result({}, notes=notes, errors=doubt, exit_code=code)


def _from_file(hold: Hold, costs: CostFile | None, price: str | None) -> tuple[Charge, list[str]]:
    """The charge from the cost file, else from the estimate (priced at `price`); and what went wrong."""
    estimated = Charge(hold.usd, hold.model, cost_source="estimated", price=price)
    if costs is None:
        return estimated, []
    text = costs.text()
    try:
        if text is None:
            raise ValueError("the command wrote no cost")
        return Charge(parse_usd(text), hold.model), []
    except ValueError as error:
        return estimated, [f"{costs.path}: {error}; the estimate of {dollars(hold.usd)} is booked"]


def _from_response(
    hold: Hold, data: bytes, prices: str | None, model: str | None, fallback: Fallback
) -> tuple[Charge, list[str]]:
    """The charge from the response `data`, else from the estimate; and what went wrong.

    Raises ProviderError.
    """
    try:
        charge, why = charge_of(read_response(data), lambda: prices_of(prices), utc_now(), model, fallback)
    except InvalidReply as error:
        charge = Charge(hold.usd, hold.model, cost_source="estimated", price=fallback.price)
        why = f"{error.message}; the estimate is booked"
    return charge, [] if why is None else [f"stdout: {why}"]


def _clock(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
