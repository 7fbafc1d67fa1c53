"""The caps of one persona: parsed from a TOML table, validated, and converted to a table for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from hal0_budget.errors import InvalidBudget
from hal0_budget.model.money import checked_usd
from hal0_budget.model.windows import WINDOWS, Window

CAP_KEYS: Final[dict[Window, str]] = {
    "per_call": "per_call_max_usd",
    "hourly": "hourly_usd",
    "daily": "daily_usd",
    "weekly": "weekly_usd",
    "monthly": "monthly_usd",
    "lifetime": "lifetime_usd",
}
KEYS: Final[tuple[str, ...]] = (*CAP_KEYS.values(), "hard_cap", "warn_at")

# New values of keys of the budget table; None removes a key.
Changes = Mapping[str, Decimal | bool | None]

# Every key that `cap_words` recognises as a cap contains one of these, or a letter that is not ASCII.
_PARTS_OF_CAPS = (
    "usd", "dollar", "cent", "eur", "gbp", "pound", "$", "budget", "spen", "cost", "expense", "credit",
    "money", "bill", "cap", "limit", "max", "most", "ceiling", "quota", "allowance", "warn_at",
)  # fmt: skip


class BudgetValueError(ValueError):
    """A value of the budget table is not valid; `key` is its key."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key} {why}")
        self.key = key


class Budget(NamedTuple):
    """The caps that are set, in USD by window; whether a breach blocks; the share of a cap that warns."""

    caps: Mapping[Window, Decimal]
    hard_cap: bool = True
    warn_at: Decimal | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Budget:
        """Return the budget in a parsed `[persona.budget]` table; unknown keys are ignored.

        Floats must have been parsed as Decimal. Raises BudgetValueError with the key.
        """
        caps = {window: _cap(key, table[key]) for window, key in CAP_KEYS.items() if key in table}
        hard_cap = table.get("hard_cap", True)
        if not isinstance(hard_cap, bool):
            raise BudgetValueError("hard_cap", f"must be true or false, not {_kind(hard_cap)}")
        warn_at = _warn_at(table["warn_at"]) if "warn_at" in table else None
        return cls(caps, hard_cap, warn_at)

    def to_table(self) -> dict[str, Decimal | bool]:
        """Return the keys that are set, and `hard_cap`, with their names in TOML and JSON."""
        table: dict[str, Decimal | bool] = {
            CAP_KEYS[window]: self.caps[window] for window in WINDOWS if window in self.caps
        }
        table["hard_cap"] = self.hard_cap
        if self.warn_at is not None:
            table["warn_at"] = self.warn_at
        return table


def may_hold_lookalikes(document: Mapping[str, Any]) -> bool:
    """Return whether a parsed persona file may have a misspelt cap, or a cap in the wrong place.

    Looks at the names of the keys only. A False is certain; most files get it in a few microseconds.
    """
    persona = document["persona"]
    if any(key not in KEYS for key in persona.get("budget", ())):
        return True
    others = {key: value for key, value in persona.items() if key != "budget"}
    keys: list[str] = []
    waiting: list[object] = [others, {key: value for key, value in document.items() if key != "persona"}]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            keys += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return may_name_cap("\n".join(keys))


def may_name_cap(key: str) -> bool:
    """Return whether a key, or one of several in one text, may name a cap. A False is certain."""
    lower = key.lower()
    return not lower.isascii() or any(part in lower for part in _PARTS_OF_CAPS)


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


def checked_changes(changes: Changes, *, replace: bool) -> Changes:
    """Changes of a budget's keys, if a budget can hold them; `replace` also removes each key that they do not
    name.

    Raises InvalidBudget.
    """
    unknown = [key for key in changes if key not in KEYS]
    if unknown:
        raise InvalidBudget(f"{unknown[0]!r} is not a key of a budget; the keys are {', '.join(KEYS)}")
    try:
        Budget.from_table({key: value for key, value in changes.items() if value is not None})
    except BudgetValueError as error:
        raise InvalidBudget(str(error), key=error.key) from None
    return {**dict.fromkeys(KEYS), **changes} if replace else changes
