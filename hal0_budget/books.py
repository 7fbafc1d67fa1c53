"""How rows and holds end each other, under the lock of their persona.

A request id stands on record once, a hold resolves once, and money that is gone is always recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from hal0_budget.charges import Charge
from hal0_budget.errors import Conflict, HoldNotFound, RequestNotFound, WriteFailed
from hal0_budget.money import dollars, negative, subtract
from hal0_budget.results import Receipt
from hal0_budget.store.durable import sync
from hal0_budget.store.holds import Closing, Hold
from hal0_budget.store.ledger import Reading
from hal0_budget.store.rows import Row, void_id
from hal0_budget.store.writer import Writer


class Books:
    """The rows and holds of one persona while its lock is held: each method is one step."""

    def __init__(self, writer: Writer, persona: str, now: datetime) -> None:
        self._writer = writer
        self._persona = persona
        self._now = now

    def record(self, charges: Iterable[Charge]) -> tuple[Receipt, ...]:
        """Record the charges whose request ids are not on record, all with one write.

        Nothing is written unless all are valid. Raises InvalidCharge; Conflict where an id is on record
        with other facts, or a hold was resolved before.
        """
        receipts: list[Receipt] = []
        new: dict[str, Row] = {}
        closings: dict[str, Closing] = {}
        for charge in charges:
            row = charge.row(self._persona, self._now)
            # An id that was made just now is on no record.
            known = self._on_record(row, new) if charge.request_id else None
            if known is not None:
                new |= {other.request_id: other for other in self._late_void(known)}
                receipts.append(Receipt(known, was_recorded=True))
                continue
            if row.hold_id in closings:
                raise self._resolved(row.hold_id or "")
            hold, more = self._settled_by(row)
            new |= {other.request_id: other for other in (row, *more)}
            if hold is not None:
                closings[hold.hold_id] = Closing(hold.hold_id, "settled", row.request_id)
            over = None if hold is None or row.cost_usd <= hold.usd else subtract(row.cost_usd, hold.usd)
            receipts.append(Receipt(row, overrun=over))
        if new:
            self._append(tuple(new.values()), tuple(closings.values()))
        if any(receipt.was_recorded for receipt in receipts):
            self._writer.sync()
        return tuple(receipts)

    def book_expired(self) -> Reading:
        """Book the holds whose time is up as unconfirmed rows, or give them back, as each one says.

        What the ledger adds up to after it.
        """
        reading = self._writer.look()
        settled = reading.tally.settled
        expired = [hold for hold in self._writer.holds.expired(self._now) if hold.hold_id not in settled]
        if not expired:
            return reading
        rows = tuple(_unconfirmed(hold, self._persona) for hold in expired if hold.on_expiry == "book")
        booked = tuple(Closing(row.hold_id or "", "expired", row.request_id) for row in rows)
        if rows:
            self._writer.append(rows, booked)
        given_back = [Closing(hold.hold_id, "released") for hold in expired if hold.on_expiry == "release"]
        if given_back:
            self._writer.note(*given_back)
        return self._writer.look()

    def same_hold(self, hold_id: str, estimate: Decimal) -> Hold | None:
        """The open hold of that id and estimate, on the disk; None where the id is free.

        Raises Conflict, OSError.
        """
        hold = self._writer.holds.find(hold_id)
        if hold is not None and hold.usd == estimate:
            # Whoever set it aside may have failed to sync it.
            sync(self._writer.holds.path)
            return hold
        if (
            hold is not None
            or hold_id in self._writer.holds.closed
            or self._writer.find(_unconfirmed_id(hold_id))
        ):
            raise Conflict(f"hold {hold_id!r} was already used for something else", hold_id=hold_id)
        return None

    def release(self, hold_id: str) -> Hold:
        """Give an open hold back. Raises HoldNotFound; Conflict where it was resolved before."""
        self.book_expired()
        hold = self._writer.holds.find(hold_id)
        if hold is None:
            raise self._resolved(hold_id)
        self._writer.note(Closing(hold_id, "released"))
        return hold

    def void(self, request_id: str, reason: str) -> Row:
        """Take the row of a request id back. Raises RequestNotFound, Conflict."""
        found = self._writer.find(request_id)
        if not found:
            raise RequestNotFound(
                f"no charge with request id {request_id!r} is on record", request_id=request_id
            )
        if found[0].voids is not None:
            raise Conflict(f"{request_id!r} is itself a void; charge what was wrongly voided again")
        if self._writer.find(void_id(request_id)):
            raise Conflict(f"{request_id!r} is voided already", request_id=request_id)
        row = _void(found[0], reason)
        self._append((row,))
        return row

    def _append(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """Record rows, and book what has expired. Raises as `Writer.append` does for the rows alone."""
        self._writer.append(rows, closings)
        if self._writer.holds.expired(self._now):
            # The rows are on the disk; what cannot be booked now is left to whoever records next.
            with suppress(OSError, WriteFailed):
                self.book_expired()

    def _on_record(self, row: Row, new: Mapping[str, Row]) -> Row | None:
        """The row that is on record, or about to be, for the same call; None where the id is free."""
        found = self._writer.find(row.request_id)
        if row.request_id in new:
            found.append(new[row.request_id])
        for known in found:
            same = (known.cost_usd, known.model, known.surface) == (row.cost_usd, row.model, row.surface)
            if same and known.voids is None and (row.hold_id is None or known.hold_id == row.hold_id):
                if self._writer.find(void_id(row.request_id)):
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

    def _settled_by(self, row: Row) -> tuple[Hold | None, tuple[Row, ...]]:
        """The open hold that a row settles, and the row that takes its unconfirmed booking back."""
        if row.hold_id is None:
            return None, ()
        settled = self._writer.look().tally.settled
        hold = self._writer.holds.find(row.hold_id)
        if hold is not None and row.hold_id not in settled:
            return hold, ()
        correction = self._late_void(row)
        if not correction:
            raise self._resolved(row.hold_id)
        return None, correction

    def _late_void(self, row: Row) -> tuple[Row, ...]:
        """What takes back the unconfirmed booking of the hold that `row` settles, if any is left."""
        if row.hold_id is None or row.cost_source == "unconfirmed":
            return ()
        booked = self._writer.find(_unconfirmed_id(row.hold_id))
        if not booked or self._writer.find(void_id(booked[0].request_id)):
            return ()
        return (_void(booked[0], f"the call did cost {dollars(row.cost_usd)}"),)

    def _resolved(self, hold_id: str) -> Conflict | HoldNotFound:
        closing = self._writer.holds.closed.get(hold_id)
        if closing is None and not self._writer.find(_unconfirmed_id(hold_id)):
            return HoldNotFound(f"no hold {hold_id!r} of this persona", hold_id=hold_id)
        ended = "expired" if closing is None else closing.how
        how = "expired and booked as unconfirmed" if ended == "expired" else f"{ended} already"
        return Conflict(f"hold {hold_id!r} is {how}; it resolves once", hold_id=hold_id)

    def set_aside(self, hold: Hold) -> None:
        """Open a hold, which is durable once the books are closed. Raises OSError."""
        self._writer.set_aside(hold)


def _unconfirmed(hold: Hold, persona: str) -> Row:
    """The row of a call that may have been billed without an answer, at the time of its hold."""
    request_id = _unconfirmed_id(hold.hold_id)
    return Row(hold.ts, persona, hold.surface, hold.model, hold.usd, request_id, "unconfirmed", hold.hold_id)


def _void(row: Row, reason: str) -> Row:
    """The row that takes `row` back: its source, too, so that what it counted as comes out right."""
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
