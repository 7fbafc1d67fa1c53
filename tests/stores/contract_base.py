"""What the parts of the contract of stores share: fixtures, and short ways to ask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from hal0_budget import Account, Row
from hal0_budget.model.windows import SPEND_WINDOWS, Window
from hal0_budget.stores.base import Store
from tests.conftest import Clock

OpenStore = Callable[[], Store]

CENT = Decimal("0.01")


class Contract:
    """The fixtures of every part. A subclass that is run defines `open_store`: see `StoreContract`."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Store:
        """A handle on the store."""
        return open_store()

    @pytest.fixture
    def account(self, store: Store, clock: Clock) -> Account:
        """The account of hermes, at noon."""
        return Account(store, "hermes", clock=clock)

    @pytest.fixture
    def reopened(self, open_store: OpenStore, clock: Clock) -> Callable[[], Account]:
        """Makes the same account on another handle, as another process has it."""
        return lambda: Account(open_store(), "hermes", clock=clock)


def rows_of(account: Account) -> list[Row]:
    """All rows of a persona, in the order in which they were recorded."""
    with closing(account.tail()) as tail:
        entries = list(tail.read())
    assert not [entry for entry in entries if isinstance(entry, str)]
    return [entry.row for entry in entries if not isinstance(entry, str)]


def ids_of(account: Account) -> list[str]:
    """The request ids of all rows, in the order in which they were recorded."""
    return [row.request_id for row in rows_of(account)]


def spent(account: Account) -> dict[Window, Decimal | None]:
    """USD spent by window."""
    statement = account.show()
    return {window: statement.of(window).spent for window in SPEND_WINDOWS}


def spent_and_held(account: Account) -> tuple[object, object]:
    """USD spent of today, and held."""
    day = account.show().of("daily")
    return day.spent, day.held


def reserve(account: Account, usd: str = "0.4", **options: Any) -> str:
    """Open a hold that must be granted; its id."""
    hold = account.reserve(Decimal(usd), **options).hold
    assert hold is not None
    return hold.hold_id
