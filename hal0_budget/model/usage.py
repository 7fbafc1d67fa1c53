"""The usage of a persona's budget: what is spent and held, and how reliable these sums are."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from hal0_budget.errors import LedgerDamaged
from hal0_budget.model.money import ZERO, add
from hal0_budget.model.windows import Window


class Usage(NamedTuple):
    """How much of a budget is used at one instant: USD spent in each window, and USD in open holds.

    `unconfirmed` is the part of the lifetime spending that comes from expired holds. `damage` says why the
    sums as a whole are not reliable, if so; `problems` has a sentence for that and for each unreadable row.
    `persona` and `source`, the name of the ledger in messages, are used in these sentences. `position` is
    what the store needs to find the same rows again.
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
        """Whether the sums are not reliable: as a whole, or because a row is unreadable."""
        return bool(self.problems)

    def require_sound(self) -> None:
        """Raise LedgerDamaged if the sums are not reliable."""
        if not self.problems:
            return
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        raise LedgerDamaged(
            f"{self.problems[0]}{more}; to list and repair all problems: hal0-budget verify "
            f"{self.persona} --repair",
            path=self.source,
            problems=list(self.problems),
        )

    def require_whole(self) -> None:
        """Raise LedgerDamaged if the sums as a whole are not reliable; unreadable rows are accepted."""
        if self.damage is not None:
            self.require_sound()
