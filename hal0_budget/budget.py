"""The caps of one persona: from a TOML table, checked, and to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from hal0_budget.money import checked_usd
from hal0_budget.windows import WINDOWS, Window

CAP_KEYS: Final[dict[Window, str]] = {
    "per_call": "per_call_max_usd",
    "hourly": "hourly_usd",
    "daily": "daily_usd",
    "weekly": "weekly_usd",
    "monthly": "monthly_usd",
    "lifetime": "lifetime_usd",
}
KEYS: Final[tuple[str, ...]] = (*CAP_KEYS.values(), "hard_cap", "warn_at")


class BudgetValueError(ValueError):
    """A value of the budget table that is not what its key needs; `key` names it."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key} {why}")
        self.key = key


class Budget(NamedTuple):
    """Caps in USD by window, where set; whether a breach blocks; the share that warns."""

    caps: Mapping[Window, Decimal]
    hard_cap: bool = True
    warn_at: Decimal | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Budget:
        """The budget that a parsed `[persona.budget]` table holds; unknown keys are ignored.

        Floats must have been parsed as Decimal. Raises BudgetValueError that names the key.
        """
        caps = {window: _cap(key, table[key]) for window, key in CAP_KEYS.items() if key in table}
        hard_cap = table.get("hard_cap", True)
        if not isinstance(hard_cap, bool):
            raise BudgetValueError("hard_cap", f"must be true or false, not {_kind(hard_cap)}")
        warn_at = _warn_at(table["warn_at"]) if "warn_at" in table else None
        return cls(caps, hard_cap, warn_at)

    def to_table(self) -> dict[str, Decimal | bool]:
        """The keys that are set, and `hard_cap`, as the TOML table and JSON name them."""
        table: dict[str, Decimal | bool] = {
            CAP_KEYS[window]: self.caps[window] for window in WINDOWS if window in self.caps
        }
        table["hard_cap"] = self.hard_cap
        if self.warn_at is not None:
            table["warn_at"] = self.warn_at
        return table


def near_misses(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Each unknown key that is probably a misspelt one of ours, with the key it resembles.

    A misspelt cap is no cap, so every command says it and `check` at least warns.
    """
    unknown = [key for key in table if key not in KEYS]
    if not unknown:
        return ()
    import difflib

    roots = {_root(key): key for key in KEYS}
    found = []
    for key in unknown:
        close = difflib.get_close_matches(_root(key), roots, n=1, cutoff=0.7)
        if close:
            found.append((key, roots[close[0]]))
    return tuple(found)


def _root(key: str) -> str:
    """What is left of a key without case, separators and unit: `Daily-USD` is `daily`."""
    letters = "".join(char for char in key.lower() if char.isalnum())
    return letters.removesuffix("usd")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a bool"
    if isinstance(value, str):
        return "a string"
    return f"a {type(value).__name__.lower()}"


def _number(key: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise BudgetValueError(key, f"must be a number, not {_kind(value)}")
    return Decimal(value)


def _cap(key: str, value: object) -> Decimal:
    number = _number(key, value)
    try:
        return checked_usd(number)
    except ValueError as error:
        raise BudgetValueError(key, f"must be a number from 0 to 1000000000: {error}") from None


def _warn_at(value: object) -> Decimal:
    share = _number("warn_at", value)
    try:
        if 0 < checked_usd(share) <= 1:
            return share
    except ValueError:
        pass
    raise BudgetValueError("warn_at", "must be a fraction above 0 and at most 1")
