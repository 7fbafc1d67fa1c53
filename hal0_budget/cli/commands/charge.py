"""`charge`: records a paid call."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import amount_of, statement_body
from hal0_budget.cli.options import FILES, Context, LockWait, Persona, Prices, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.errors import BudgetError, InvalidCharge, InvalidEstimate, UsageError
from hal0_budget.model.charge import Charge
from hal0_budget.model.money import dollars, total
from hal0_budget.model.receipts import Receipt
from hal0_budget.stores import DEFAULT_TIMEOUT

_MORE = (
    "cost_source", "hold_id", "price",
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens",
)  # fmt: skip


@shared_options()
def charge(
    context: Context,
    persona: Persona,
    cost: Annotated[
        str | None, typer.Option("--cost", metavar="USD", help="Actual cost of the call.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model called.")] = None,
    from_response: Annotated[
        str | None,
        typer.Option(
            "--from-response",
            metavar="FILE|-",
            autocompletion=suggest(FILES),
            help="Read id, model, tokens and cost from a provider's response.",
        ),
    ] = None,
    headers: Annotated[
        str | None,
        typer.Option(
            "--headers",
            metavar="FILE",
            autocompletion=suggest(FILES),
            help="Headers of the response; some proxies put the cost there.",
        ),
    ] = None,
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate", metavar="USD", help="Amount to book if the response does not state its cost."
        ),
    ] = None,
    prices: Prices = None,
    surface: Annotated[
        str, typer.Option("--surface", metavar="NAME", help="The paid service called.")
    ] = "cli",
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="The provider's id of the call. Default: a new id."),
    ] = None,
    hold: Annotated[
        str | None,
        typer.Option(
            "--hold", metavar="ID", autocompletion=suggest("holds"), help="The hold that this charge settles."
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="FILE|-",
            autocompletion=suggest(FILES),
            help="Record a file of charges (JSON lines) instead.",
        ),
    ] = None,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Record the actual cost of a call.

    Exit code 0 means that the row is on the disk. Needs --cost and --model, or --from-response, or
    --batch. If a response states its cost, that is charged; else its tokens are priced; else --cost or
    --estimate is booked. An unknown price never counts as zero. Repeating a request id with the same
    facts records nothing new. The charge is recorded even if the persona is malformed or the ledger is
    damaged; stderr says what is wrong.
    """
    account = Account(context.home, persona, lock_timeout=lock_timeout)
    if batch is not None:
        others = (cost, model, request_id, hold, from_response, headers, estimate, prices)
        if any(option is not None for option in others):
            raise UsageError("--batch must be the only charge: the file names each call and its cost")
        from hal0_budget.cli.commands.batch import read_batch
        from hal0_budget.cli.terminal.progress import tracked

        charges = read_batch(batch, persona)
        return _recorded_all(account, account.charge_all(tracked(charges, "charging")))
    actual = None if cost is None else amount_of("--cost", cost, InvalidCharge)
    if from_response is not None:
        from hal0_budget.cli.response import charge_from

        fallback = None if estimate is None else amount_of("--estimate", estimate, InvalidEstimate)
        read, why = charge_from(from_response, headers, prices, model, (actual, fallback))
        known = read.request_id if request_id is None else request_id
        given = read._replace(surface=surface, request_id=known, hold_id=hold)
        return _recorded(account, given, why)
    if (headers, estimate, prices) != (None, None, None):
        raise UsageError("--headers, --estimate and --prices need --from-response")
    if actual is None or model is None:
        raise UsageError(
            f"charge needs {'--cost' if actual is None else '--model'}, --from-response or --batch"
        )
    return _recorded(account, Charge(actual, model, surface, request_id, hold_id=hold), None)


def _recorded(account: Account, charge: Charge, why: str | None) -> Result:
    """Record a charge; `why` says why its cost is not the one that the response states."""
    (receipt,) = account.charge_all((charge,))
    row = receipt.row
    body, warnings, errors = _after(account)
    verb = "already recorded:" if receipt.was_recorded else "charged"
    notes = [] if why is None else [why]
    if receipt.overrun is not None:
        notes.append(f"overrun: the call cost {dollars(receipt.overrun)} more than was held")
    if receipt.problem is not None:
        notes.append(f"warning: {receipt.problem}")
    return Result(
        data={
            **body,
            "recorded": True,
            "was_recorded": receipt.was_recorded,
            "overrun_usd": receipt.overrun,
            "row": {
                "ts": row.ts,
                "surface": row.surface,
                "model": row.model,
                "cost_usd": row.cost_usd,
                "request_id": row.request_id,
                **{key: value for key in _MORE if (value := getattr(row, key)) is not None},
            },
        },
        lines=[f"{verb} {dollars(row.cost_usd)} to {account.persona}: request {row.request_id}"],
        notes=notes,
        warnings=warnings,
        errors=errors,
    )


def _recorded_all(account: Account, receipts: tuple[Receipt, ...]) -> Result:
    body, warnings, errors = _after(account)
    new = [receipt.row.cost_usd for receipt in receipts if not receipt.was_recorded]
    known = len(receipts) - len(new)
    return Result(
        data={**body, "recorded": True, "charges": len(new), "were_recorded": known, "cost_usd": total(new)},
        lines=[
            f"charged {dollars(total(new))} to {account.persona}: {len(new)} calls"
            + (f", {known} more were already recorded" if known else "")
        ],
        warnings=warnings,
        errors=errors,
    )


def _after(account: Account) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """The account after the charge: JSON keys, warnings, and errors if it cannot be read.

    A failure here does not undo the charge.
    """
    try:
        statement = account.show()
    except BudgetError as error:
        problem = f"the charge is recorded, but the account cannot be read: {error.message}"
        unknown = dict.fromkeys(("budget", "spend", "remaining", "windows", "unconfirmed_usd"))
        return {"persona_id": account.persona, **unknown, "warnings": [problem]}, (), (problem,)
    return statement_body(statement), statement.warnings, ()
