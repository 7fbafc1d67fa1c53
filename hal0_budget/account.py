"""One persona's account: what a script or a server asks of a budget, each question one call.

Nothing here prints or exits. Amounts are USD as `Decimal`, times are aware UTC. Every method
raises a `BudgetError` of `hal0_budget.errors` where it cannot answer; none guesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from hal0_budget.budget import KEYS, Budget, BudgetValueError
from hal0_budget.errors import BudgetError, InvalidBudget, InvalidCharge, InvalidEstimate, from_os_error
from hal0_budget.money import ZERO, checked_usd
from hal0_budget.store.layout import Home
from hal0_budget.store.ledger import Ledger, Reading
from hal0_budget.store.lock import DEFAULT_TIMEOUT
from hal0_budget.store.persona_file import PersonaFile, read_persona
from hal0_budget.store.rows import Row
from hal0_budget.verdict import Scope, Usage, Verdict, decide, remaining
from hal0_budget.windows import WINDOWS, Window, utc_now, window_end

# Longer than any id or model name; a row stays far below the longest line that a reader takes.
MAX_TEXT = 1024


class WindowState(NamedTuple):
    """One window: its cap and what remains of it (None without a cap), USD spent and held (None
    for the per-call cap), and when it starts afresh (None where it never does).
    """

    window: Window
    cap: Decimal | None
    spent: Decimal | None
    held: Decimal | None
    remaining: Decimal | None
    resets_at: datetime | None


class Statement(NamedTuple):
    """A persona's caps, what is used of them, and what is wrong with its files."""

    persona: str
    budget: Budget
    windows: tuple[WindowState, ...]
    warnings: tuple[str, ...]

    def of(self, window: Window) -> WindowState:
        """The state of one window; every window but the per-call cap always has one."""
        return next(state for state in self.windows if state.window == window)


class Decision(NamedTuple):
    """The answer to a check: the verdict and the statement that it was reached on."""

    verdict: Verdict
    statement: Statement

    @property
    def resets_at(self) -> datetime | None:
        """When the window that binds starts afresh."""
        return self.statement.of(self.verdict.window).resets_at if self.verdict.window else None


class Revision(NamedTuple):
    """A change of a budget: each changed key with its value before and after, None where it is not
    set and "invalid" where it was set to what no budget can hold; the budget that it made, and the
    statement under it, None where the ledger is damaged.
    """

    changes: Mapping[str, tuple[object, object]]
    budget: Budget
    statement: Statement | None
    warnings: tuple[str, ...]


class Account:
    """The account of one persona of an agent.

    `clock` tells the time; `lock_timeout` is how many seconds a recording may wait for others.
    """

    def __init__(
        self,
        home: Home,
        persona: str,
        *,
        lock_timeout: float = DEFAULT_TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.home = home
        self.persona = persona
        self.lock_timeout = lock_timeout
        self.clock = clock
        self._file = home.persona_file(persona)
        self._ledger = Ledger(home.spend_dir(persona))

    def show(self) -> Statement:
        """The caps and what is used of them; unreadable rows are skipped and named as warnings.

        Raises LedgerDamaged where the ledger as a whole cannot be relied on.
        """
        with _os_errors():
            persona = read_persona(self.home, self.persona)
            now = self.clock()
            reading = self._ledger.read(now)
            if reading.damage is not None:
                reading.sound()
            return _statement(persona, persona.budget(), reading, now)

    def check(self, estimate: Decimal | None = None) -> Decision:
        """May a call that is expected to cost `estimate` USD be made? None: is anything left?

        Under a hard cap a damaged ledger raises LedgerDamaged; warn-only it is a warning.
        Raises InvalidEstimate.
        """
        if estimate is not None:
            estimate = _checked(estimate, InvalidEstimate, "estimate")
        with _os_errors():
            persona = read_persona(self.home, self.persona)
            budget = persona.budget()
            now = self.clock()
            reading = self._ledger.read(now)
            if budget.caps and budget.hard_cap:
                reading.sound()
            statement = _statement(persona, budget, reading, now)
            usage = Usage(reading.tally.spent(now))
            scope = Scope(self.persona, budget, usage, statement.warnings)
            return Decision(decide((scope,), estimate), statement)

    def charge(
        self, cost: Decimal, *, model: str, surface: str = "cli", request_id: str | None = None
    ) -> Row:
        """Record a call that did cost `cost` USD; the row that is on the disk when this returns.

        Recording never depends on judging: it needs the persona's file and a ledger that can be
        appended to, not that either is sound. Without a request id one is made.
        Raises InvalidCharge, PersonaNotFound, LedgerDamaged, LockTimeout, WriteFailed.
        """
        row = self._row(cost, model, surface, request_id)
        with _os_errors():
            self._require_persona()
            self._ledger.append(row, row.ts, self.lock_timeout)
        return row

    def set_budget(
        self, changes: Mapping[str, Decimal | bool | None], *, replace: bool = False, dry_run: bool = False
    ) -> Revision:
        """Change keys of the budget table, named as TOML names them; None removes a key.

        `replace` also removes those of our keys that are not named; `dry_run` writes nothing.
        Raises InvalidBudget, PersonaUneditable, PersonaMalformed, PersonaChanged, LockTimeout.
        """
        # tomlkit is slow to import, and is needed here alone.
        from hal0_budget.store import persona_edit

        wanted = {**dict.fromkeys(KEYS), **changes} if replace else dict(changes)
        _check_wanted(wanted)
        with _os_errors():
            if dry_run:
                before = read_persona(self.home, self.persona)
                after = before.with_text(persona_edit.edited(before, wanted))
                after.budget()
            else:
                self._require_persona()
                with self._ledger.locked(self.lock_timeout):
                    before = read_persona(self.home, self.persona)
                    after = before.with_text(persona_edit.edited(before, wanted))
                    after.budget()
                    if after.text != before.text:
                        persona_edit.write(before, after.text)
            return self._revision(before, after)

    def _revision(self, before: PersonaFile, after: PersonaFile) -> Revision:
        was, now_is = _legible(before.table), _legible(after.table)
        changes = {
            key: (was.get(key), now_is.get(key))
            for key in KEYS
            if repr(was.get(key)) != repr(now_is.get(key))
        }
        budget, now = after.budget(), self.clock()
        reading = self._ledger.read(now)
        if reading.damage is not None:
            return Revision(changes, budget, None, (*after.warnings(), *reading.problems()))
        statement = _statement(after, budget, reading, now)
        return Revision(changes, budget, statement, statement.warnings)

    def _require_persona(self) -> None:
        if not self._file.exists():
            raise self.home.not_found(self.persona)

    def _row(self, cost: Decimal, model: str, surface: str, request_id: str | None) -> Row:
        if request_id is None:
            request_id = f"req_{os.urandom(16).hex()}"
        for name, text in (("model", model), ("surface", surface), ("request id", request_id)):
            if not 0 < len(text) <= MAX_TEXT:
                raise InvalidCharge(f"the {name} must have 1 to {MAX_TEXT} characters, not {len(text)}")
            if any("\ud800" <= char <= "\udfff" for char in text):
                raise InvalidCharge(f"the {name} {text!r} is not valid Unicode")
        usd = _checked(cost, InvalidCharge, "cost")
        return Row(self.clock(), self.persona, surface, model, usd, request_id)


def _statement(persona: PersonaFile, budget: Budget, reading: Reading, now: datetime) -> Statement:
    spent = reading.tally.spent(now)
    states = []
    for window in WINDOWS:
        cap = budget.caps.get(window)
        if window == "per_call":
            if cap is not None:
                states.append(WindowState(window, cap, None, None, cap, None))
            continue
        left = None if cap is None else remaining(cap, spent[window])
        states.append(WindowState(window, cap, spent[window], ZERO, left, window_end(window, now)))
    return Statement(persona.path.stem, budget, tuple(states), (*persona.warnings(), *reading.problems()))


def _checked(amount: Decimal, error: type[BudgetError], name: str) -> Decimal:
    try:
        return checked_usd(amount)
    except ValueError as why:
        raise error(f"{name} {amount} is not an amount in USD: {why}") from None


def _legible(table: Mapping[str, Any]) -> dict[str, object]:
    """Our keys of a budget table; what no budget can hold is "invalid", as it may not be printable."""
    found: dict[str, object] = {}
    for key in KEYS:
        if key in table:
            try:
                Budget.from_table({key: table[key]})
            except BudgetValueError:
                found[key] = "invalid"
            else:
                found[key] = table[key]
    return found


def _check_wanted(wanted: Mapping[str, Decimal | bool | None]) -> None:
    unknown = [key for key in wanted if key not in KEYS]
    if unknown:
        raise InvalidBudget(f"{unknown[0]!r} is not a key of a budget; the keys are {', '.join(KEYS)}")
    try:
        Budget.from_table({key: value for key, value in wanted.items() if value is not None})
    except BudgetValueError as error:
        raise InvalidBudget(str(error), key=error.key) from None


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turn what the operating system refuses into a failure of ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error) from error
