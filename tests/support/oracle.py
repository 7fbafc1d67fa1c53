"""What a budget must answer, in fractions: knows the contract, and nothing of the program.

It takes the rows of a ledger from the file by a reader of its own, and the windows from `datetime`.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

ZERO = Fraction(0)
TIMED = ("hourly", "daily", "weekly", "monthly", "lifetime")
ORDER = ("per_call", *TIMED)
KEY = {"per_call": "per_call_max_usd", **{window: f"{window}_usd" for window in TIMED}}
WINDOW = {key: window for window, key in KEY.items()}
TORN = b'"torn":true}'


class Entry(NamedTuple):
    """A row of a ledger, its cost a fraction of USD."""

    ts: datetime
    usd: Fraction
    request_id: str
    model: str
    surface: str
    source: str | None = None
    hold_id: str | None = None
    voids: str | None = None

    def voided(self) -> Entry:
        """The row that takes this one back."""
        name = f"void:{self.request_id}"
        return self._replace(usd=-self.usd, request_id=name, hold_id=None, voids=self.request_id)


class Held(NamedTuple):
    """A hold that was acknowledged and has not ended."""

    hold_id: str
    usd: Fraction
    ts: datetime
    expires: datetime
    on_expiry: str
    model: str
    surface: str

    def booked(self) -> Entry:
        """The row that it becomes when its time is up."""
        name = f"unconfirmed:{self.hold_id}"
        return Entry(self.ts, self.usd, name, self.model, self.surface, "unconfirmed", self.hold_id)


class Judgement(NamedTuple):
    """Allow, warn or block; the window that binds; the sentence, where the contract fixes it."""

    level: str
    window: str | None = None
    reason: str | None = None


class Contents(NamedTuple):
    """What stands in a ledger: rows, unreadable lines, and what stands behind the last newline."""

    rows: list[Entry]
    unreadable: int
    fragment: bytes
    total: Fraction
    is_fragment_a_row: bool


def contents(data: bytes) -> Contents:
    """The contents of a ledger's bytes; `total` is what `jq -s 'map(.cost_usd) | add'` comes to."""
    *lines, fragment = data.split(b"\n")
    found = [entry_of(line) for line in lines]
    last = entry_of(fragment)
    rows = [entry for entry in (*found, last) if isinstance(entry, Entry)]
    total = sum(map(_as_jq, (*lines, fragment)), ZERO)
    return Contents(rows, found.count("unreadable"), fragment, total, isinstance(last, Entry))


@functools.lru_cache(maxsize=100_000)
def entry_of(line: bytes) -> Entry | str:
    """The row that a line is, or why it is none: "blank" or "unreadable"."""
    if not line.strip() or line.endswith(TORN):
        return "blank"
    try:
        found = json.loads(line, parse_float=Fraction, parse_int=Fraction, object_pairs_hook=_distinct)
        ts, usd, voids = datetime.fromisoformat(found["ts"]), found["cost_usd"], found.get("voids")
        if ts.tzinfo is None or type(usd) is not Fraction or (usd < 0 and not voids):
            return "unreadable"
        names = [found[key] for key in ("request_id", "model", "surface")]
        if not all(isinstance(name, str) for name in (*names, found["persona_id"])):
            return "unreadable"
        source, hold_id = found.get("cost_source"), found.get("hold_id")
        return Entry(ts.astimezone(UTC), usd, names[0], names[1], names[2], source, hold_id, voids)
    except (ValueError, KeyError, TypeError):
        return "unreadable"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _as_jq(line: bytes) -> Fraction:
    """The cost of a line for a reader that takes the last of two equal keys, and no fragment."""
    try:
        usd = json.loads(line, parse_float=Fraction, parse_int=Fraction).get("cost_usd")
    except (ValueError, AttributeError):
        return ZERO
    return usd if isinstance(usd, Fraction) else ZERO


def start_of(window: str, now: datetime) -> datetime:
    """The first instant of the window that holds `now`."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    starts = {"hourly": hour, "daily": day, "monthly": day.replace(day=1)}
    starts["weekly"] = day - timedelta(days=day.isoweekday() - 1)
    starts["lifetime"] = datetime.min.replace(tzinfo=UTC)
    return starts[window]


def end_of(window: str, now: datetime) -> datetime | None:
    """The first instant after the window that holds `now`."""
    if window in ("per_call", "lifetime"):
        return None
    start = start_of(window, now)
    if window == "monthly":
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start + {"hourly": timedelta(hours=1), "daily": timedelta(1), "weekly": timedelta(7)}[window]


def dollars(usd: Fraction) -> str:
    """An amount as the reasons write it: every digit, at least four places."""
    with localcontext(prec=900):
        text = format(Decimal(abs(usd.numerator)) / Decimal(usd.denominator), "f")
    whole, _, places = text.partition(".")
    return f"{'-' if usd < 0 else ''}${whole}.{places.rstrip('0').ljust(4, '0')}"


class Oracle:
    """One persona: its caps, rows and open holds, and what of its files is damaged."""

    def __init__(self) -> None:
        self.caps: dict[str, Fraction] = {}
        self.hard_cap = True
        self.warn_at: Fraction | None = None
        self.rows: list[Entry] = []
        self.holds: dict[str, Held] = {}
        self.ended: set[str] = set()
        self.unreadable = 0
        self.is_journal_bad = False
        # Rows on lines that cannot be read: a repair must bring these back, and may bring those.
        self.hidden: list[Entry] = []
        self.half_hidden: list[Entry] = []
        self._sums: dict[datetime, Fraction] = {}

    @property
    def is_damaged(self) -> bool:
        """Whether a gate under a hard cap must refuse."""
        return self.unreadable > 0 or self.is_journal_bad

    @property
    def refuses(self) -> bool:
        """Whether a gate must refuse."""
        return self.is_damaged and self.hard_cap and bool(self.caps)

    @property
    def budget(self) -> tuple[dict[str, Fraction], bool, Fraction | None]:
        """The caps, whether they are hard, and the share that warns."""
        return dict(self.caps), self.hard_cap, self.warn_at

    @budget.setter
    def budget(self, budget: tuple[dict[str, Fraction], bool, Fraction | None]) -> None:
        self.caps, self.hard_cap, self.warn_at = budget

    def take(self, row: Entry) -> None:
        """Take a row."""
        self.rows.append(row)
        self._sums.clear()

    def give_up(self, rows: Iterable[Entry]) -> None:
        """Forget rows, each once."""
        for row in rows:
            self.rows.remove(row)
        self._sums.clear()

    def set(self, changes: Mapping[str, Decimal | bool | None], *, replace: bool) -> None:
        """Change the budget."""
        if replace:
            self.caps, self.hard_cap, self.warn_at = {}, True, None
        for key, value in changes.items():
            if key == "hard_cap":
                self.hard_cap = value is not False
            elif key == "warn_at":
                self.warn_at = None if value is None else Fraction(value)
            elif value is None:
                self.caps.pop(WINDOW[key], None)
            else:
                self.caps[WINDOW[key]] = Fraction(value)

    def spent(self, window: str, now: datetime) -> Fraction:
        """USD spent in a window; what is of the future counts as now."""
        start = start_of(window, now)
        if start not in self._sums:
            self._sums[start] = sum((row.usd for row in self.rows if row.ts >= start), ZERO)
        return self._sums[start]

    def held(self, now: datetime) -> Fraction:
        """USD that open holds set aside; what is given back on expiry counts until then."""
        return sum((hold.usd for hold in self.open(now)), ZERO)

    def open(self, now: datetime) -> list[Held]:
        """The holds that count."""
        return [hold for hold in self.holds.values() if hold.on_expiry == "book" or now < hold.expires]

    def expired(self, now: datetime) -> list[Held]:
        """The holds whose time is up."""
        return [hold for hold in self.holds.values() if now >= hold.expires]

    def end(self, hold_ids: Iterable[str]) -> None:
        """Those holds have ended."""
        for hold_id in list(hold_ids):
            self.holds.pop(hold_id, None)
            self.ended.add(hold_id)

    def unconfirmed(self) -> Fraction:
        """USD that expired holds were booked at, less what was voided of that."""
        return sum((row.usd for row in self.rows if row.source == "unconfirmed"), ZERO)

    def remaining(self, now: datetime) -> dict[str, Fraction]:
        """USD left of each cap."""
        held = self.held(now)
        left = {}
        for window, cap in self.caps.items():
            used = ZERO if window == "per_call" else self.spent(window, now) + held
            left[window] = max(ZERO, cap - max(ZERO, used))
        return left

    def judge(self, estimate: Fraction | None, now: datetime) -> Judgement:
        """The verdict on a call, where no file is damaged in a way that forbids one."""
        left = self.remaining(now)
        for window in ORDER:
            if window in left and (left[window] == 0 if estimate is None else estimate > left[window]):
                reason = self._reason(window, estimate, now)
                return Judgement("block" if self.hard_cap else "warn", window, reason)
        for window in ORDER:
            if window in left and self.warn_at is not None:
                used = ZERO if window == "per_call" else self.spent(window, now) + self.held(now)
                if used + (estimate or ZERO) >= self.caps[window] * self.warn_at:
                    return Judgement("warn", window)
        return Judgement("warn" if self.is_damaged else "allow")

    def _reason(self, window: str, estimate: Fraction | None, now: datetime) -> str:
        cap, held = dollars(self.caps[window]), self.held(now)
        if window == "per_call":
            if estimate is None:
                return f"per-call cap {cap} blocks every paid call"
            return f"per-call cap {cap} exceeded by estimate {dollars(estimate)}"
        used = f"spent {dollars(self.spent(window, now))}" + (f", held {dollars(held)}" if held else "")
        if estimate is None:
            return f"{window} cap {cap} is used up: {used}"
        return f"{window} cap {cap} would be exceeded: {used}, estimate {dollars(estimate)}"

    def of(self, request_id: str) -> list[Entry]:
        """The rows of a request id."""
        return [row for row in self.rows if row.request_id == request_id]

    def is_voided(self, request_id: str) -> bool:
        """Whether a row of that id was taken back."""
        return any(row.voids == request_id for row in self.rows)

    def booking_of(self, hold_id: str) -> Entry | None:
        """The row that a hold was booked as when it expired, if that still stands."""
        for row in reversed(self.rows):
            if row.source == "unconfirmed" and row.hold_id == hold_id and not self.is_voided(row.request_id):
                return row
        return None

    def gained(self, found: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
        """What a ledger has more than is known, and what it has lost."""
        there, known = Counter(found), Counter(self.rows)
        return list((there - known).elements()), list((known - there).elements())
