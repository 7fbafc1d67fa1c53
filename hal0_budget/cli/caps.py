"""The options that set caps, and the budget changes they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import typer

from hal0_budget.errors import InvalidBudget
from hal0_budget.model.budget import CAP_KEYS
from hal0_budget.model.money import parse_usd
from hal0_budget.model.windows import Window, label


def _cap_option(option: str, what: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        option, metavar="USD|none", help=f"Cap on {what}.", show_default=False
    )
    return info


PerCall = Annotated[str | None, _cap_option("--per-call", "one call")]
Hourly = Annotated[str | None, _cap_option("--hourly", "each hour")]
Daily = Annotated[str | None, _cap_option("--daily", "each day")]
Weekly = Annotated[str | None, _cap_option("--weekly", "each ISO week")]
Monthly = Annotated[str | None, _cap_option("--monthly", "each calendar month")]
Lifetime = Annotated[str | None, _cap_option("--lifetime", "all time")]
HardCap = Annotated[
    bool | None,
    typer.Option(
        "--hard-cap/--warn-only", help="Block calls over a cap, or only warn about them.", show_default=False
    ),
]
WarnAt = Annotated[
    str | None,
    typer.Option("--warn-at", metavar="SHARE|none", help="Warn from this share of a cap, such as 0.8."),
]


def changes_of(
    caps: Mapping[Window, str | None], hard_cap: bool | None, warn_at: str | None
) -> dict[str, Decimal | bool | None]:
    """Map the options to changes of the budget table; the value None removes a key. Raises InvalidBudget."""
    changes: dict[str, Decimal | bool | None] = {
        CAP_KEYS[window]: _amount(f"--{label(window)}", text)
        for window, text in caps.items()
        if text is not None
    }
    if warn_at is not None:
        changes["warn_at"] = _amount("--warn-at", warn_at)
    if hard_cap is not None:
        changes["hard_cap"] = hard_cap
    return changes


def _amount(option: str, text: str) -> Decimal | None:
    if text == "none":
        return None
    try:
        return parse_usd(text)
    except ValueError as error:
        raise InvalidBudget(f"{option} {text!r} is not an amount: {error}; `none` removes it") from None
