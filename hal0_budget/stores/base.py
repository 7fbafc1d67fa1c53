"""The interface of a store: all that the account, its bookkeeping, the reports and the commands ask for.

A store keeps, for each persona of one agent, a budget, the rows of its calls, and its open holds. Only its
own package knows what it is made of, and only `stores.open` knows which stores there are.
`tests/stores/contract.py` states what every store must do, and is run on each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from hal0_budget.model.budget import Changes
from hal0_budget.model.policy import Policy, PolicyChange
from hal0_budget.model.records import Closing, Entry, Hold, Row
from hal0_budget.model.usage import Usage

if TYPE_CHECKING:
    from hal0_budget.model.sums import Sums

# Seconds that a recording waits for others.
DEFAULT_TIMEOUT = 5.0

# Receives how many bytes, or rows, were read, and how many there are.
Progress = Callable[[int, int], None]


class Days(Protocol):
    """The days that a report is about, in its time zone."""

    def day(self, moment: str) -> str:
        """The day (`2026-05-29`) of a second (`2026-05-29T13:05:09`) of UTC, or of a whole hour
        (`2026-05-29T13`) of a UTC day that is not split; empty if the report is not about that day.
        """

    def splits_hours(self, utc_day: str) -> bool:
        """Return whether a day of the zone begins in the middle of an hour of this UTC day."""


class Calls(NamedTuple):
    """Rows that follow each other in one UTC hour, such as `2026-05-29T13`: neither voids nor voided.

    Each has its USD, its number in the ledger from 1, and its cost source, empty if it has none, if any of
    them has one; `row` reads one of them whole, by its place among them.
    """

    hour: str
    usd: Sequence[Decimal]
    numbers: Sequence[int]
    sources: Sequence[str]
    row: Callable[[int], Row]


class Finding(NamedTuple):
    """One thing that is wrong: in which file or table, from which line (from 1) and byte (from 0), if any."""

    severity: Literal["damage", "notice"]
    path: str
    line: int | None
    byte: int | None
    what: str

    def text(self) -> str:
        """The finding as one sentence."""
        where = "" if self.line is None else f" line {self.line} (byte {self.byte}):"
        return f"{self.path}:{where} {self.what}"


class Audit(NamedTuple):
    """What was read of one persona, and what was found."""

    persona: str
    lines: int
    rows: int
    findings: tuple[Finding, ...]

    @property
    def is_damaged(self) -> bool:
        """Whether a gate must not judge on it."""
        return any(finding.severity == "damage" for finding in self.findings)


class Rows(Protocol):
    """The last rows of a persona, and those that are recorded from then on."""

    def read(self) -> Iterator[Entry | str]:
        """The rows that came since the last `read`, in the order of the ledger, and a sentence for each
        that is unreadable. Raises LedgerDamaged, PermissionRefused, WriteFailed.
        """

    def close(self) -> None:
        """Release what the stream holds. A `read` after this gives all rows."""


class Transaction(Protocol):
    """The rows and holds of one persona, which nobody else can change until the transaction ends.

    `now` is read once the transaction has begun. What `record` and `resolve` wrote is durable when they
    return, and what `open_hold` wrote is when the transaction has ended.
    """

    now: datetime

    def usage(self) -> Usage:
        """What is spent and held now. Raises OSError."""

    def find_rows(self, request_id: str) -> list[Row]:
        """Every row with that request id, newest first. Raises OSError."""

    def find_hold(self, hold_id: str) -> Hold | None:
        """The open hold of that id, as of the last look at the holds."""

    def closing(self, hold_id: str) -> Closing | None:
        """How a hold of that id ended; the last hundred are known at least."""

    def expired_holds(self) -> list[Hold]:
        """The open holds whose time is up, oldest first."""

    def are_holds_sound(self) -> bool:
        """Whether all that was ever held can still be read."""

    def record(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """Record rows, all or none, and end the holds that they settle.

        Raises InvalidCharge if a row cannot be stored; WriteFailed, LockTimeout, OSError if the rows may not
        be durable.
        """

    def resolve(self, *closings: Closing) -> None:
        """End holds that have no row, or whose row is on record. Raises LockTimeout, OSError."""

    def open_hold(self, hold: Hold) -> Hold:
        """Open a hold; returns it as it was written. Only a row that comes later settles it.

        Raises LockTimeout, OSError.
        """

    def confirm_rows(self) -> None:
        """Make sure that the rows that were found are durable: the writer's attempt may have failed.

        Raises WriteFailed if they are on record no more, OSError.
        """

    def confirm_holds(self) -> None:
        """Make sure that the holds that were found are durable. Raises OSError."""


class Store(Protocol):
    """What is kept of the personas of one agent, `agent`."""

    @property
    def agent(self) -> str:
        """The agent's id."""

    def personas(self) -> tuple[str, ...]:
        """The ids of all personas, sorted. Raises AgentUnknown, PermissionRefused."""

    def require_persona(self, persona: str) -> None:
        """Raise PersonaNotFound, or AgentUnknown, if there is no such persona."""

    def policy(self, persona: str, changes: Changes | None = None) -> Policy:
        """The caps, or what they would be with keys changed as `change_policy` changes them.

        Raises InvalidId, AgentUnknown, PersonaNotFound; PersonaMalformed if a cap is invalid that is not
        changed; OSError.
        """

    def change_policy(
        self, persona: str, changes: Changes, *, dry_run: bool = False, timeout: float = DEFAULT_TIMEOUT
    ) -> PolicyChange:
        """Change keys of the budget, all or none; None removes a key. `dry_run` changes nothing.

        Raises as `policy` does; PersonaUneditable, PersonaChanged, LockTimeout.
        """

    def usage(self, persona: str, now: datetime, progress: Progress | None = None) -> Usage:
        """What is spent and held, as one snapshot that waits for nobody. Raises OSError."""

    def transaction(
        self,
        persona: str,
        clock: Callable[[], datetime],
        timeout: float = DEFAULT_TIMEOUT,
        request_ids: Collection[str] = (),
    ) -> AbstractContextManager[Transaction]:
        """A transaction that waits for others `timeout` seconds at most. `request_ids` are the ids that it
        will look for, as far as they are known before.

        Raises LockTimeout, LedgerDamaged, OSError.
        """

    def open_holds(self, persona: str, now: datetime) -> tuple[Hold, ...]:
        """The holds that count at `now`, oldest first. Raises OSError."""

    def entries(
        self, persona: str, now: datetime, last: int | None = None, since: date | None = None
    ) -> Rows:
        """The `last` rows (None for all) of days from `since` on (UTC), and those that come.

        Raises LedgerDamaged if there were rows, and they are gone.
        """

    def state(self, persona: str) -> object:
        """A value that differs when anything of the persona has changed. Raises InvalidId."""

    def daily(self, usage: Usage) -> Mapping[str, Decimal]:
        """USD by the day (`2026-05-29`) of UTC that `usage` was summed from; days long past may be put
        together under the first day of their month or year.
        """

    def spending(self, persona: str, usage: Usage, days: Days, progress: Progress) -> Iterator[Sums]:
        """The sums of the rows that `usage` counted, by those days, in any number of parts.

        Raises LedgerDamaged if they are not those that `usage` counted; OSError.
        """

    def calls(self, persona: str, usage: Usage, progress: Progress) -> Iterator[Calls]:
        """The calls that `usage` counted, in the order in which they were recorded. Unreadable rows are
        passed over. Raises OSError.
        """

    def verify(self, persona: str, now: datetime) -> Audit:
        """Read everything, and say what is wrong; changes nothing. Raises BudgetError."""

    def repair(self, persona: str, now: datetime, timeout: float = DEFAULT_TIMEOUT) -> list[str]:
        """Set right what can be without guessing; a sentence for each thing that was done.

        Raises BudgetError.
        """
