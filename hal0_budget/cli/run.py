"""`run`: reserve, run a command, charge, in one step."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import BLOCK, amount_of, decision_line
from hal0_budget.cli.options import Agent, LockWait, Persona, PersonasDir, Quiet, Root, Ttl, home_of, ttl_of
from hal0_budget.cli.render import Result, complain
from hal0_budget.errors import BudgetError, InvalidEstimate
from hal0_budget.money import dollars, parse_usd
from hal0_budget.runner import CostFile, NotStarted, run_child
from hal0_budget.store.holds import Hold
from hal0_budget.store.lock import DEFAULT_TIMEOUT


def run(
    persona: Persona,
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD...", help="The command to run.", show_default=False)
    ],
    estimate: Annotated[
        str,
        typer.Option(
            "--estimate", metavar="USD", help="What the call is expected to cost.", show_default=False
        ),
    ],
    cost_file: Annotated[
        str | None,
        typer.Option("--cost-file", metavar="FILE", help="A file the command writes its cost in USD into."),
    ] = None,
    surface: Annotated[str, typer.Option("--surface", metavar="NAME", help="The paid service.")] = "cli",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model.")] = "unknown",
    ttl: Ttl = "15m",
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    quiet: Quiet = False,
) -> Result:
    """Reserve, run a command, and charge what it did cost.

    The command has our streams, and its exit code is passed on. It is never started when the estimate is
    blocked (20) or cannot be judged (64 and above). Without a cost file, or a number in it, the estimate
    is booked and marked as estimated.
    """
    account = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout)
    usd = amount_of("--estimate", estimate, InvalidEstimate)
    costs = CostFile(Path(cost_file)) if cost_file else None
    decision, hold = account.reserve(usd, ttl=ttl_of(ttl), surface=surface, model=model)
    if hold is None:
        return Result(
            {}, notes=[decision_line(decision)], warnings=decision.statement.warnings, exit_code=BLOCK
        )
    if decision.verdict.level == "warn" and not quiet:
        complain(decision_line(decision))
    try:
        code = run_child(command)
    except NotStarted as error:
        account.release(hold.hold_id)
        return Result({}, errors=[str(error)], exit_code=error.exit_code)
    return _settled(account, hold, costs, code)


def _settled(account: Account, hold: Hold, costs: CostFile | None, code: int) -> Result:
    """Settle the hold of a command that ended in `code`; the result of the whole."""
    cost, doubt = _cost(hold, costs)
    source = None if cost is not None else "estimated"
    try:
        receipt = account.charge(
            hold.usd if cost is None else cost,
            model=hold.model,
            surface=hold.surface,
            hold_id=hold.hold_id,
            cost_source=source,
        )
    except BudgetError as error:
        when = f"it is booked at {dollars(hold.usd)} at {_clock(hold.expires)} unless it is settled by then"
        message = f"hold {hold.hold_id} is not settled: {error.message}; {when}"
        return Result({}, errors=[message], exit_code=code or error.exit_code)
    notes = [
        f"charged {dollars(receipt.row.cost_usd)} to {account.persona}: request {receipt.row.request_id}"
    ]
    if receipt.overrun is not None:
        notes.append(f"overrun: the call did cost {dollars(receipt.overrun)} more than was held")
    return Result({}, notes=notes, errors=doubt, exit_code=code)


def _cost(hold: Hold, costs: CostFile | None) -> tuple[Decimal | None, list[str]]:
    """What the command says that it did cost, None where it does not; and what to say then."""
    if costs is None:
        return None, []
    text = costs.text()
    try:
        if text is None:
            raise ValueError("the command wrote no cost")
        return parse_usd(text), []
    except ValueError as error:
        message = f"{costs.path}: {error}; the estimate of {dollars(hold.usd)} is booked"
        return None, [message]


def _clock(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
