"""The store in memory keeps the contract of stores."""

from __future__ import annotations

from decimal import Decimal

import pytest

from hal0_budget import Account
from hal0_budget.errors import InvalidBudget, InvalidId
from hal0_budget.stores.memory import MemoryStore
from tests.stores.contract import OpenStore, StoreContract


class TestMemoryStore(StoreContract):
    """Threads share one store, so that there is one handle."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        store = MemoryStore({"hermes": {}, "coder": {}})
        return lambda: store


def test_store_is_made_with_caps() -> None:
    store = MemoryStore({"hermes": {"daily_usd": Decimal(1), "hard_cap": False}}, "other")
    assert store.agent == "other"
    assert Account(store, "hermes").show().budget.to_table() == {"daily_usd": 1, "hard_cap": False}


@pytest.mark.parametrize("table", [{"dialy_usd": Decimal(1)}, {"daily_usd": Decimal(-1)}], ids=str)
def test_caps_that_no_budget_can_hold_are_refused(table: dict[str, Decimal]) -> None:
    with pytest.raises(InvalidBudget):
        MemoryStore({"hermes": table})


@pytest.mark.parametrize(("persona", "agent"), [("../hermes", "hermes"), ("hermes", "")])
def test_ids_are_checked(persona: str, agent: str) -> None:
    with pytest.raises(InvalidId):
        MemoryStore({persona: {}}, agent)
