"""The holds of one persona: estimates set aside before a call, in a journal beside the ledger.

Two kinds of line: a hold, and the closing of one. A hold that is settled is closed by its row in the
ledger; the journal is told afterwards, and before the checkpoint passes that row. Whoever reads
takes a hold for closed when either says so, and no crash in between counts it twice or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hal0_budget.money import EXACT, ZERO, checked_usd, plain
from hal0_budget.store.durable import opened, replace, size_of, sync_dir, write_whole
from hal0_budget.store.rows import TORN_MARK, Unreadable, is_blank, parse_object

# Closed holds are kept as long as the journal is shorter, and the newest of them always: a second
# settlement of one must be told from one of a hold that never was.
_LONGEST = 64 * 1024
_KEPT_CLOSED = 100

# A block of a look, and the longest line: one that fills a block is refused unread.
_BLOCK = 256 * 1024

# A reader that finds so many bytes new has been waiting for others that reserve.
_MANY = 2048

_TEXT = r"[ !#-\[\]-~]++"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
_PLAIN = (
    rf'^\{{(?:"hold":"({_TEXT})","usd":((?:0|[1-9]\d{{0,9}})(?:\.\d{{1,40}})?),"ts":"({_TIME})","expires":"({_TIME})"'
    rf',"on_expiry":"(book|release)","surface":"({_TEXT})","model":"({_TEXT})"'
    rf'|"closed":"({_TEXT})","how":"(settled|released|expired)","request_id":(?:null|"({_TEXT})"))\}}\n'
)

_NEVER = datetime.max.replace(tzinfo=UTC)

Outcome = Literal["settled", "released", "expired"]
OnExpiry = Literal["book", "release"]


class Hold(NamedTuple):
    """An estimate set aside: USD, from `ts` until it is settled or `expires` (aware, UTC).

    When its time is up it is booked as an unconfirmed row, or given back, as `on_expiry` says.
    """

    hold_id: str
    usd: Decimal
    ts: datetime
    expires: datetime
    on_expiry: OnExpiry
    surface: str
    model: str

    def line(self) -> bytes:
        """The hold as it stands in the journal."""
        return (
            f'{{"hold":{json.dumps(self.hold_id)},"usd":{plain(self.usd)}'
            f',"ts":"{_time_text(self.ts)}","expires":"{_time_text(self.expires)}"'
            f',"on_expiry":"{self.on_expiry}","surface":{json.dumps(self.surface)}'
            f',"model":{json.dumps(self.model)}}}\n'
        ).encode("ascii")


class Closing(NamedTuple):
    """The end of a hold: how it ended, and the request id of the row that it became, if any."""

    hold_id: str
    how: Outcome
    request_id: str | None = None

    def line(self) -> bytes:
        """The closing as it stands in the journal."""
        return (
            f'{{"closed":{json.dumps(self.hold_id)},"how":"{self.how}"'
            f',"request_id":{json.dumps(self.request_id)}}}\n'
        ).encode("ascii")


class HoldsDamaged(Exception):
    """A line of the journal is neither hold nor closing; says which."""


class Holds:
    """The journal at `path`, read incrementally: open holds, the last closings, their sum."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = (0, 0)
        self._size = self._lines = 0
        self._soonest = _NEVER
        self._forget()

    def read(self) -> None:
        """Take what the journal has gained. Raises HoldsDamaged, OSError."""
        try:
            with opened(self.path, os.O_RDONLY) as fd:
                self._read(fd)
        except FileNotFoundError:
            self._forget()

    def _read(self, fd: int) -> None:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self._file or status.st_size < self._size:
            self._forget()
            self._file = status.st_dev, status.st_ino
        self.exists = True
        while self._take_block(fd):
            pass

    def held(self, now: datetime, settled: Collection[str]) -> Decimal:
        """USD that open holds set aside, but for those that were `settled` behind the journal's back.

        What will be given back on expiry no longer counts then.
        """
        gone = {hold_id: self.open[hold_id] for hold_id in settled}
        gone |= {hold.hold_id: hold for hold in self.expired(now) if hold.on_expiry == "release"}
        result = self.total
        for hold in gone.values():
            result = EXACT.subtract(result, hold.usd)
        return result

    def expired(self, now: datetime) -> list[Hold]:
        """The open holds whose time is up, oldest first."""
        if now < self._soonest:
            return []
        self._soonest = min((hold.expires for hold in self.open.values()), default=_NEVER)
        return [hold for hold in self.open.values() if now >= hold.expires]

    def append(self, *entries: Hold | Closing) -> None:
        """Write entries durably, then take them. The caller holds the lock. Raises OSError."""
        with opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
            if size_of(fd) == 0:
                # Before the first entry, so that whoever fails or dies here leaves it to the next.
                sync_dir(self.path.parent)
            write_whole(fd, self._seal(fd) + b"".join(entry.line() for entry in entries))
            os.fsync(fd)
            # What was damaged before does not undo what was just written; the next look says it.
            with suppress(HoldsDamaged):
                self._read(fd)
        if self._size > _LONGEST and self._lines > 2 * (len(self.open) + _KEPT_CLOSED):
            self._compact()

    def _compact(self) -> None:
        kept = list(self.closed.values())[-_KEPT_CLOSED:]
        lines = [closing.line() for closing in kept] + [hold.line() for hold in self.open.values()]
        replace(self.path, b"".join(lines))
        self.read()

    def _seal(self, fd: int) -> bytes:
        size = size_of(fd)
        return b"" if size == 0 or os.pread(fd, 1, size - 1) == b"\n" else TORN_MARK + b"\n"

    def _forget(self) -> None:
        self.open: dict[str, Hold] = {}
        self.closed: dict[str, Closing] = {}
        self.total = ZERO
        self.exists = False
        # No open hold expires before this: looking at each of them every time would not stay flat.
        self._soonest = _NEVER
        self._file = (0, 0)
        self._size = self._lines = 0

    def _take_block(self, fd: int) -> bool:
        """Take the next whole lines, a block at most; whether there may be more."""
        gained = size_of(fd) - self._size
        block = os.pread(fd, min(_BLOCK, max(gained, 0)), self._size)
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == _BLOCK:
            raise HoldsDamaged(f"line {self._lines + 1} is longer than {_BLOCK} bytes")
        entries = _plain_entries(whole) if len(whole) > _MANY else None
        if entries is None:
            for line in whole.split(b"\n")[:-1]:
                self._lines += 1
                self._take(line)
        else:
            self._lines += len(entries)
            for entry in entries:
                self._enter(entry)
        self._size += len(whole)
        return len(block) == _BLOCK

    def _take(self, line: bytes) -> None:
        if is_blank(line):
            return
        try:
            entry = parse_entry(line)
        except Unreadable as error:
            raise HoldsDamaged(f"line {self._lines} is unreadable: {error}") from None
        self._enter(entry)

    def _enter(self, entry: Hold | Closing) -> None:
        if isinstance(entry, Hold):
            self._open(entry)
        else:
            self._close(entry)

    def _open(self, hold: Hold) -> None:
        if hold.hold_id in self.open or hold.hold_id in self.closed:
            # Taken before: the lines before a damaged one are read again every time.
            return
        self.open[hold.hold_id] = hold
        self._soonest = min(self._soonest, hold.expires)
        self.total = EXACT.add(self.total, hold.usd)

    def _close(self, closing: Closing) -> None:
        hold = self.open.pop(closing.hold_id, None)
        if hold is not None:
            self.total = EXACT.subtract(self.total, hold.usd)
        self.closed[closing.hold_id] = closing


def _plain_entries(block: bytes) -> list[Hold | Closing] | None:
    """What `parse_entry` makes of each line of a block, in half the time; None where a line is not as
    this program writes it.
    """
    found = re.findall(_PLAIN, block.decode("latin-1"), re.MULTILINE | re.ASCII)
    if len(found) != block.count(b"\n"):
        return None
    time = datetime.fromisoformat
    try:
        return [
            Closing(closed, how, request_id or None)
            if closed
            else Hold(hold, checked_usd(Decimal(usd)), time(ts), time(expires), on_expiry, surface, model)
            for hold, usd, ts, expires, on_expiry, surface, model, closed, how, request_id in found
        ]
    except ValueError:
        return None


def parse_entry(line: bytes) -> Hold | Closing:
    """The hold or the closing that a line of the journal is. Raises Unreadable with the reason."""
    found = parse_object(line)
    try:
        if "closed" in found:
            return Closing(found["closed"], found["how"], found["request_id"])
        return _hold(found)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise Unreadable(f"neither a hold nor a closing: {error}") from None


def _hold(found: dict[str, Any]) -> Hold:
    ts, expires = datetime.fromisoformat(found["ts"]), datetime.fromisoformat(found["expires"])
    if ts.tzinfo is None or expires.tzinfo is None:
        raise ValueError("a time without offset")
    return Hold(
        found["hold"],
        checked_usd(found["usd"]),
        ts,
        expires,
        found["on_expiry"],
        found["surface"],
        found["model"],
    )


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")
