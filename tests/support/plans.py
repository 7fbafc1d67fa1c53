"""What charges come to, by the contract: new rows, holds that end, or the exit codes of a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from tests.support.oracle import Entry, Oracle

# How the ids begin that the program makes for rows of its own.
OURS = ("void:", "unconfirmed:")


class Wanted(NamedTuple):
    """A row that is expected, whether it must be there, and whether its time is known."""

    entry: Entry
    is_required: bool = True
    is_timed: bool = True

    def fits(self, found: Entry, begun: datetime, ended: datetime) -> bool:
        """Whether a row that was found is this one; an id that the program makes may go on."""
        ts = found.ts if not self.is_timed and begun <= found.ts <= ended else self.entry.ts
        name, made = self.entry.request_id, found.request_id
        is_named = made.startswith(name) if not name or name.startswith(OURS) else made == name
        return is_named and self.entry._replace(ts=ts, request_id=made) == found

    def maybe(self) -> Wanted:
        """The same, but it may be missing."""
        return self._replace(is_required=False)


class Plan(NamedTuple):
    """The exit codes that are right; after a 0, the new rows, the holds that end, and how many of the
    charges were on record, None where that does not matter.
    """

    codes: set[int]
    rows: Sequence[Wanted] = ()
    settled: Sequence[str] = ()
    known: int | None = None


class _Refused(Exception):
    def __init__(self, *codes: int) -> None:
        super().__init__(codes)
        self.codes = set(codes)


def plan(oracle: Oracle, charges: Sequence[Mapping[str, Any]], now: datetime) -> Plan:
    """What recording all of `charges`, or none, comes to."""
    planner = _Planner(oracle, now)
    try:
        for charge in charges:
            planner.take(charge)
    except _Refused as refused:
        return Plan(refused.codes)
    return Plan(planner.codes, planner.rows, planner.settled, planner.known)


class _Planner:
    """Takes one charge after the other; not frozen: it is what they come to so far."""

    def __init__(self, oracle: Oracle, now: datetime) -> None:
        self.oracle, self.now = oracle, now
        self.codes = {0}
        self.rows: list[Wanted] = []
        self.settled: list[str] = []
        self.known: int | None = 0

    def take(self, charge: Mapping[str, Any]) -> None:
        """Take a charge. Raises _Refused."""
        name, hold_id, ts = charge["request_id"] or "", charge["hold_id"], charge["ts"]
        facts = Fraction(charge["cost"]), name, charge["model"], charge["surface"]
        entry = Entry((ts or self.now).astimezone(UTC), *facts, None, hold_id)
        if name.startswith(OURS):
            # Refused, or recorded under a name that nothing of ours has.
            self.codes, self.known = {0, 64}, None
            self.rows.append(Wanted(entry._replace(request_id=""), False, ts is not None))
            return
        new = [row.entry for row in self.rows if name and row.entry.request_id == name]
        known = [*self.oracle.of(name), *new]
        if known:
            self._retry(entry, known)
            return
        self.rows.append(Wanted(entry, is_timed=ts is not None))
        if hold_id is not None:
            self._settle(hold_id)

    def _retry(self, entry: Entry, known: Sequence[Entry]) -> None:
        """Take a charge whose id is on record."""
        alike = [row for row in known if row.voids is None and _facts(row) == _facts(entry)]
        if not alike or self.oracle.is_voided(entry.request_id):
            raise _Refused(76)
        if entry.hold_id is not None and all(row.hold_id != entry.hold_id for row in alike):
            # The row came first, without the hold: to settle the hold by that row is right as well.
            if entry.hold_id not in self.oracle.holds:
                raise _Refused(66, 76)
            self.codes.add(76)
            self.settled.append(entry.hold_id)
        if self.known is not None:
            self.known += 1
        if entry.hold_id is not None:
            self._take_back(entry.hold_id)

    def _settle(self, hold_id: str) -> None:
        """End the hold of a new row, or take back what it was booked as."""
        if hold_id in self.settled:
            raise _Refused(76)
        if hold_id in self.oracle.holds:
            self.settled.append(hold_id)
        elif self._take_back(hold_id):
            return
        elif self.oracle.is_journal_bad:
            self.codes |= {66, 76}
        else:
            raise _Refused(66, *([76] if hold_id in self.oracle.ended else []))

    def _take_back(self, hold_id: str) -> bool:
        """Void the booking of a hold that had expired, once."""
        booked = self.oracle.booking_of(hold_id)
        if booked is None or booked.request_id in {row.entry.voids for row in self.rows}:
            return False
        self.rows.append(Wanted(booked.voided()))
        return True


def _facts(row: Entry) -> tuple[object, ...]:
    return row.usd, row.model, row.surface
