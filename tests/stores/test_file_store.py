"""The store on files keeps the contract of stores, also between processes."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest

from hal0_budget import Account, Home
from hal0_budget.errors import AgentUnknown
from hal0_budget.stores.open import open_store as opened
from tests.stores.contract import OpenStore, StoreContract
from tests.stores.contract_base import ids_of

PROCESSES = 4

# Reserves ten cents five times, settles the holds that are granted, charges an id that all
# processes share, and prints the number of holds.
SPENDER = """
import sys
from decimal import Decimal
from pathlib import Path
from hal0_budget import Account, Home
account = Account(Home(Path(sys.argv[1])), "hermes", lock_timeout=60)
holds = [account.reserve(Decimal("0.1")).hold for _ in range(5)]
for hold in filter(None, holds):
    account.charge(Decimal("0.1"), model="m", hold_id=hold.hold_id)
account.charge(Decimal(0), model="m", request_id="shared")
print(sum(hold is not None for hold in holds))
"""


class TestFileStore(StoreContract):
    """A handle keeps what it has read, so that each must notice what the others write."""

    @pytest.fixture
    def open_store(self, home: Home) -> OpenStore:
        return lambda: opened(home)


def test_transactions_of_several_processes_are_exclusive(home: Home) -> None:
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(1)})
    command = [sys.executable, "-c", SPENDER, str(home.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    granted = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(granted) == 10
    assert account.show().of("lifetime").spent == 1
    assert account.holds() == ()
    assert (len(ids_of(account)), ids_of(account).count("shared")) == (11, 1)


def test_agent_without_a_folder_is_unknown(home: Home) -> None:
    store = opened(home._replace(agent="nobody"))
    for ask in (store.personas, lambda: store.policy("hermes"), lambda: store.require_persona("hermes")):
        with pytest.raises(AgentUnknown):
            ask()
