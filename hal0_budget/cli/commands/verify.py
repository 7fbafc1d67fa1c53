"""`verify`: checks every row, file and id, and repairs what it can on request."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hal0_budget.cli.answer import ALLOW, WARN
from hal0_budget.cli.options import Context, LockWait, shared_options, suggest
from hal0_budget.cli.render.emit import Result
from hal0_budget.clock import utc_now
from hal0_budget.errors import LedgerDamaged
from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.base import Audit
from hal0_budget.stores.open import open_store


@shared_options()
def verify(
    context: Context,
    persona: Annotated[
        str | None,
        typer.Argument(
            metavar="[PERSONA]",
            autocompletion=suggest("personas"),
            help="The persona's id. Default: every persona of the agent.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Quarantine unreadable lines and rebuild derived files."),
    ] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Check every row, file and id, and report what is wrong.

    Exit codes: 0 clean, 10 findings that do not block, 65 damage. Changes nothing without --repair, which
    deletes nothing: unreadable lines are kept in a file next to the ledger.
    """
    store = open_store(context.home)
    audits: list[Audit] = []
    done: list[str] = []
    for name in store.personas() if persona is None else (persona,):
        done += store.repair(name, utc_now(), lock_timeout) if repair else []
        audits.append(store.verify(name, utc_now()))
    findings = [finding for found in audits for finding in found.findings]
    damaged = any(found.is_damaged for found in audits)
    return Result(
        data={"personas": [_body(found) for found in audits], "repaired": done},
        lines=[
            *(f"repaired: {what}" for what in done),
            *(f"{finding.severity}: {finding.text()}" for finding in findings),
            *(f"{found.persona}: {_summary(found)}" for found in audits),
        ],
        exit_code=LedgerDamaged.exit_code if damaged else WARN if findings else ALLOW,
    )


def _summary(found: Audit) -> str:
    state = "damaged" if found.is_damaged else "ok" if not found.findings else "ok, with notices"
    return f"{state}; {found.rows} rows on {found.lines} lines"


def _body(found: Audit) -> dict[str, Any]:
    return {
        "persona_id": found.persona,
        "damaged": found.is_damaged,
        "lines": found.lines,
        "rows": found.rows,
        "findings": [
            {
                "severity": finding.severity,
                "file": finding.path,
                "line": finding.line,
                "byte": finding.byte,
                "what": finding.what,
            }
            for finding in found.findings
        ],
    }
