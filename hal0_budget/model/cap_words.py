"""Recognises keys that name a cap on money, and finds the key of a budget that was meant."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from hal0_budget.model.budget import CAP_KEYS, KEYS
from hal0_budget.model.windows import Window

# Only this many characters of a key are examined; no name of a cap is longer.
_LONGEST = 64
_SHORTEST_PLURAL = 4


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CURRENCY = _words("usd usdc dollar dollars cent cents eur euro euros gbp pound pounds $ € £ ¥ ¢")
_SPENDING = _words("spend spending spent cost costs expense expenses credit credits money bill billing")
_BUDGET = _words("budget budgets")
_BOUND = _words("cap caps capped limit limits max maximum most ceiling ceilings quota quotas allowance")
# A plural such as `hours` is a duration and names no window.
_NAMES_OF_WINDOWS: Final[dict[Window, frozenset[str]]] = {
    "hourly": _words("hour hourly 1h"),
    "daily": _words("day daily today 24h 1d"),
    "weekly": _words("week weekly 7d"),
    "monthly": _words("month monthly mtd 30d"),
    "lifetime": _words("lifetime total overall alltime"),
}
_WINDOW = frozenset[str]().union(*_NAMES_OF_WINDOWS.values()) | _words(
    "year yearly annual annually quarterly"
)
_CALL = _words("call request run session task")
_FILLER = _words("per each every all any hard soft api llm ai model agent persona hermes fusion openrouter")
_VOCABULARY = _CURRENCY | _SPENDING | _BUDGET | _BOUND | _WINDOW | _CALL | _FILLER

# Units of limits that are not about money. Every unknown plural counts as such a unit, too.
_OTHER_UNIT = _words(
    "token turn step iteration rate rpm tpm rps timeout retry depth size length context memory time window "
    "concurrency parallel thinking reasoning error latency log page file line char byte message attempt "
    "worker thread item result row ms sec second minute kb mb gb temperature percent age retention history "
    "width height priority level top input output prompt completion cache cached read write"
)
_PRICE = _words("price prices pricing token tokens mtok mtokens ktok million")
_KNOWN = _VOCABULARY | _OTHER_UNIT | _PRICE

# Letters of other alphabets that look like Latin ones.
_LATIN = str.maketrans("аеорсухіѕԁɡһјӏԛԝταο", "aeopcyxisdghjlqwtao")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+[a-z]?(?![a-z])|[0-9]+|[$€£¥¢]")
_AMOUNT = re.compile(r"[$€£¥+ ]*[0-9][0-9.,_]* *(?:[a-z]{3,7}|[$€£¥¢])?(?: *(?:/|per|a) *[a-z]+)?")


def is_amount(value: object) -> bool:
    """Return whether a value may be an amount of money: a number, a text such as `$5`, or a list of them."""
    if isinstance(value, list):
        return any(isinstance(item, (int, Decimal, str)) and is_amount(item) for item in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST and _AMOUNT.fullmatch(value.strip().lower()) is not None
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def names_cap(key: str) -> bool:
    """Return whether a key names a cap in any table: `daily_limit_usd`, `maxCost`, `per_day_max`."""
    words = words_of(key)
    is_bound = bool(words & (_BOUND | _WINDOW))
    if words & _CURRENCY:
        return is_bound or bool(words & _BUDGET) or not words & _PRICE
    if _counts_other_things(words):
        return False
    if words & _SPENDING:
        return is_bound or bool(words & _CALL)
    if words & _BUDGET:
        return is_bound or words <= _VOCABULARY
    return bool(words & _BOUND) and (bool(words & _WINDOW) or ("per" in words and bool(words & _CALL)))


def names_cap_in_budget(key: str) -> bool:
    """Return whether a key of the budget table names a cap: there, `limit` and `per_day` do, too."""
    words = words_of(key)
    return names_cap(key) or (bool(words - _FILLER) and words <= _VOCABULARY)


def names_table_of_caps(key: str, *, in_budget: bool = False) -> bool:
    """Return whether a table's name means caps: `budgets`, `spend_limits`; in the budget also `daily`."""
    words = words_of(key)
    names = _CURRENCY | _SPENDING | _BUDGET | _BOUND | (_WINDOW if in_budget else frozenset())
    return bool(words & names) and not _counts_other_things(words)


def counts_other_things(key: str) -> bool:
    """Return whether a key counts something other than money: `max_tokens`, `timeout`, `emails_per_day`."""
    return _counts_other_things(words_of(key))


def meant_by(key: str) -> str | None:
    """Return the key of the cap on the window that a key names; None if it names no window."""
    words = words_of(key)
    for window, names in _NAMES_OF_WINDOWS.items():
        if words & names:
            return CAP_KEYS[window]
    return CAP_KEYS["per_call"] if words & _CALL else None


def misspelt(key: str) -> str | None:
    """Return the key of a budget that an unknown key resembles: `dialy_usd` is probably `daily_usd`."""
    if len(key) > _LONGEST:
        return None
    roots = {_root(known): known for known in KEYS}
    close = difflib.get_close_matches(_root(key), roots, n=1, cutoff=0.7)
    return roots[close[0]] if close else None


def holds_amount(table: Mapping[str, Any]) -> bool:
    """Return whether a table, or one nested in it, has an amount of money or a key of a budget."""
    waiting: list[object] = [table]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, Mapping):
            if any(k in KEYS or (is_amount(v) and not counts_other_things(k)) for k, v in value.items()):
                return True
            waiting += value.values()
    return False


@functools.lru_cache(maxsize=256)
def words_of(key: str) -> frozenset[str]:
    """Return the words of a key in lower case: `dailyLimit-USD`, `dailylimitusd`: `daily`, `limit`, `usd`."""
    text = unicodedata.normalize("NFKC", key[:_LONGEST]).translate(_LATIN)
    words: set[str] = set()
    for word in _WORD.findall(text):
        words.update(_parts(word.lower()) or (word.lower(),))
    flat = "".join(char for char in text.lower() if char.isalnum())
    return frozenset(words.union(_parts(flat)))


def _parts(text: str) -> tuple[str, ...]:
    """Return the known words that make up a text without separators; empty if it is not made of them."""
    if text in _KNOWN:
        return (text,)
    ways: dict[int, tuple[str, ...]] = {0: ()}
    for end in range(2, len(text) + 1):
        for start, before in ways.items():
            if text[start:end] in _KNOWN:
                ways[end] = (*before, text[start:end])
                break
    return ways.get(len(text), ())


def _counts_other_things(words: frozenset[str]) -> bool:
    if words & (_CURRENCY | _SPENDING):
        return False
    return any(map(_is_other_unit, words))


def _is_other_unit(word: str) -> bool:
    if word in _OTHER_UNIT or word.removesuffix("s") in _OTHER_UNIT:
        return True
    return word not in _KNOWN and len(word) >= _SHORTEST_PLURAL and word.endswith("s")


def _root(key: str) -> str:
    """Return a key without case, separators and unit: `daily` for `Daily-USD`."""
    letters = "".join(char for char in key.lower() if char.isalnum())
    return letters.removesuffix("usd")
