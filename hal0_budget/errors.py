"""The errors of this program: one class per kind of failure, with its code for JSON and its exit code.

The exit codes follow sysexits.h if it has one for the case. They start at 64, so that a failure
is never mistaken for a verdict (0 allow, 10 warn, 20 block).
"""

from __future__ import annotations

import errno
from typing import Any


class BudgetError(Exception):
    """A failure with a message for a person, a `code` for JSON and an `exit_code` for a script."""

    code = "internal"
    exit_code = 70

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class UsageError(BudgetError):
    """The command line cannot be understood."""

    code = "usage"
    exit_code = 64


class InvalidId(BudgetError):
    """An agent or persona id outside `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`."""

    code = "id.invalid"
    exit_code = 64


class InvalidBudget(BudgetError):
    """A cap, `hard_cap` or `warn_at` was given a value that is not valid."""

    code = "budget.invalid"
    exit_code = 64


class InvalidEstimate(BudgetError):
    """An estimate that is not a finite decimal >= 0."""

    code = "budget.invalid_estimate"
    exit_code = 64


class InvalidCharge(BudgetError):
    """A cost, model, surface or request id that a ledger row cannot hold."""

    code = "budget.invalid_charge"
    exit_code = 64


class InvalidHold(BudgetError):
    """A time to live outside 1 second to 24 hours."""

    code = "hold.invalid"
    exit_code = 64


class PersonaMalformed(BudgetError):
    """The persona file is not valid TOML, or its budget is not a valid budget."""

    code = "persona.malformed"
    exit_code = 65


class InvalidReply(BudgetError):
    """The data is not a response of a provider that a charge can be read from."""

    code = "reply.invalid"
    exit_code = 65


class ProviderError(BudgetError):
    """The provider answered with an error; the call costs nothing."""

    code = "reply.error"
    exit_code = 65


class PriceUnknown(BudgetError):
    """The price of a model is unknown. An unknown price never counts as zero."""

    code = "price.unknown"
    exit_code = 65


class PersonaUneditable(BudgetError):
    """The budget table cannot be edited without changing other parts of the file."""

    code = "persona.uneditable"
    exit_code = 65


class LedgerDamaged(BudgetError):
    """The ledger has unreadable rows, is shorter than its checkpoint, or is not a ledger file."""

    code = "ledger.damaged"
    exit_code = 65


class AgentUnknown(BudgetError):
    """The root has no such agent."""

    code = "agent.unknown"
    exit_code = 66


class PersonaNotFound(BudgetError):
    """The agent has no such persona."""

    code = "persona.not_found"
    exit_code = 66


class HoldNotFound(BudgetError):
    """The persona has no such hold."""

    code = "hold.not_found"
    exit_code = 66


class RequestNotFound(BudgetError):
    """The persona's ledger has no such request id."""

    code = "request.not_found"
    exit_code = 66


class WriteFailed(BudgetError):
    """A write or fsync failed: nothing was acknowledged."""

    code = "write.failed"
    exit_code = 74


class LockTimeout(BudgetError):
    """The lock was not free in time."""

    code = "lock.timeout"
    exit_code = 75


class PersonaChanged(BudgetError):
    """Another program rewrote the persona file while it was being edited."""

    code = "persona.changed"
    exit_code = 75


class Conflict(BudgetError):
    """This request id or hold was already used for something else."""

    code = "conflict"
    exit_code = 76


class PermissionRefused(BudgetError):
    """The operating system refused access to a file."""

    code = "permission.denied"
    exit_code = 77


def from_os_error(error: OSError) -> BudgetError:
    """Return the PermissionRefused or WriteFailed for an error of the operating system."""
    where = f"{error.filename}: " if error.filename else ""
    message = f"{where}{error.strerror or error}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionRefused(f"{message}; check the file's permissions, or run as a user who has access")
    return WriteFailed(f"{message}; nothing was acknowledged")
