"""The account of one persona: what a script or a server does with a budget, one method each.

Nothing here prints or exits. Amounts are USD as `Decimal`; times are aware, in UTC. A method that cannot
answer raises a `BudgetError` of `hal0_budget.errors`; it never guesses.
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
from hal0_budget.model.results import Decision, Statement
from hal0_budget.model.usage import Usage
from hal0_budget.stores import DEFAULT_TIMEOUT
from hal0_budget.stores.open import Home, open_store

if TYPE_CHECKING:
    from hal0_budget.bookkeeping import Books
    from hal0_budget.model.receipts import Receipt, Reservation, Revision
    from hal0_budget.stores.base import Store, Tail

DEFAULT_TTL = timedelta(minutes=15)
LONGEST_TTL = timedelta(hours=24)
SHORTEST_TTL = timedelta(seconds=1)

# The model of a call whose model is not given.
UNKNOWN = "unknown"


class Account:
    """The account of one persona of an agent, in the files of `home` or in another store.

    `clock` returns the current time. `lock_timeout` is how many seconds a recording may wait for others.
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
        """The place of the files. Raises AttributeError if the account is in another store."""
        if not isinstance(self._home, Home):
            raise AttributeError("this account is not in the files of an agent", name="home", obj=self)
        return self._home

    def show(self) -> Statement:
        """The caps, and how much of them is used. Each unreadable row is skipped, with a warning.

        Raises LedgerDamaged if the ledger as a whole cannot be relied on.
        """
        with _os_errors():
            policy = self.store.policy(self.persona)
            now = self.clock()
            usage = self.store.usage(self.persona, now)
            usage.require_whole()
            return statement_of(policy, usage, now)

    def check(self, estimate: Decimal | None = None) -> Decision:
        """Decide whether a call that is expected to cost `estimate` USD may be made; None: whether anything
        is left.

        Damage raises LedgerDamaged under a hard cap; without one it is a warning. Raises InvalidEstimate.
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
        """Decide as `check` does and, unless the verdict is block, open a hold of `estimate` USD.

        The hold counts as used in every window until it is settled or released. If neither happens within
        `ttl` (1 s to 24 h), it is booked as an unconfirmed row or released, as `on_expiry` says. Reserving
        again with the id and the estimate of an open hold changes nothing. Raises InvalidHold, Conflict,
        LockTimeout, and what `check` raises.
        """
        # `check` needs no such result.
        from hal0_budget.model.receipts import Reservation

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
        """Record a call that cost `cost` USD; its row is durable when this returns.

        Recording never depends on judging: the persona's file must exist and the ledger must be appendable,
        but neither must be sound. Without a request id, one is generated. A request id that is recorded
        with the same facts is not recorded again. With `hold_id` the row settles that hold; it may cost more
        or less than was held. Raises InvalidCharge, Conflict, HoldNotFound, PersonaNotFound, LedgerDamaged,
        LockTimeout, WriteFailed.
        """
        charge = Charge(cost, model, surface, request_id, hold_id=hold_id, cost_source=cost_source)
        return self.charge_all((charge,))[0]

    def charge_all(self, charges: Iterable[Charge]) -> tuple[Receipt, ...]:
        """Record several calls with one write and one fsync. Nothing is written unless all are valid.

        Raises what `charge` raises.
        """
        charges = tuple(charges)
        # An id that is not text is refused later, when its row is made.
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
        """Release a hold whose call was never made. Raises HoldNotFound, Conflict."""
        checked_id("hold", hold_id)
        with _os_errors():
            self._require_persona()
            with self._recording() as books:
                return books.release(hold_id)

    def void(self, request_id: str, reason: str) -> Row:
        """Take back a wrong charge: record a row with the negative amount, at the time of the original.

        Raises RequestNotFound; Conflict if the charge is voided already or is itself a void.
        """
        checked_text("reason", reason)
        with _os_errors():
            self._require_persona()
            with self._recording((request_id,)) as books:
                return books.void(request_id, reason)

    def holds(self) -> tuple[Hold, ...]:
        """The open holds, oldest first. If their journal is damaged: those before the damage."""
        with _os_errors():
            self._require_persona()
            return self.store.open_holds(self.persona, self.clock())

    def tail(self, last: int | None = None, since: date | None = None) -> Tail:
        """The `last` rows (None for all) of the UTC days from `since` on, and the rows that are recorded
        later: see `Tail`.

        Raises PersonaNotFound, AgentUnknown; LedgerDamaged if there was a ledger and it is gone.
        """
        with _os_errors():
            self._require_persona()
            return self.store.entries(self.persona, self.clock(), last, since)

    def set_budget(self, changes: Changes, *, replace: bool = False, dry_run: bool = False) -> Revision:
        """Change keys of the budget table, with their names in TOML; None removes a key.

        `replace` also removes every key of a budget that `changes` does not name; `dry_run` writes nothing.
        Raises InvalidBudget, PersonaUneditable, PersonaMalformed, PersonaChanged, LockTimeout.
        """
        # `check` needs no such result.
        from hal0_budget.model.receipts import Revision

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
        # Only commands that record need this module; `check` runs more often.
        from hal0_budget.bookkeeping import Books

        with self.store.transaction(self.persona, self.clock, self.lock_timeout, request_ids) as transaction:
            yield Books(transaction, self.persona)


def _decide(policy: Policy, usage: Usage, estimate: Decimal | None, now: datetime) -> Decision:
    if policy.budget.caps and policy.budget.hard_cap:
        usage.require_sound()
    return judge(policy, usage, estimate, now)


@contextmanager
def _os_errors() -> Iterator[None]:
    """Translate an OSError into a `BudgetError`."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error) from error
