"""`set`: change the caps of a persona."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from hal0_budget.account import Account
from hal0_budget.budget import CAP_KEYS
from hal0_budget.cli.answer import statement_body
from hal0_budget.cli.options import Agent, AsJson, LockWait, Persona, PersonasDir, Quiet, Root, home_of
from hal0_budget.cli.render import Result
from hal0_budget.errors import InvalidBudget, UsageError
from hal0_budget.money import parse_usd, plain
from hal0_budget.results import Revision
from hal0_budget.store.lock import DEFAULT_TIMEOUT


def _cap_option(option: str, what: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        option, metavar="USD|none", help=f"Cap on {what}.", show_default=False
    )
    return info


def set(  # noqa: A001, the command's name
    persona: Persona,
    per_call: Annotated[str | None, _cap_option("--per-call", "one call")] = None,
    hourly: Annotated[str | None, _cap_option("--hourly", "each hour")] = None,
    daily: Annotated[str | None, _cap_option("--daily", "each day")] = None,
    weekly: Annotated[str | None, _cap_option("--weekly", "each ISO week")] = None,
    monthly: Annotated[str | None, _cap_option("--monthly", "each calendar month")] = None,
    lifetime: Annotated[str | None, _cap_option("--lifetime", "all time")] = None,
    hard_cap: Annotated[
        bool | None,
        typer.Option("--hard-cap/--warn-only", help="A breach blocks, or only warns.", show_default=False),
    ] = None,
    warn_at: Annotated[
        str | None,
        typer.Option("--warn-at", metavar="SHARE|none", help="Warn from this share of a cap, as 0.8."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove every cap and setting that is not named.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change and write nothing.")] = False,
    lock_timeout: LockWait = DEFAULT_TIMEOUT,
    root: Root = None,
    personas_dir: PersonasDir = None,
    agent: Agent = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> Result:
    """Change the caps of a persona.

    Changes those that are named, in the budget table of the persona's file and nowhere else; `none`
    removes one.
    """
    given = {
        CAP_KEYS["per_call"]: ("--per-call", per_call),
        CAP_KEYS["hourly"]: ("--hourly", hourly),
        CAP_KEYS["daily"]: ("--daily", daily),
        CAP_KEYS["weekly"]: ("--weekly", weekly),
        CAP_KEYS["monthly"]: ("--monthly", monthly),
        CAP_KEYS["lifetime"]: ("--lifetime", lifetime),
        "warn_at": ("--warn-at", warn_at),
    }
    changes: dict[str, Decimal | bool | None] = {
        key: _amount(option, text) for key, (option, text) in given.items() if text is not None
    }
    if hard_cap is not None:
        changes["hard_cap"] = hard_cap
    if not changes and not replace:
        raise UsageError("nothing to set: name a cap, as in --daily 5, or --hard-cap, --warn-only, --warn-at")
    account = Account(home_of(root, personas_dir, agent), persona, lock_timeout=lock_timeout)
    revision = account.set_budget(changes, replace=replace, dry_run=dry_run)
    return Result(
        data=_body(persona, revision, dry_run=dry_run),
        lines=_lines(persona, revision, dry_run=dry_run),
        warnings=revision.warnings,
    )


def _amount(option: str, text: str) -> Decimal | None:
    if text == "none":
        return None
    try:
        return parse_usd(text)
    except ValueError as error:
        raise InvalidBudget(f"{option} {text!r} is neither an amount nor none: {error}") from None


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
        f"{persona}: {verb} {key}: {_text(old)} -> {_text(new)}"
        for key, (old, new) in revision.changes.items()
    ]


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, Decimal):
        return plain(value)
    return str(value).lower()
