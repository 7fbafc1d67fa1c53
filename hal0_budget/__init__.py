"""hal0-budget: spending caps for the personas of an agent, on plain files.

The library does what the commands do, and neither prints nor exits::

    from decimal import Decimal
    from pathlib import Path
    from hal0_budget import Account, Home

    account = Account(Home(Path("/var/lib/hal0/agents"), "hermes"), "coder")
    if account.check(Decimal("0.05")).verdict.level != "block":
        account.charge(Decimal("0.0421"), model="openai/gpt-4.1", surface="openrouter")

Amounts are USD as `Decimal`, times are aware UTC, and every failure is a `BudgetError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hal0_budget.account import Account as Account
    from hal0_budget.errors import BudgetError as BudgetError
    from hal0_budget.model.budget import Budget as Budget
    from hal0_budget.model.charge import Charge as Charge
    from hal0_budget.model.money import parse_usd as parse_usd
    from hal0_budget.model.receipts import Receipt as Receipt
    from hal0_budget.model.receipts import Reservation as Reservation
    from hal0_budget.model.receipts import Revision as Revision
    from hal0_budget.model.records import Entry as Entry
    from hal0_budget.model.records import Hold as Hold
    from hal0_budget.model.records import Row as Row
    from hal0_budget.model.results import Decision as Decision
    from hal0_budget.model.results import Statement as Statement
    from hal0_budget.model.results import WindowState as WindowState
    from hal0_budget.model.sums import Sum as Sum
    from hal0_budget.model.usage import Usage as Usage
    from hal0_budget.model.verdict import Scope as Scope
    from hal0_budget.model.verdict import Verdict as Verdict
    from hal0_budget.model.verdict import decide as decide
    from hal0_budget.reporting.grouping import Group as Group
    from hal0_budget.reporting.report import PersonaReport as PersonaReport
    from hal0_budget.reporting.report import Report as Report
    from hal0_budget.reporting.report import report as report
    from hal0_budget.reporting.simulation import Simulation as Simulation
    from hal0_budget.reporting.simulation import simulate as simulate
    from hal0_budget.stores.base import Created as Created
    from hal0_budget.stores.base import Tail as Tail
    from hal0_budget.stores.memory import MemoryStore as MemoryStore
    from hal0_budget.stores.open import Home as Home
    from hal0_budget.stores.open import init as init

__version__ = "0.1.0"

_HOMES = {
    "Account": "account",
    "Decision": "model.results",
    "Revision": "model.receipts",
    "Statement": "model.results",
    "WindowState": "model.results",
    "Receipt": "model.receipts",
    "Reservation": "model.receipts",
    "Budget": "model.budget",
    "Charge": "model.charge",
    "BudgetError": "errors",
    "Group": "reporting.grouping",
    "parse_usd": "model.money",
    "PersonaReport": "reporting.report",
    "Report": "reporting.report",
    "report": "reporting.report",
    "Created": "stores.base",
    "init": "stores.open",
    "Simulation": "reporting.simulation",
    "simulate": "reporting.simulation",
    "Hold": "model.records",
    "Home": "stores.open",
    "MemoryStore": "stores.memory",
    "Row": "model.records",
    "Sum": "model.sums",
    "Entry": "model.records",
    "Tail": "stores.base",
    "Scope": "model.verdict",
    "Usage": "model.usage",
    "Verdict": "model.verdict",
    "decide": "model.verdict",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604, every name of _HOMES is a string


def __getattr__(name: str) -> object:
    # Imported on first use: the package itself must import fast, and cannot fail to.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
