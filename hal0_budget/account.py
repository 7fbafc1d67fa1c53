"""One persona's account: what a script or a server asks of a budget, each question one call.

Nothing here prints or exits. Amounts are USD as `Decimal`, times are aware UTC. Every method
raises a `BudgetError` of `hal0_budget.errors` where it cannot answer; none guesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hal0_budget.clock import utc_now
from hal0_budget.errors import InvalidBudget, InvalidEstimate, InvalidHold, from_os_error
from hal0_budget.model.budget import KEYS, Budget, BudgetValueError
from hal0_budget.model.charge import Charge, checked_amount, checked_text
from hal0_budget.model.ids import checked_id
from hal0_budget.model.money import ZERO
from hal0_budget.model.records import Hold, OnExpiry, Row
from hal0_budget.model.results import Decision, Receipt, Reservation, Revision, Statement
from hal0_budget.model.verdict import Scope, Usage, decide
from hal0_budget.statement import statement_of
from hal0_budget.stores.files.layout import Home
from hal0_budget.stores.files.ledger import Ledger, Reading
from hal0_budget.stores.files.lock import DEFAULT_TIMEOUT, Lock
from hal0_budget.stores.files.persona_file import PersonaFile, read_persona

if TYPE_CHECKING:
    from hal0_budget.bookkeeping import Books
    from hal0_budget.stores.files.tail import Tail

DEFAULT_TTL = timedelta(minutes=15)
LONGEST_TTL = timedelta(hours=24)
SHORTEST_TTL = timedelta(seconds=1)

# The model of a call that nobody named.
UNKNOWN = "unknown"


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
        self._path = home.persona_file(persona)
        self._file: PersonaFile | None = None
        self._ledger = Ledger(home.spend_dir(persona))

    def show(self) -> Statement:
        """The caps and what is used of them; unreadable rows are skipped and named as warnings.

        Raises LedgerDamaged where the ledger as a whole cannot be relied on.
        """
        with _os_errors():
            persona = self._read()
            now = self.clock()
            reading = self._ledger.read(now)
            if reading.damage is not None:
                reading.sound()
            return statement_of(persona, persona.budget(), reading, now)

    def check(self, estimate: Decimal | None = None) -> Decision:
        """May a call that is expected to cost `estimate` USD be made? None: is anything left?

        Under a hard cap a damaged ledger raises LedgerDamaged; warn-only it is a warning.
        Raises InvalidEstimate.
        """
        if estimate is not None:
            estimate = checked_amount(estimate, InvalidEstimate, "estimate")
        with _os_errors():
            persona = self._read()
            now = self.clock()
            return self._decide(persona, self._ledger.read(now), estimate, now)

    def reserve(
        self,
        estimate: Decimal,
        *,
        ttl: timedelta = DEFAULT_TTL,
        hold_id: str | None = None,
        on_expiry: OnExpiry = "book",
        surface: str = "cli",
        model: str = UNKNOWN,
    ) -> Reservation:
        """Decide as `check` does and, unless the verdict is block, set `estimate` USD aside.

        The hold counts against every window until it is settled, released or `ttl` (1 s to 24 h)
        has passed; then it is booked as an unconfirmed row, or given back. Reserving an open hold
        again with the same estimate changes nothing. Raises InvalidHold, Conflict, LockTimeout,
        and what `check` raises.
        """
        estimate = checked_amount(estimate, InvalidEstimate, "estimate")
        if not isinstance(ttl, timedelta) or on_expiry not in ("book", "release"):
            raise InvalidHold("ttl must be a timedelta, and on_expiry book or release")
        if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
            raise InvalidHold(f"a hold lasts 1 second to 24 hours, not {ttl.total_seconds():g} s")
        made = f"hold_{os.urandom(16).hex()}"
        name = checked_id("hold", made if hold_id is None else hold_id)
        checked_text("surface", surface)
        checked_text("model", model)
        with _os_errors():
            self._require_persona()
            with self._recording() as books:
                now = books.now
                reading = books.book_expired()
                persona = self._read()
                # A generated id cannot be that of another hold.
                known = None if hold_id is None else books.same_hold(hold_id, estimate)
                if known is not None:
                    return Reservation(self._decide(persona, reading, Decimal(0), now), known)
                decision = self._decide(persona, reading, estimate, now)
                if decision.verdict.level == "block":
                    return Reservation(decision, None)
                hold = books.open_hold(Hold(name, estimate, now, now + ttl, on_expiry, surface, model))
                return Reservation(decision, hold)

    def charge(
        self,
        cost: Decimal,
        *,
        model: str,
        surface: str = "cli",
        request_id: str | None = None,
        hold_id: str | None = None,
        cost_source: str | None = None,
    ) -> Receipt:
        """Record a call that cost `cost` USD; its row is on the disk when this returns.

        Recording never depends on judging: it needs the persona's file and a ledger that can be
        appended to, not that either is sound. Without a request id one is made; one that is on
        record with the same facts is not recorded again. With `hold_id` the row settles that hold,
        at more or less than was held. Raises InvalidCharge, Conflict, HoldNotFound,
        PersonaNotFound, LedgerDamaged, LockTimeout, WriteFailed.
        """
        charge = Charge(cost, model, surface, request_id, hold_id=hold_id, cost_source=cost_source)
        return self.charge_all((charge,))[0]

    def charge_all(self, charges: Iterable[Charge]) -> tuple[Receipt, ...]:
        """Record many calls with one write and one fsync; nothing is written unless all are valid.

        Raises as `charge` does.
        """
        charges = tuple(charges)
        # Anything may be given; what is no text is refused when it is made a row of.
        ids = [
            charge.request_id
            for charge in charges
            if charge.request_id and isinstance(charge.request_id, str)
        ]
        with _os_errors():
            self._require_persona()
            with self._recording(ids) as books:
                return books.record(charges)

    def release(self, hold_id: str) -> Hold:
        """Give a hold back, because its call was never made. Raises HoldNotFound, Conflict."""
        checked_id("hold", hold_id)
        with _os_errors():
            self._require_persona()
            with self._recording() as books:
                return books.release(hold_id)

    def void(self, request_id: str, reason: str) -> Row:
        """Take a wrong charge back with a row of its own, at the time of the original.

        Raises RequestNotFound, Conflict where it is voided already or is itself a void.
        """
        checked_text("reason", reason)
        with _os_errors():
            self._require_persona()
            with self._recording((request_id,)) as books:
                return books.void(request_id, reason)

    def holds(self) -> tuple[Hold, ...]:
        """The open holds, oldest first; of a damaged journal those before the damage, which `show` names."""
        with _os_errors():
            self._require_persona()
            return self._ledger.open_holds(self.clock())

    def tail(self, last: int | None = None, since: date | None = None) -> Tail:
        """The `last` rows (None for all) of days from `since` on (UTC), and those that come: see `Tail`.

        Raises PersonaNotFound, AgentUnknown; LedgerDamaged where there was a ledger, and it is gone.
        """
        from hal0_budget.stores.files.tail import Tail

        self._require_persona()
        with _os_errors():
            if not self._ledger.path.exists():
                self._ledger.read(self.clock()).sound()
        return Tail(self._ledger.path, last, since)

    def set_budget(
        self, changes: Mapping[str, Decimal | bool | None], *, replace: bool = False, dry_run: bool = False
    ) -> Revision:
        """Change keys of the budget table, named as TOML names them; None removes a key.

        `replace` also removes those of our keys that are not named; `dry_run` writes nothing.
        Raises InvalidBudget, PersonaUneditable, PersonaMalformed, PersonaChanged, LockTimeout.
        """
        # The gate never edits.
        from hal0_budget.stores.files import persona_edit

        wanted = {**dict.fromkeys(KEYS), **changes} if replace else dict(changes)
        _check_wanted(wanted)
        with _os_errors():
            if dry_run:
                before = self._read()
                after = before.with_text(persona_edit.edited(before, wanted))
                after.budget()
            else:
                self._require_persona()
                with Lock(self.home.edit_lock(self.persona)).held(self.lock_timeout):
                    before = self._read()
                    after = before.with_text(persona_edit.edited(before, wanted))
                    after.budget()
                    persona_edit.write(before, after.text)
            return self._revision(before, after)

    def _revision(self, before: PersonaFile, after: PersonaFile) -> Revision:
        changes = {
            key: (_legible(key, before.table.get(key)), after.table.get(key))
            for key in KEYS
            if repr(before.table.get(key)) != repr(after.table.get(key))
        }
        budget, now = after.budget(), self.clock()
        reading = self._ledger.read(now)
        if reading.damage is not None:
            return Revision(changes, budget, None, (*after.warnings, *reading.problems()))
        statement = statement_of(after, budget, reading, now)
        return Revision(changes, budget, statement, statement.warnings)

    def _require_persona(self) -> None:
        self.home.require_agent()
        if not self._path.exists():
            raise self.home.not_found(self.persona)

    @contextmanager
    def _recording(self, request_ids: Collection[str] = ()) -> Iterator[Books]:
        # Only commands that record need these modules, and the gate runs more often.
        from hal0_budget.bookkeeping import Books
        from hal0_budget.stores.files.writer import writing

        with writing(self._ledger, self.clock, self.lock_timeout, request_ids) as writer:
            yield Books(writer, self.persona)

    def _read(self) -> PersonaFile:
        self._file = read_persona(self.home, self.persona, self._file)
        return self._file

    def _decide(
        self, persona: PersonaFile, reading: Reading, estimate: Decimal | None, now: datetime
    ) -> Decision:
        budget = persona.budget()
        if budget.caps and budget.hard_cap:
            reading.sound()
        statement = statement_of(persona, budget, reading, now)
        usage = Usage({state.window: state.spent or ZERO for state in statement.windows}, reading.held)
        scope = Scope(self.persona, budget, usage, statement.warnings)
        return Decision(decide((scope,), estimate), statement)


def _legible(key: str, value: object) -> object:
    """The value of a key of a budget table; "invalid" where no budget can hold it: not all can be printed."""
    try:
        Budget.from_table({} if value is None else {key: value})
    except BudgetValueError:
        return "invalid"
    return value


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
