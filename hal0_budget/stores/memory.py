"""The store in memory: for tests of the rules, and of programs that use the library.

It keeps the promises of `Store`, but nothing outlives the process.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple, cast

from hal0_budget.errors import LockTimeout, PersonaNotFound
from hal0_budget.model.budget import KEYS, Budget, Changes, checked_changes
from hal0_budget.model.ids import checked_id
from hal0_budget.model.money import total
from hal0_budget.model.policy import Policy
from hal0_budget.model.records import Closing, Entry, Hold, Row
from hal0_budget.model.sums import TOLD, Sums, merge, sum_of
from hal0_budget.model.usage import Usage
from hal0_budget.model.windows import SPEND_WINDOWS, window_start
from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.base import Audit, Calls, Days, PolicyChange, Progress, Tail, Transaction


class MemoryStore:
    """The personas of one agent, each with the keys of its budget, as the TOML table names them::

        MemoryStore({"hermes": {"daily_usd": Decimal(5)}, "coder": {}})

    Threads may share a store. Raises InvalidId, InvalidBudget.
    """

    def __init__(self, personas: Mapping[str, Changes], agent: str = "hermes") -> None:
        self.agent = checked_id("agent", agent)
        self._personas = {
            persona: _Persona(checked_id("persona", persona), table) for persona, table in personas.items()
        }

    def personas(self) -> tuple[str, ...]:
        """See `Store`."""
        return tuple(sorted(self._personas))

    def require_persona(self, persona: str) -> None:
        """See `Store`."""
        self._find(persona)

    def policy(self, persona: str, changes: Changes | None = None) -> Policy:
        """See `Store`."""
        return Policy(persona, Budget.from_table(_changed(self._find(persona).state.table, changes or {})))

    def change_policy(
        self, persona: str, changes: Changes, *, dry_run: bool = False, timeout: float = DEFAULT_TIMEOUT
    ) -> PolicyChange:
        """See `Store`."""
        found = self._find(persona)
        with nullcontext() if dry_run else found.locked(timeout):
            before = found.state.table
            after = _changed(before, changes)
            if not dry_run:
                found.state = found.state._replace(table=after)
        policy = Policy(persona, Budget.from_table(after))
        keys = [key for key in KEYS if before.get(key) != after.get(key)]
        return PolicyChange({key: (before.get(key), after.get(key)) for key in keys}, policy)

    def usage(self, persona: str, now: datetime, progress: Progress | None = None) -> Usage:
        """See `Store`."""
        return _usage(self._find(persona), now)

    @contextmanager
    def transaction(
        self,
        persona: str,
        clock: Callable[[], datetime],
        timeout: float = DEFAULT_TIMEOUT,
        request_ids: Collection[str] = (),
    ) -> Iterator[Transaction]:
        """See `Store`."""
        found = self._find(persona)
        with found.locked(timeout):
            yield _MemoryTransaction(found, clock())

    def open_holds(self, persona: str, now: datetime) -> tuple[Hold, ...]:
        """See `Store`."""
        return _counting(self._find(persona).state, now)

    def entries(
        self, persona: str, now: datetime, last: int | None = None, since: date | None = None
    ) -> Tail:
        """See `Store`."""
        return _MemoryTail(self._find(persona), last, since or date.min)

    def state(self, persona: str) -> object:
        """See `Store`."""
        found = self._personas.get(checked_id("persona", persona))
        return None if found is None else found.state

    def daily(self, usage: Usage) -> Mapping[str, Decimal]:
        """See `Store`."""
        days: dict[str, list[Decimal]] = {}
        for row in _rows(usage):
            days.setdefault(str(row.ts.date()), []).append(row.cost_usd)
        return {day: total(amounts) for day, amounts in days.items()}

    def spending(self, persona: str, usage: Usage, days: Days, progress: Progress) -> Iterator[Sums]:
        """See `Store`."""
        self.require_persona(persona)
        sums = Sums()
        for row in _rows(usage):
            if day := days.day(row.ts.isoformat()[:19]):
                merge(sums, {(row.surface, row.model, row.cost_source or TOLD): {day: sum_of(row)}})
        yield sums

    def calls(self, persona: str, usage: Usage, progress: Progress) -> Iterator[Calls]:
        """See `Store`."""
        self.require_persona(persona)
        for hour, group in groupby(_calls(_rows(usage)), lambda call: call[1].ts.isoformat()[:13]):
            numbers, calls = zip(*group, strict=True)
            sources = [row.cost_source or "" for row in calls]
            yield Calls(hour, [row.cost_usd for row in calls], numbers, sources, calls.__getitem__)

    def verify(self, persona: str, now: datetime) -> Audit:
        """See `Store`."""
        rows = len(self._find(persona).state.rows)
        return Audit(persona, rows, rows, ())

    def repair(self, persona: str, now: datetime, timeout: float = DEFAULT_TIMEOUT) -> list[str]:
        """See `Store`."""
        self.require_persona(persona)
        return []

    def _find(self, persona: str) -> _Persona:
        """Raises InvalidId, PersonaNotFound."""
        found = self._personas.get(checked_id("persona", persona))
        if found is None:
            raise PersonaNotFound(f"agent {self.agent!r} has no persona {persona!r}", persona=persona)
        return found


class _State(NamedTuple):
    """All that is kept of a persona. Every change replaces it as a whole, so that readers need no lock."""

    table: Mapping[str, Decimal | bool]
    rows: tuple[Row, ...]
    open: Mapping[str, Hold]
    closed: Mapping[str, Closing]


class _Persona:
    """The state of one persona. Only the holder of its lock replaces it."""

    def __init__(self, name: str, table: Changes) -> None:
        self.name = name
        self.state = _State(_changed({}, table), (), {}, {})
        self._lock = threading.Lock()

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the lock; wait `timeout` seconds for it at most. Raises LockTimeout."""
        if not self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0):
            raise LockTimeout(f"{self.name}: another transaction held the lock for {timeout:g} s; try again")
        try:
            yield
        finally:
            self._lock.release()


class _MemoryTransaction:
    """The transaction of the thread that holds the lock of a persona."""

    def __init__(self, found: _Persona, now: datetime) -> None:
        self.now = now
        self._found = found

    def usage(self) -> Usage:
        """See `Transaction`."""
        return _usage(self._found, self.now)

    def find_rows(self, request_id: str) -> list[Row]:
        """See `Transaction`."""
        return [row for row in reversed(self._found.state.rows) if row.request_id == request_id]

    def find_hold(self, hold_id: str) -> Hold | None:
        """See `Transaction`."""
        return self._found.state.open.get(hold_id)

    def closing(self, hold_id: str) -> Closing | None:
        """See `Transaction`."""
        return self._found.state.closed.get(hold_id)

    def hold_settled_by(self, request_id: str) -> str | None:
        """See `Transaction`."""
        closed = self._found.state.closed.values()
        return next((closing.hold_id for closing in closed if closing.request_id == request_id), None)

    def expired_holds(self) -> list[Hold]:
        """See `Transaction`."""
        return [hold for hold in self._found.state.open.values() if self.now >= hold.expires]

    def are_holds_sound(self) -> bool:
        """See `Transaction`."""
        return True

    def record(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """See `Transaction`."""
        state = self._found.state
        settled = (Closing(row.hold_id, "settled", row.request_id) for row in rows if row.hold_id)
        ended = [*(closing for closing in settled if closing.hold_id in state.open), *closings]
        new = [row._replace(ts=row.ts.astimezone(UTC)) for row in rows]
        self._found.state = _ended(state, ended)._replace(rows=(*state.rows, *new))

    def resolve(self, *closings: Closing) -> None:
        """See `Transaction`."""
        self._found.state = _ended(self._found.state, closings)

    def open_hold(self, hold: Hold) -> Hold:
        """See `Transaction`."""
        state = self._found.state
        self._found.state = state._replace(open={**state.open, hold.hold_id: hold})
        return hold

    def confirm_rows(self) -> None:
        """Nothing is left to write."""

    def confirm_holds(self) -> None:
        """Nothing is left to write."""


class _MemoryTail:
    """The `last` rows of a persona of days from `since` on, and those that come."""

    def __init__(self, found: _Persona, last: int | None, since: date) -> None:
        self._found, self._last, self._since = found, last, since
        # How many rows were passed; None before the first read.
        self._at: int | None = None
        self._voided: frozenset[str | None] = frozenset()

    def read(self) -> Iterator[Entry | str]:
        """See `Tail`."""
        at = self._begin() if self._at is None else self._at
        for number, row in enumerate(self._found.state.rows[at:], at + 1):
            self._at = number
            if row.ts.date() >= self._since:
                yield Entry(row, row.request_id in self._voided)

    def close(self) -> None:
        """See `Tail`."""
        self._at = None if self._at is None else 0

    def _begin(self) -> int:
        """How many rows come before the last ones; what takes one of those back is noted."""
        rows = self._found.state.rows
        places = [at for at, row in enumerate(rows) if row.ts.date() >= self._since]
        first = 0 if self._last is None else max(0, len(places) - self._last)
        self._at = (*places, len(rows))[first]
        self._voided = frozenset(row.voids for row in rows)
        return self._at


def _rows(usage: Usage) -> tuple[Row, ...]:
    """The rows that a usage of this store counted."""
    return cast(tuple[Row, ...], usage.position)


def _usage(found: _Persona, now: datetime) -> Usage:
    state = found.state
    starts = {window: window_start(window, now) for window in SPEND_WINDOWS}
    spent = {
        window: total(row.cost_usd for row in state.rows if row.ts >= start)
        for window, start in starts.items()
    }
    held = total(hold.usd for hold in _counting(state, now))
    unconfirmed = total(row.cost_usd for row in state.rows if row.cost_source == "unconfirmed")
    return Usage(spent, held, unconfirmed, persona=found.name, position=state.rows)


def _counting(state: _State, now: datetime) -> tuple[Hold, ...]:
    """The open holds but those that are given back because their time is up."""
    return tuple(hold for hold in state.open.values() if now < hold.expires or hold.on_expiry != "release")


def _ended(state: _State, closings: Sequence[Closing]) -> _State:
    """The state after holds ended."""
    ended = {closing.hold_id: closing for closing in closings}
    still_open = {hold_id: hold for hold_id, hold in state.open.items() if hold_id not in ended}
    return state._replace(open=still_open, closed={**state.closed, **ended})


def _calls(rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
    """The rows that are neither voids nor voided, with their numbers from 1."""
    voided = Counter(row.voids for row in rows if row.voids)
    for number, row in enumerate(rows, 1):
        if not row.voids and voided[row.request_id]:
            voided[row.request_id] -= 1
        elif not row.voids:
            yield number, row


def _changed(table: Changes, changes: Changes) -> dict[str, Decimal | bool]:
    """Raises InvalidBudget."""
    merged = {**table, **checked_changes(changes, replace=False)}
    return {key: value for key, value in merged.items() if value is not None}
