"""The holds of a persona, computed from the lines of its journal: open holds, closed holds and their sum.

Pure: this module gets lines; it reads and writes nothing.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from hal0_budget.model.money import EXACT, ZERO, total
from hal0_budget.model.records import Closing, Hold, Outcome
from hal0_budget.stores.files.hold_format import Header, body_of, parse_entry, plain_lines
from hal0_budget.stores.files.row_format import TORN_MARK, is_blank
from hal0_budget.strict_json import Unreadable

# More new bytes than this are read the fast way: under contention each process reads the holds of all others.
_MANY = 2048

_NEVER = datetime.max.replace(tzinfo=UTC)


class HoldState:
    """The open holds of `persona` and those that were closed last, as the lines of its journal have them.

    Reading goes on after damage, so that later holds are counted, too; the sum is then only a hint.

    Fast path under contention: of plain lines only the sum and the next expiry are computed. A `Hold` is made
    when a method needs it.
    """

    closed: dict[str, Closing]
    total: Decimal
    # A plain line is kept as text until its hold is needed.
    _open: dict[str, Hold | str]
    # What is wrong with the lines that were read.
    _broken: str | None
    # No open hold expires before this. Without it, each call would examine all open holds.
    _soonest: datetime
    _ledger_size: int
    _size: int
    _lines: int
    _chain: int
    _header: Header | None
    _is_legacy: bool
    # Whether the last line that was read lacks its newline.
    _is_open_ended: bool

    def __init__(self, persona: str) -> None:
        self._persona = persona
        self._clear()

    def held(self, now: datetime, settled: Collection[str]) -> Decimal:
        """USD of the open holds. Excludes holds `settled` by a ledger row that the journal has not recorded
        yet, and holds to release whose time is up.
        """
        gone = {hold_id: self._made(hold_id) for hold_id in settled}
        gone |= {hold.hold_id: hold for hold in self.expired(now) if hold.on_expiry == "release"}
        result = self.total
        for hold in gone.values():
            result = EXACT.subtract(result, hold.usd)
        return result

    def __contains__(self, hold_id: object) -> bool:
        """Whether a hold with that id is open."""
        return hold_id in self._open

    def is_settled_by(self, hold_id: str, byte: int) -> bool:
        """Whether the row at `byte` of the ledger, which names the hold, settles it. A row from before the
        hold was opened belongs to an earlier hold with the same id.
        """
        return hold_id in self._open and byte >= self._made(hold_id).ledger_size

    def ledger_size(self) -> int:
        """The largest size of the ledger, in bytes, that a hold of the journal names."""
        return self._ledger_size

    def find(self, hold_id: str) -> Hold | None:
        """The open hold with that id, None if there is none."""
        return self._made(hold_id) if hold_id in self._open else None

    def open(self) -> list[Hold]:
        """The open holds, oldest first."""
        return [self._made(hold_id) for hold_id in self._open]

    def expired(self, now: datetime) -> list[Hold]:
        """The open holds whose time is up, oldest first."""
        if now < self._soonest:
            return []
        holds = self.open()
        self._soonest = min((hold.expires for hold in holds), default=_NEVER)
        return [hold for hold in holds if now >= hold.expires]

    def _clear(self) -> None:
        self._open = {}
        self.closed = {}
        self.total = ZERO
        self._broken = None
        self._soonest = _NEVER
        self._size = self._lines = self._chain = self._ledger_size = 0
        self._header = None
        self._is_legacy = self._is_open_ended = False

    def _take_lines(self, whole: bytes, durable: int) -> None:
        lines = plain_lines(whole) if len(whole) > _MANY and self._header else None
        if lines is not None and self._take_plain(lines):
            self._lines += len(lines)
            self._size += len(whole)
            return
        for line in whole.split(b"\n")[:-1]:
            self._take(line, durable)
            self._size += len(line) + 1
            self._lines += 1

    def _take_fragment(self, fragment: bytes) -> None:
        """Read the last line if it lacks only its newline. Anything else is a torn write."""
        body, stated = body_of(fragment)
        if stated is not None and stated == crc32(body, self._chain):
            self._take(fragment, 0)
            self._size += len(fragment)
            self._is_open_ended = True

    def _take(self, line: bytes, durable: int) -> None:
        if is_blank(line) or line.endswith(TORN_MARK):
            return
        if line.startswith(b"\0") and self._size >= durable:
            # After a power cut, a later write may be kept and an earlier one lost; neither was acknowledged.
            return
        try:
            entry = parse_entry(line)
        except Unreadable as error:
            self._note(f"line {self._lines + 1} is unreadable: {error}")
            self._chain = body_of(line)[1] or self._chain
            return
        is_sound = self._is_chained(line)
        if isinstance(entry, Header):
            self._take_header(entry)
        elif isinstance(entry, Hold):
            self._take_hold(entry)
        elif is_sound:
            # A resolution that may have been altered closes no hold.
            self._close(entry)

    def _is_chained(self, line: bytes) -> bool:
        """Whether the line continues the chain of checksums. If not, that is recorded as damage."""
        body, stated = body_of(line)
        if stated is None and self._header is None and self._size == 0:
            self._is_legacy = True
        if self._is_legacy and stated is None:
            return True
        expected = crc32(body, self._chain)
        # Continue from the checksum in the line, so that damage to one line does not spread to the next.
        self._chain = stated or self._chain
        if stated == expected and not self._is_legacy:
            return True
        self._note(f"line {self._lines + 1} was altered, or a line before it is gone or was moved")
        return False

    def _take_header(self, header: Header) -> None:
        if self._size:
            self._note(f"line {self._lines + 1} is the first line of a journal")
        elif header.persona != self._persona:
            self._note(f"the journal of persona {header.persona!r}")
        else:
            self._header = header

    def _take_hold(self, hold: Hold) -> None:
        if hold.hold_id in self._open or hold.hold_id in self.closed:
            return
        self._open[hold.hold_id] = hold
        self._soonest = min(self._soonest, hold.expires)
        self._ledger_size = max(self._ledger_size, hold.ledger_size)
        self.total = EXACT.add(self.total, hold.usd)

    def _take_plain(self, lines: list[tuple[str, ...]]) -> bool:
        """Count plain lines. Returns False and counts nothing if a checksum does not continue the chain."""
        bodies, ids, usds, _, expiries, ledger_sizes, closings, _, _, stated = zip(*lines, strict=True)
        chain = self._chain
        for body, checksum in zip(bodies, stated, strict=True):
            chain = crc32(body.encode("latin-1"), chain)
            if chain != int(checksum, 16):
                return False
        self._chain = chain
        known, ended = self._open, self.closed
        new = dict(zip(ids, bodies, strict=True))
        is_new = len(new) == len(ids) and known.keys().isdisjoint(new) and ended.keys().isdisjoint(new)
        if is_new and not any(closings):
            known.update(new)
            self._add(usds, expiries, ledger_sizes)
            return True
        amounts, ends, sizes = [], [], []
        for body, hold_id, usd, _, expires, size, closed, how, request_id, _ in lines:
            if closed:
                self._close(Closing(closed, cast(Outcome, how), request_id or None))
            elif hold_id not in known and hold_id not in ended:
                known[hold_id] = body
                amounts.append(usd)
                ends.append(expires)
                sizes.append(size)
        if ends:
            self._add(amounts, ends, sizes)
        return True

    def _add(self, amounts: Sequence[str], expiries: Sequence[str], ledger_sizes: Sequence[str]) -> None:
        """Add opened holds to the sums; each sequence has one field of all of them."""
        self._ledger_size = max(self._ledger_size, *map(int, ledger_sizes))
        self._soonest = min(self._soonest, datetime.fromisoformat(min(expiries)))
        self.total = EXACT.add(self.total, total(map(Decimal, amounts)))

    def _close(self, closing: Closing) -> None:
        if closing.hold_id in self._open:
            self.total = EXACT.subtract(self.total, self._made(closing.hold_id).usd)
            del self._open[closing.hold_id]
        self.closed[closing.hold_id] = closing

    def _made(self, hold_id: str) -> Hold:
        found = self._open[hold_id]
        if isinstance(found, str):
            hold = cast(Hold, parse_entry(f"{found}}}".encode("latin-1")))
            self._open[hold_id] = hold
            return hold
        return found

    def _note(self, damage: str) -> None:
        self._broken = self._broken or damage
