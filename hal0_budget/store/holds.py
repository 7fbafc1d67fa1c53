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
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from hal0_budget.money import EXACT, ZERO, checked_usd, plain, total
from hal0_budget.store.durable import opened, replace, size_of, sync_dir, write_whole
from hal0_budget.store.rows import TORN_MARK, Unreadable, is_blank, is_hour, parse_object

# Closed holds are kept as long as the journal is shorter, and the newest of them always: a second
# settlement of one must be told from one of a hold that never was.
_LONGEST = 64 * 1024
_KEPT_CLOSED = 100

# A block of a look, and the longest line: one that fills a block is refused unread.
_BLOCK = 256 * 1024

# So many of the journal's first bytes tell it from one that was shortened in its place: that begins with
# another line, and may have the number of the file that was there before.
_BEGINNING = 256

# A reader that finds so many bytes new has been waiting for others that reserve.
_MANY = 2048

_TEXT = r"[ !#-\[\]-~]++"
_MINUTES = r":[0-5]\d:[0-5]\d\.\d{6}\+00:00"
# A line as this program writes it: itself; a hold's id, USD, hour and expiry; what closes one, how, and by
# which row. What it takes, with hours that are hours, `parse_entry` takes too and reads alike.
_PLAIN = (
    rf'^(\{{"hold":"({_TEXT})","usd":((?:0|[1-9]\d{{0,8}}+)(?:\.\d{{1,40}}+)?+)'
    rf',"ts":"([0-9T-]{{13}}+){_MINUTES}","expires":"([0-9T-]{{13}}+{_MINUTES})"'
    rf',"on_expiry":"(?:book|release)","surface":"{_TEXT}","model":"{_TEXT}"\}}'
    rf'|\{{"closed":"({_TEXT})","how":"(settled|released|expired)","request_id":(?:null|"({_TEXT})")\}})\n'
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
    """The journal at `path`, read incrementally: open holds, the last closings, their sum.

    Where many reserve at once, each reads the holds of all, and asks for hardly one of them: of plain lines
    only the sum and the next expiry are taken, and a hold is made when it is asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = (0, 0)
        self._beginning = b""
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
        file = status.st_dev, status.st_ino
        if (
            file != self._file
            or status.st_size < self._size
            or os.pread(fd, len(self._beginning), 0) != self._beginning
        ):
            self._forget()
            self._file = file
        # One that says nothing was emptied, or its first entry is still to come.
        self.exists = status.st_size > 0
        try:
            while self._take_block(fd):
                pass
        except HoldsDamaged:
            raise
        except BaseException:
            # Half a block may be taken, and is not to be taken for known.
            self._forget()
            raise
        if len(self._beginning) < _BEGINNING:
            self._beginning = os.pread(fd, min(_BEGINNING, self._size), 0)

    @property
    def position(self) -> tuple[object, ...]:
        """Which journal was read, and how far."""
        return self._file, self._beginning, self._size

    def held(self, now: datetime, settled: Collection[str]) -> Decimal:
        """USD that open holds set aside, but for those that were `settled` behind the journal's back.

        What will be given back on expiry no longer counts then.
        """
        gone = {hold_id: self._made(hold_id) for hold_id in settled}
        gone |= {hold.hold_id: hold for hold in self.expired(now) if hold.on_expiry == "release"}
        result = self.total
        for hold in gone.values():
            result = EXACT.subtract(result, hold.usd)
        return result

    def __contains__(self, hold_id: object) -> bool:
        """Whether there is an open hold of that id."""
        return hold_id in self._open

    def find(self, hold_id: str) -> Hold | None:
        """The open hold of that id."""
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

    def append(self, *entries: Hold | Closing) -> None:
        """Write entries durably, then take them. The caller holds the lock. Raises OSError."""
        with ExitStack() as stack:
            fd = self.write(stack, *entries)
            os.fsync(fd)
            try:
                self._read(fd)
            except HoldsDamaged:
                # What was damaged before does not undo what was just written; the next look says it.
                return
        if self._size > _LONGEST and self._lines > 2 * (len(self._open) + _KEPT_CLOSED):
            self._compact()

    def write(self, stack: ExitStack, *entries: Hold | Closing) -> int:
        """Write entries; the file, open until the stack ends, that is to be synced before they are told of.

        The caller holds the lock. Raises OSError.
        """
        fd = stack.enter_context(opened(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT))
        if size_of(fd) == 0:
            # Before the first entry, so that whoever fails or dies here leaves it to the next.
            sync_dir(self.path.parent)
        write_whole(fd, self._seal(fd) + b"".join(entry.line() for entry in entries))
        return fd

    def _compact(self) -> None:
        kept = list(self.closed.values())[-_KEPT_CLOSED:]
        lines = [closing.line() for closing in kept] + [hold.line() for hold in self.open()]
        replace(self.path, b"".join(lines))
        self.read()

    def _seal(self, fd: int) -> bytes:
        size = size_of(fd)
        return b"" if size == 0 or os.pread(fd, 1, size - 1) == b"\n" else TORN_MARK + b"\n"

    def _forget(self) -> None:
        self._open: dict[str, Hold | str] = {}
        self.closed: dict[str, Closing] = {}
        self.total = ZERO
        self.exists = False
        # No open hold expires before this: looking at each of them every time would not stay flat.
        self._soonest = _NEVER
        self._file = (0, 0)
        self._beginning = b""
        self._size = self._lines = 0

    def _take_block(self, fd: int) -> bool:
        """Take the next whole lines, a block at most; whether there may be more."""
        gained = size_of(fd) - self._size
        block = os.pread(fd, min(_BLOCK, max(gained, 0)), self._size)
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == _BLOCK:
            raise HoldsDamaged(f"line {self._lines + 1} is longer than {_BLOCK} bytes")
        lines = _plain_lines(whole) if len(whole) > _MANY else None
        if lines is None:
            for number, line in enumerate(whole.split(b"\n")[:-1], start=self._lines + 1):
                self._take(line, number)
        else:
            self._take_plain(lines)
        self._lines += whole.count(b"\n")
        self._size += len(whole)
        return len(block) == _BLOCK

    def _take(self, line: bytes, number: int) -> None:
        if is_blank(line):
            return
        try:
            entry = parse_entry(line)
        except Unreadable as error:
            raise HoldsDamaged(f"line {number} is unreadable: {error}") from None
        if isinstance(entry, Closing):
            self._close(entry)
        elif entry.hold_id not in self._open and entry.hold_id not in self.closed:
            # Else it was taken before: the lines before a damaged one are read again every time.
            self._open[entry.hold_id] = entry
            self._soonest = min(self._soonest, entry.expires)
            self.total = EXACT.add(self.total, entry.usd)

    def _take_plain(self, lines: list[tuple[str, ...]]) -> None:
        amounts, ends = [], []
        known, ended = self._open, self.closed
        for line, hold_id, usd, _, expires, closed, how, request_id in lines:
            if closed:
                self._close(Closing(closed, cast(Outcome, how), request_id or None))
            elif hold_id not in known and hold_id not in ended:
                known[hold_id] = line
                amounts.append(usd)
                ends.append(expires)
        if ends:
            self._soonest = min(self._soonest, datetime.fromisoformat(min(ends)))
            self.total = EXACT.add(self.total, total(map(Decimal, amounts)))

    def _close(self, closing: Closing) -> None:
        if closing.hold_id in self._open:
            self.total = EXACT.subtract(self.total, self._made(closing.hold_id).usd)
            del self._open[closing.hold_id]
        self.closed[closing.hold_id] = closing

    def _made(self, hold_id: str) -> Hold:
        found = self._open[hold_id]
        if isinstance(found, str):
            found = self._open[hold_id] = _hold(parse_object(found.encode()))
        return found


def _plain_lines(block: bytes) -> list[tuple[str, ...]] | None:
    """The lines of a block, taken apart as `_PLAIN` does; None where one of them is not plain."""
    found: list[tuple[str, ...]] = re.findall(_PLAIN, block.decode("latin-1"), re.MULTILINE | re.ASCII)
    hours = {line[3] for line in found} | {line[4][:13] for line in found}
    return found if len(found) == block.count(b"\n") and all(map(is_hour, hours - {""})) else None


def parse_entry(line: bytes) -> Hold | Closing:
    """The hold or the closing that a line of the journal is. Raises Unreadable with the reason."""
    found = parse_object(line)
    try:
        return _closing(found) if "closed" in found else _hold(found)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise Unreadable(f"neither a hold nor a closing: {error}") from None


def _closing(found: dict[str, Any]) -> Closing:
    hold_id, how, request_id = found["closed"], found["how"], found["request_id"]
    if not (isinstance(hold_id, str) and how in get_args(Outcome) and isinstance(request_id, str | None)):
        raise ValueError("what closes it is not told in words")
    return Closing(hold_id, how, request_id)


def _hold(found: dict[str, Any]) -> Hold:
    hold_id, usd, surface, model = (found[key] for key in ("hold", "usd", "surface", "model"))
    ts, expires = datetime.fromisoformat(found["ts"]), datetime.fromisoformat(found["expires"])
    if ts.tzinfo is None or expires.tzinfo is None:
        raise ValueError("a time without offset")
    if not all(isinstance(text, str) for text in (hold_id, surface, model)):
        raise ValueError("a name that is no text")
    if not isinstance(usd, Decimal) or found["on_expiry"] not in get_args(OnExpiry):
        raise ValueError("usd is not a number, or on_expiry not what can be done")
    return Hold(hold_id, checked_usd(usd), ts, expires, found["on_expiry"], surface, model)


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")
