"""One persona's account: what a script or a server asks of a budget, each question one call.

Nothing here prints or exits. Amounts are USD as `Decimal`, times are aware UTC. Every method
raises a `BudgetError` of `hal0_budget.errors` where it cannot answer; none guesses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hal0_budget.clock import utc_now
from hal0_budget.errors import InvalidEstimate, InvalidHold, from_os_error
from hal0_budget.model.budget import Changes, checked_changes
from hal0_budget.model.charge import Charge, checked_amount, checked_text
from hal0_budget.model.ids import checked_id
from hal0_budget.model.judge import judge, statement_of
from hal0_budget.model.policy import Policy
from hal0_budget.model.records import Hold, OnExpiry, Row
from hal0_budget.model.results import Decision, Receipt, Reservation, Revision, Statement
from hal0_budget.model.usage import Usage
from hal0_budget.stores.base import DEFAULT_TIMEOUT, Rows, Store
from hal0_budget.stores.open import Home, open_store

if TYPE_CHECKING:
    from hal0_budget.bookkeeping import Books

DEFAULT_TTL = timedelta(minutes=15)
LONGEST_TTL = timedelta(hours=24)
SHORTEST_TTL = timedelta(seconds=1)

# The model of a call that nobody named.
UNKNOWN = "unknown"


class Account:
    """The account of one persona of an agent, in the files of `home`, or in another store.

    `clock` tells the time; `lock_timeout` is how many seconds a recording may wait for others.
    """

    def __init__(
        self,
        home: Home | Store,
        persona: str,
        *,
        lock_timeout: float = DEFAULT_TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._home = home
        self.store = open_store(home)
        self.persona = checked_id("persona", persona)
        self.lock_timeout = lock_timeout
        self.clock = clock

    @property
    def home(self) -> Home:
        """Where the files are. Raises AttributeError if the account is in another store."""
        if not isinstance(self._home, Home):
            raise AttributeError("this account is not in the files of an agent", name="home", obj=self)
        return self._home

    def show(self) -> Statement:
        """The caps and what is used of them; unreadable rows are skipped and named as warnings.

        Raises LedgerDamaged where the ledger as a whole cannot be relied on.
        """
        with _os_errors():
            policy = self.store.policy(self.persona)
            now = self.clock()
            usage = self.store.usage(self.persona, now)
            usage.require_whole()
            return statement_of(policy, usage, now)

    def check(self, estimate: Decimal | None = None) -> Decision:
        """May a call that is expected to cost `estimate` USD be made? None: is anything left?

        Under a hard cap a damaged ledger raises LedgerDamaged; warn-only it is a warning.
        Raises InvalidEstimate.
        """
        if estimate is not None:
            estimate = checked_amount(estimate, InvalidEstimate, "estimate")
        with _os_errors():
            policy = self.store.policy(self.persona)
            now = self.clock()
            return _decide(policy, self.store.usage(self.persona, now), estimate, now)

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
                usage = books.book_expired()
                policy = self.store.policy(self.persona)
                # A generated id cannot be that of another hold.
                known = None if hold_id is None else books.same_hold(hold_id, estimate)
                if known is not None:
                    return Reservation(_decide(policy, usage, Decimal(0), now), known)
                decision = _decide(policy, usage, estimate, now)
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
            return self.store.open_holds(self.persona, self.clock())

    def tail(self, last: int | None = None, since: date | None = None) -> Rows:
        """The `last` rows (None for all) of days from `since` on (UTC), and those that come: see `Tail`.

        Raises PersonaNotFound, AgentUnknown; LedgerDamaged where there was a ledger, and it is gone.
        """
        with _os_errors():
            self._require_persona()
            return self.store.entries(self.persona, self.clock(), last, since)

    def set_budget(self, changes: Changes, *, replace: bool = False, dry_run: bool = False) -> Revision:
        """Change keys of the budget table, named as TOML names them; None removes a key.

        `replace` also removes those of our keys that are not named; `dry_run` writes nothing.
        Raises InvalidBudget, PersonaUneditable, PersonaMalformed, PersonaChanged, LockTimeout.
        """
        wanted = checked_changes(changes, replace=replace)
        with _os_errors():
            store, persona = self.store, self.persona
            change = store.change_policy(persona, wanted, dry_run=dry_run, timeout=self.lock_timeout)
            policy = change.policy
            now = self.clock()
            usage = store.usage(persona, now)
            if usage.damage is not None:
                return Revision(change.changes, policy.budget, None, (*policy.warnings, *usage.problems))
            statement = statement_of(policy, usage, now)
            return Revision(change.changes, policy.budget, statement, statement.warnings)

    def _require_persona(self) -> None:
        self.store.require_persona(self.persona)

    @contextmanager
    def _recording(self, request_ids: Collection[str] = ()) -> Iterator[Books]:
        # Only commands that record need this module, and the gate runs more often.
        from hal0_budget.bookkeeping import Books

        with self.store.transaction(self.persona, self.clock, self.lock_timeout, request_ids) as transaction:
            yield Books(transaction, self.persona)


def _decide(policy: Policy, usage: Usage, estimate: Decimal | None, now: datetime) -> Decision:
    if policy.budget.caps and policy.budget.hard_cap:
        usage.require_sound()
    return judge(policy, usage, estimate, now)


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turn what the operating system refuses into a failure of ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error) from error
