"""What a persona has spent and what it holds, as a store found it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.errors import LedgerDamaged
from hal0_budget.model.money import ZERO, add
from hal0_budget.model.windows import Window


class Usage(NamedTuple):
    """What is used of a budget at one instant: USD spent in each window, and USD held by open holds.

    `unconfirmed` is the part of the lifetime's spending that expired holds were booked at. `damage` says why
    the sums as a whole cannot be relied on, and `problems` has a sentence for that and for each unreadable
    row. `persona` and `source`, the ledger as messages name it, are for those sentences. `position` is what
    the store needs to find the same rows again.
    """

    spent: Mapping[Window, Decimal]
    held: Decimal = ZERO
    unconfirmed: Decimal = ZERO
    damage: str | None = None
    problems: tuple[str, ...] = ()
    persona: str = ""
    source: str = ""
    position: object = None

    def of(self, window: Window) -> Decimal:
        """Return spent plus held in `window`, in USD; always 0 for the per-call cap."""
        return ZERO if window == "per_call" else add(self.spent[window], self.held)

    @property
    def is_damaged(self) -> bool:
        """Whether the sums cannot be relied on: as a whole, or because a row is unreadable."""
        return bool(self.problems)

    def require_sound(self) -> None:
        """Raise LedgerDamaged if the sums cannot be relied on."""
        if not self.problems:
            return
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        raise LedgerDamaged(
            f"{self.problems[0]}{more}; to see all and set it right: hal0-budget verify "
            f"{self.persona} --repair",
            path=self.source,
            problems=list(self.problems),
        )

    def require_whole(self) -> None:
        """Raise LedgerDamaged if the sums as a whole cannot be relied on; unreadable rows are let pass."""
        if self.damage is not None:
            self.require_sound()
