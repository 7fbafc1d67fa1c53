"""Recording rules, run under the lock of a persona: request ids are idempotent, a hold resolves once, expired
holds are booked, and money that is spent is always recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from hal0_budget.errors import BudgetError, Conflict, HoldNotFound, RequestNotFound
from hal0_budget.model.charge import Charge
from hal0_budget.model.ids import void_id
from hal0_budget.model.money import dollars, negative, subtract
from hal0_budget.model.receipts import Receipt
from hal0_budget.model.records import Closing, Hold, Row
from hal0_budget.model.usage import Usage

if TYPE_CHECKING:
    from hal0_budget.stores.base import Transaction


class Books:
    """The rows and holds of one persona inside one transaction."""

    def __init__(self, transaction: Transaction, persona: str) -> None:
        self._transaction = transaction
        self._persona = persona
        self.now = transaction.now

    def record(self, charges: Iterable[Charge]) -> tuple[Receipt, ...]:
        """Record the charges whose request ids are not recorded yet, all with one write.

        Nothing is written unless all are valid. Raises InvalidCharge, HoldNotFound; Conflict if an id is
        recorded with other facts, or a hold was resolved before.
        """
        receipts: list[Receipt] = []
        new: dict[str, Row] = {}
        closings: dict[str, Closing] = {}
        resolved: set[str | None] = set()
        for charge in charges:
            row = charge.row(self._persona, self.now, f"req_{os.urandom(16).hex()}")
            # A generated id cannot be a duplicate: skip the lookup.
            known = self._on_record(row, new) if charge.request_id else None
            if known is not None:
                new |= {other.request_id: other for other in self._late_void(known)}
                settled_now = self._settled_before(row, known)
                _require_single(settled_now, closings)
                closings |= settled_now
                receipts.append(Receipt(known, was_recorded=True))
                continue
            if row.hold_id in resolved or row.hold_id in closings:
                raise Conflict(f"hold {row.hold_id!r} is settled twice here; it resolves once")
            settled = self._settled_by(row)
            resolved |= {row.hold_id} - {None}
            hold = settled.hold
            new |= {other.request_id: other for other in (row, *settled.corrections)}
            if hold is not None:
                closings[hold.hold_id] = Closing(hold.hold_id, "settled", row.request_id)
            over = None if hold is None or row.cost_usd <= hold.usd else subtract(row.cost_usd, hold.usd)
            receipts.append(Receipt(row, overrun=over, problem=settled.problem))
        if new:
            self._append(tuple(new.values()), tuple(closings.values()))
        elif closings:
            self._transaction.resolve(*closings.values())
        if any(receipt.was_recorded for receipt in receipts):
            self._transaction.confirm_rows()
        return tuple(receipts)

    def book_expired(self) -> Usage:
        """Book each hold whose time is up as an unconfirmed row, or release it, as the hold says.

        Returns the usage after booking. Books nothing while the ledger or the journal is damaged: a row or
        a resolution that cannot be read may have ended the hold already. Raises WriteFailed, LockTimeout,
        OSError.
        """
        usage = self._transaction.usage()
        if usage.is_damaged:
            return usage
        expired = self._transaction.expired_holds()
        if not expired:
            return usage
        rows = tuple(_unconfirmed(hold, self._persona) for hold in expired if hold.on_expiry == "book")
        booked = tuple(Closing(row.hold_id or "", "expired", row.request_id) for row in rows)
        if rows:
            self._transaction.record(rows, booked)
        given_back = [Closing(hold.hold_id, "released") for hold in expired if hold.on_expiry == "release"]
        if given_back:
            self._transaction.resolve(*given_back)
        return self._transaction.usage()

    def same_hold(self, hold_id: str, estimate: Decimal) -> Hold | None:
        """The open hold with that id and estimate, made durable; None if the id is free.

        Raises Conflict, OSError.
        """
        hold = self._transaction.find_hold(hold_id)
        if hold is not None and hold.usd == estimate:
            # The fsync of the process that opened it may have failed.
            self._transaction.confirm_holds()
            return hold
        if hold is not None or self._transaction.closing(hold_id) or self._booked(hold_id):
            raise Conflict(f"hold {hold_id!r} was already used for something else", hold_id=hold_id)
        return None

    def release(self, hold_id: str) -> Hold:
        """Release an open hold. Raises HoldNotFound; Conflict if it was resolved before; LedgerDamaged if it
        is not found and the journal is damaged.
        """
        usage = self.book_expired()
        hold = self._transaction.find_hold(hold_id)
        if hold is None:
            if not self._transaction.are_holds_sound() and self._transaction.closing(hold_id) is None:
                usage.require_sound()
            raise self._resolved(hold_id)
        self._transaction.resolve(Closing(hold_id, "released"))
        return hold

    def void(self, request_id: str, reason: str) -> Row:
        """Void the row of a request id; returns the void row. Raises RequestNotFound, Conflict."""
        found = self._transaction.find_rows(request_id)
        if not found:
            raise RequestNotFound(
                f"no charge with request id {request_id!r} is on record", request_id=request_id
            )
        if found[0].voids is not None:
            raise Conflict(f"{request_id!r} is itself a void; charge what was wrongly voided again")
        if self._is_voided(request_id):
            raise Conflict(f"{request_id!r} is voided already", request_id=request_id)
        row = _void(found[0], reason)
        self._append((row,))
        return row

    def _append(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """Record rows, then book expired holds. Raises what `Transaction.record` raises for these rows."""
        self._transaction.record(rows, closings)
        # The rows are durable, so nothing may fail from here on: the caller would charge them again. If
        # booking fails, the next recording books the expired holds.
        with suppress(OSError, BudgetError):
            if self._transaction.expired_holds():
                self.book_expired()

    def _on_record(self, row: Row, new: Mapping[str, Row]) -> Row | None:
        """The row that is or will be recorded for the same call; None if the id is free. Raises Conflict."""
        found = self._transaction.find_rows(row.request_id)
        if row.request_id in new:
            found.append(new[row.request_id])
        for known in found:
            same = (known.cost_usd, known.model, known.surface) == (row.cost_usd, row.model, row.surface)
            if same and known.voids is None and self._may_settle(row, known):
                if self._is_voided(row.request_id):
                    raise Conflict(f"{row.request_id!r} is on record and voided", request_id=row.request_id)
                return known
        if found:
            known = found[0]
            raise Conflict(
                f"request id {row.request_id!r} is on record for something else: {dollars(known.cost_usd)}, "
                f"{known.model} on {known.surface}; nothing was recorded",
                request_id=row.request_id,
            )
        return None

    def _may_settle(self, row: Row, known: Row) -> bool:
        """Whether `row` and the recorded row can be the same call, judged by their holds.

        hal0 records a call without its hold. The same call may then be charged again with the hold, and once
        more after that charge has settled it.
        """
        if row.hold_id is None or row.hold_id == known.hold_id:
            return True
        if known.hold_id is not None:
            return False
        settled = self._transaction.hold_settled_by(known.request_id)
        if settled is not None:
            # One call settles one hold; another hold that it settled would be given back without a row.
            return settled == row.hold_id
        return self._transaction.find_hold(row.hold_id) is not None

    def _settled_before(self, row: Row, known: Row) -> dict[str, Closing]:
        """The resolution of the open hold of a call that is recorded without its hold."""
        if row.hold_id is None or known.hold_id is not None:
            return {}
        if self._transaction.find_hold(row.hold_id) is None:
            return {}
        return {row.hold_id: Closing(row.hold_id, "settled", known.request_id)}

    def _settled_by(self, row: Row) -> _Settled:
        """What a new row settles. Raises HoldNotFound, Conflict."""
        if row.hold_id is None:
            return _Settled()
        hold = self._transaction.find_hold(row.hold_id)
        if hold is not None:
            return _Settled(hold)
        corrections = self._late_void(row)
        if corrections:
            return _Settled(None, corrections)
        if self._transaction.are_holds_sound():
            raise self._resolved(row.hold_id)
        damage = self._transaction.usage().problems[0]
        return _Settled(
            problem=f"hold {row.hold_id!r} could not be settled, because there is damage: {damage}"
        )

    def _late_void(self, row: Row) -> tuple[Row, ...]:
        """The void row for the unconfirmed row of the hold that `row` settles, if it is not voided yet."""
        if row.hold_id is None or row.cost_source == "unconfirmed":
            return ()
        booked = self._booked(row.hold_id)
        if booked is None or self._is_voided(booked.request_id):
            return ()
        return (_void(booked, f"the actual cost is {dollars(row.cost_usd)}"),)

    def _booked(self, hold_id: str) -> Row | None:
        """The row that an expired hold was booked as. Other rows may have its request id by chance."""
        found = self._transaction.find_rows(_unconfirmed_id(hold_id))
        return next((row for row in found if row.cost_source == "unconfirmed" and row.voids is None), None)

    def _is_voided(self, request_id: str) -> bool:
        """Whether a void row exists for that request id. Other rows may have the void's id by chance."""
        return any(row.voids == request_id for row in self._transaction.find_rows(void_id(request_id)))

    def _resolved(self, hold_id: str) -> Conflict | HoldNotFound:
        closing = self._transaction.closing(hold_id)
        if closing is None and self._booked(hold_id) is None:
            return HoldNotFound(f"no hold {hold_id!r} of this persona", hold_id=hold_id)
        ended = "expired" if closing is None else closing.how
        how = "expired and booked as unconfirmed" if ended == "expired" else f"{ended} already"
        return Conflict(f"hold {hold_id!r} is {how}; it resolves once", hold_id=hold_id)

    def open_hold(self, hold: Hold) -> Hold:
        """Open a hold, which is durable when the transaction has ended. Raises LockTimeout, OSError."""
        return self._transaction.open_hold(hold)


class _Settled(NamedTuple):
    """What a new row settles: an open hold, or the unconfirmed row of an expired one, which `corrections`
    void. `problem` says why it settles nothing, if damage is the reason.
    """

    hold: Hold | None = None
    corrections: tuple[Row, ...] = ()
    problem: str | None = None


def _require_single(new: Mapping[str, Closing], others: Mapping[str, Closing]) -> None:
    """Raise Conflict if a hold would be settled by two calls, or a call would settle two holds."""
    for hold_id, closing in new.items():
        for other in others.values():
            if other != closing and (other.hold_id == hold_id or other.request_id == closing.request_id):
                raise Conflict(f"hold {hold_id!r} or its call is settled twice here; each resolves once")


def _unconfirmed(hold: Hold, persona: str) -> Row:
    """The row that books an expired hold: its call may have been billed without a response."""
    request_id = _unconfirmed_id(hold.hold_id)
    return Row(hold.ts, persona, hold.surface, hold.model, hold.usd, request_id, "unconfirmed", hold.hold_id)


def _void(row: Row, reason: str) -> Row:
    """The row that voids `row`. It has the same cost source, so that sums by source are right, too."""
    voiding, cost = void_id(row.request_id), negative(row.cost_usd)
    return Row(
        row.ts,
        row.persona_id,
        row.surface,
        row.model,
        cost,
        voiding,
        row.cost_source,
        None,
        row.request_id,
        reason,
    )


def _unconfirmed_id(hold_id: str) -> str:
    return f"unconfirmed:{hold_id}"
