"""What every store must do: one suite, run on each of them.

A store is proven by a class with one fixture::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self) -> OpenStore:
            place = ...  # new and empty: the personas hermes and coder of one agent, without caps
            return lambda: MyStore(place)

Each call of `open_store` must return a handle of its own on the same place, as another process has one.
A store that threads can share may return the same object each time.

The tests ask the interface of `stores.base`, and the account and the reports on top of it. What damage looks
like, and what survives a crash, is different for each store, and is tested with it.
"""

from __future__ import annotations

from tests.stores.contract_base import OpenStore
from tests.stores.contract_history import HistoryContract
from tests.stores.contract_holds import HoldContract
from tests.stores.contract_policy import PolicyContract
from tests.stores.contract_reading import ReadingContract
from tests.stores.contract_rules import RecordContract, VerdictContract
from tests.stores.contract_together import TransactionContract

__all__ = ["OpenStore", "StoreContract"]


class StoreContract(
    RecordContract,
    HoldContract,
    VerdictContract,
    PolicyContract,
    TransactionContract,
    ReadingContract,
    HistoryContract,
):
    """All that is asked of a store."""
