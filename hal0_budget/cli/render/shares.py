"""How much of a cap is used: as a fraction, a percentage, a level, and the full part of a bar."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hal0_budget.model.money import ZERO, add
from hal0_budget.model.results import WindowState

_NEARLY = Decimal("0.8")


def used_share(state: WindowState) -> Decimal | None:
    """The fraction of a cap that is spent or held, at least 0; None without a cap.

    Inexact: for bars and percentages only.
    """
    if state.cap is None or state.spent is None or state.held is None:
        return None
    used = max(ZERO, add(state.spent, state.held))
    return used / state.cap if state.cap else Decimal(1)


def percent_of(share: Decimal | None) -> str:
    """A fraction in whole percent, rounded down, so that 100% means used up; `-` for None."""
    return "-" if share is None else f"{int(share * 100)}%"


def level_of(share: Decimal) -> Literal["fine", "near", "over"]:
    """Whether a cap is used up, nearly used up, or neither."""
    return "over" if share >= 1 else "near" if share >= _NEARLY else "fine"


def filled(share: Decimal, cells: int) -> int:
    """How many cells of a bar are full: at least one if anything is used, at most all."""
    return min(cells, int(share * cells) + (0 < share * cells < 1))
