"""The interface of a store: everything that the account, bookkeeping, reports and commands need of one.

A store keeps, for each persona of one agent, a budget, the rows of its calls, and its open holds. Only the
package of a store knows its files or tables, and only `stores.open` knows which stores exist.
`tests/stores/contract.py` states what every store must do, and is run on each of them. Amounts are USD as
`Decimal`; times are aware, in UTC. An OSError that a method may raise is translated by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

from hal0_budget.model.budget import Changes
from hal0_budget.model.policy import Policy
from hal0_budget.model.records import Closing, Entry, Hold, Row
from hal0_budget.model.usage import Usage
from hal0_budget.stores import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from hal0_budget.model.sums import Sums

# Receives how many bytes, or rows, were read, and how many there are.
Progress = Callable[[int, int], None]


class PolicyChange(NamedTuple):
    """The keys of a budget that a change altered, each with its value before and after (None if it is not
    set, "invalid" if the old value was not valid), and the policy after the change.
    """

    changes: Mapping[str, tuple[object, object]]
    policy: Policy


class Created(NamedTuple):
    """What `init` did with one file: `created`, `kept` or `repaired`. For a repaired file, `saved_as` is the
    copy of the old file, and `warnings` says which parts of its budget could not be kept.
    """

    path: Path
    state: Literal["created", "kept", "repaired"]
    saved_as: Path | None = None
    warnings: tuple[str, ...] = ()


class Days(Protocol):
    """The days of a report, in its time zone."""

    def day(self, moment: str) -> str:
        """The day (`2026-05-29`) of a UTC second (`2026-05-29T13:05:09`), or of a whole UTC hour
        (`2026-05-29T13`) of a UTC day whose hours are not split; empty if the report leaves that day out.
        """

    def splits_hours(self, utc_day: str) -> bool:
        """Return whether a day of the zone begins in the middle of an hour of this UTC day."""


class Calls(NamedTuple):
    """Consecutive rows of one UTC hour, such as `2026-05-29T13`. Voids and voided rows are left out.

    `usd` and `numbers` (its number in the ledger, from 1) have one item for each row. So has `sources`, in
    which a row without a cost source has an empty text; it is empty if no row has one. `row` returns the
    whole row by its index in these lists.
    """

    hour: str
    usd: Sequence[Decimal]
    numbers: Sequence[int]
    sources: Sequence[str]
    row: Callable[[int], Row]


class Finding(NamedTuple):
    """One thing that is wrong: the file or table, and the line (from 1) and byte (from 0) if it has one."""

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
    """The result of `verify` for one persona: how much was read, and the findings."""

    persona: str
    lines: int
    rows: int
    findings: tuple[Finding, ...]

    @property
    def is_damaged(self) -> bool:
        """Whether a gate must refuse to judge."""
        return any(finding.severity == "damage" for finding in self.findings)


@runtime_checkable
class Tail(Protocol):
    """The last rows of a persona, and the rows that are recorded later."""

    def read(self) -> Iterator[Entry | str]:
        """The rows that were recorded since the last `read`, in the order of the ledger, and a sentence for
        each unreadable row. Raises LedgerDamaged, PermissionRefused, WriteFailed.
        """

    def close(self) -> None:
        """Release the resources of the tail. The next `read` yields all rows."""


class Transaction(Protocol):
    """The rows and holds of one persona, which no other process can change until the transaction ends.

    `now` is the time at which the transaction began. What `record` and `resolve` write is durable when they
    return. What `open_hold` writes is durable when the transaction has ended.
    """

    now: datetime

    def usage(self) -> Usage:
        """What is spent and held at `now`, with all that this transaction has written. Raises OSError."""

    def find_rows(self, request_id: str) -> list[Row]:
        """Every row with that request id, newest first. Raises OSError."""

    def find_hold(self, hold_id: str) -> Hold | None:
        """The open hold with that id, None if there is none. Raises OSError."""

    def closing(self, hold_id: str) -> Closing | None:
        """How the hold with that id ended; None if it is open or unknown. A store remembers the last hundred
        at least. Raises OSError.
        """

    def hold_settled_by(self, request_id: str) -> str | None:
        """The id of the hold that the row with that request id settled without naming it, as far as `closing`
        remembers it. Raises OSError.
        """

    def expired_holds(self) -> list[Hold]:
        """The open holds whose time is up at `now`, oldest first. Raises OSError."""

    def are_holds_sound(self) -> bool:
        """Whether every hold that was ever opened can still be read. Raises OSError."""

    def record(self, rows: tuple[Row, ...], closings: tuple[Closing, ...] = ()) -> None:
        """Record rows, all or none, and end the holds that they settle.

        Raises InvalidCharge if a row cannot be stored; WriteFailed, LockTimeout, OSError if the rows may not
        be durable.
        """

    def resolve(self, *closings: Closing) -> None:
        """End holds that have no row, or whose row is recorded already. Raises LockTimeout, OSError."""

    def open_hold(self, hold: Hold) -> Hold:
        """Open a hold; returns it as it was written. Only a row that is recorded later settles it.

        Raises LockTimeout, OSError.
        """

    def confirm_rows(self) -> None:
        """Make the rows that `find_rows` found durable, because the fsync of their writer may have failed.

        Raises WriteFailed if they are no longer recorded, OSError.
        """

    def confirm_holds(self) -> None:
        """Make the holds that were found durable, for the same reason. Raises OSError."""


class Store(Protocol):
    """The budgets, rows and holds of the personas of one agent."""

    @property
    def agent(self) -> str:
        """The agent's id."""

    def personas(self) -> tuple[str, ...]:
        """The ids of all personas, sorted. Raises AgentUnknown, PermissionRefused."""

    def require_persona(self, persona: str) -> None:
        """Raise PersonaNotFound or AgentUnknown if the persona does not exist."""

    def policy(self, persona: str, changes: Changes | None = None) -> Policy:
        """The policy, or the one that `changes` would make of it; see `change_policy`.

        Raises InvalidId, AgentUnknown, PersonaNotFound, OSError; PersonaMalformed if a cap that is not
        changed is invalid.
        """

    def change_policy(
        self, persona: str, changes: Changes, *, dry_run: bool = False, timeout: float = DEFAULT_TIMEOUT
    ) -> PolicyChange:
        """Change keys of the budget, all or none; None removes a key. `dry_run` changes nothing.

        Raises as `policy` does; PersonaUneditable, PersonaChanged, LockTimeout.
        """

    def usage(self, persona: str, now: datetime, progress: Progress | None = None) -> Usage:
        """What is spent and held at `now`: one snapshot, without waiting for a lock. Raises OSError.

        A store may keep what it read, so that the next call reads only what was recorded since.
        """

    def transaction(
        self,
        persona: str,
        clock: Callable[[], datetime],
        timeout: float = DEFAULT_TIMEOUT,
        request_ids: Collection[str] = (),
    ) -> AbstractContextManager[Transaction]:
        """A transaction on the persona; entering it waits for others `timeout` seconds at most.

        `request_ids` are the ids that will be passed to `find_rows`, as far as they are known: a store may
        search for them before it waits. Raises LockTimeout, LedgerDamaged, OSError.
        """

    def open_holds(self, persona: str, now: datetime) -> tuple[Hold, ...]:
        """The holds that count at `now`, oldest first. Raises OSError."""

    def entries(
        self, persona: str, now: datetime, last: int | None = None, since: date | None = None
    ) -> Tail:
        """The `last` rows (None for all) of the UTC days from `since` on, and the rows that are recorded
        later. Raises LedgerDamaged if rows were lost, so that none is left.
        """

    def state(self, persona: str) -> object:
        """A value that changes when the budget, the rows or the holds change. Raises InvalidId."""

    def daily(self, usage: Usage) -> Mapping[str, Decimal]:
        """The USD that `usage` counted, by UTC day (`2026-05-29`). The sum of a month or a year long past
        may be under its first day.
        """

    def spending(self, persona: str, usage: Usage, days: Days, progress: Progress) -> Iterator[Sums]:
        """The sums of the rows that `usage` counted, by the days of `days`, in any number of parts.

        Raises LedgerDamaged if the rows that `usage` counted are gone; OSError.
        """

    def calls(self, persona: str, usage: Usage, progress: Progress) -> Iterator[Calls]:
        """The calls that `usage` counted, in the order in which they were recorded. Unreadable rows are
        left out. Raises OSError.
        """

    def verify(self, persona: str, now: datetime) -> Audit:
        """Read and check everything of the persona. Changes nothing. Raises BudgetError."""

    def repair(self, persona: str, now: datetime, timeout: float = DEFAULT_TIMEOUT) -> list[str]:
        """Repair what can be repaired without guessing; returns a sentence for each repair.

        Raises BudgetError.
        """
