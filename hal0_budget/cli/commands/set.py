"""`set`: changes the caps of a persona."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.cli.answer import statement_body
from hal0_budget.cli.caps import (
    Daily,
    HardCap,
    Hourly,
    Lifetime,
    Monthly,
    PerCall,
    WarnAt,
    Weekly,
    changes_of,
)
from hal0_budget.cli.options import Context, LockWait, Persona, shared_options
from hal0_budget.cli.render.emit import Result
from hal0_budget.errors import UsageError
from hal0_budget.model.money import plain
from hal0_budget.model.receipts import Revision
from hal0_budget.model.windows import Window
from hal0_budget.stores import DEFAULT_TIMEOUT


@shared_options()
def set(  # noqa: A001, the command's name
    context: Context,
    persona: Persona,
    per_call: PerCall = None,
    hourly: Hourly = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    lifetime: Lifetime = None,
    hard_cap: HardCap = None,
    warn_at: WarnAt = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove every cap and setting that is not given here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change and write nothing.")] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
) -> Result:
    """Change the caps of a persona.

    Changes only what the options name, in the budget table of the persona's file; `none` removes a cap
    or setting.
    """
    caps: dict[Window, str | None] = {
        "per_call": per_call, "hourly": hourly, "daily": daily, "weekly": weekly, "monthly": monthly,
        "lifetime": lifetime,
    }  # fmt: skip
    changes = changes_of(caps, hard_cap, warn_at)
    if not changes and not replace:
        raise UsageError("nothing to set: add a cap such as --daily 5, or --hard-cap, --warn-only, --warn-at")
    account = Account(context.home, persona, lock_timeout=lock_timeout)
    revision = account.set_budget(changes, replace=replace, dry_run=dry_run)
    return Result(
        data=_body(persona, revision, dry_run=dry_run),
        lines=_lines(persona, revision, dry_run=dry_run),
        warnings=revision.warnings,
    )


def _body(persona: str, revision: Revision, *, dry_run: bool) -> dict[str, object]:
    if revision.statement is not None:
        body = statement_body(revision.statement)
    else:
        body = {
            "persona_id": persona,
            "budget": revision.budget.to_table(),
            **dict.fromkeys(("spend", "remaining", "windows", "unconfirmed_usd")),
            "warnings": revision.warnings,
        }
    changes = [{"key": key, "from": old, "to": new} for key, (old, new) in revision.changes.items()]
    return {**body, "changes": changes, "written": bool(changes) and not dry_run}


def _lines(persona: str, revision: Revision, *, dry_run: bool) -> list[str]:
    if not revision.changes:
        return [f"{persona}: nothing to change"]
    verb = "would change" if dry_run else "changed"
    return [
        f"{persona}: {verb} {key}: {_text(key, old)} -> {_text(key, new)}"
        for key, (old, new) in revision.changes.items()
    ]


def _text(key: str, value: object) -> str:
    if value is None:
        return "default (true)" if key == "hard_cap" else "none"
    if isinstance(value, Decimal):
        return plain(value)
    return str(value).lower()
