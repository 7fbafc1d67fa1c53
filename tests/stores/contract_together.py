"""The contract of stores: transactions are exclusive, whoever else is at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from hal0_budget import Account
from hal0_budget.errors import Conflict, LockTimeout
from hal0_budget.model.records import Row
from hal0_budget.stores.base import Store
from tests.conftest import NOON, Clock
from tests.stores.contract_base import CENT, Contract, OpenStore, ids_of, reserve, rows_of

THREADS = 4
T = TypeVar("T")

ROW = Row(NOON, "hermes", "cli", "m", CENT, "r1")


class TransactionContract(Contract):
    """Each thread has a handle of its own, as each process has."""

    def together(self, open_store: OpenStore, act: Callable[[Account, int], T]) -> list[T]:
        """Do `act` at the same time on the account of hermes by each of some handles; what it returns."""
        accounts = [Account(open_store(), "hermes", lock_timeout=30, clock=Clock()) for _ in range(THREADS)]
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                return list(pool.map(act, accounts, range(THREADS)))
        finally:
            sys.setswitchinterval(usual)

    def test_transaction_excludes_others_and_no_reader(self, open_store: OpenStore, clock: Clock) -> None:
        other = open_store()
        with open_store().transaction("hermes", clock) as transaction:
            transaction.record((ROW,))
            for timeout in (0, 0.05):
                with pytest.raises(LockTimeout), other.transaction("hermes", clock, timeout):
                    pytest.fail("two transactions at the same time")
            assert other.usage("hermes", NOON).spent["daily"] == CENT
            assert Account(other, "hermes", clock=clock).check(CENT).verdict.level == "allow"
            with other.transaction("coder", clock, 0) as unrelated:
                assert unrelated.usage().spent["daily"] == 0
        with other.transaction("hermes", clock, 0) as transaction:
            assert transaction.find_rows("r1") == [ROW]

    def test_clock_is_read_once_the_transaction_has_begun(self, open_store: OpenStore, clock: Clock) -> None:
        def begun(store: Store) -> object:
            with store.transaction("hermes", clock, 30) as transaction:
                return transaction.now

        with ThreadPoolExecutor(1) as pool:
            with open_store().transaction("hermes", clock):
                waiting = pool.submit(begun, open_store())
                time.sleep(0.05)
                clock.now += timedelta(hours=1)
            assert waiting.result(30) == NOON + timedelta(hours=1)

    def test_failed_transaction_ends_and_keeps_what_it_recorded(
        self, store: Store, open_store: OpenStore, clock: Clock
    ) -> None:
        with pytest.raises(ZeroDivisionError), store.transaction("hermes", clock) as transaction:
            transaction.record((ROW,))
            raise ZeroDivisionError
        for each in (store, open_store()):
            with each.transaction("hermes", clock, 0) as transaction:
                assert transaction.find_rows("r1") == [ROW]
                assert transaction.usage().spent["daily"] == CENT

    def test_transaction_sees_its_own_rows_and_holds(self, store: Store, clock: Clock) -> None:
        with store.transaction("hermes", clock) as transaction:
            second = ROW._replace(cost_usd=2 * CENT)
            transaction.record((ROW, ROW._replace(request_id="r2")))
            transaction.record((second,))
            assert transaction.find_rows("r1") == [second, ROW], "the newest first"
            assert transaction.find_rows("r3") == []
            assert transaction.usage().spent["daily"] == 4 * CENT
            transaction.confirm_rows()

    def test_holds_of_several_threads_never_exceed_a_cap(
        self, account: Account, open_store: OpenStore
    ) -> None:
        account.set_budget({"daily_usd": Decimal(1)})

        def act(account: Account, _number: int) -> int:
            return sum(account.reserve(Decimal("0.1")).hold is not None for _ in range(5))

        assert sum(self.together(open_store, act)) == 10
        assert (account.show().held, len(account.holds())) == (Decimal(1), 10)

    def test_charges_of_several_threads_all_count(self, account: Account, open_store: OpenStore) -> None:
        def act(account: Account, number: int) -> None:
            for turn in range(10):
                account.charge(CENT, model="m", request_id=f"r{number}-{turn}")

        self.together(open_store, act)
        expected = {f"r{number}-{turn}" for number in range(THREADS) for turn in range(10)}
        assert (len(ids_of(account)), set(ids_of(account))) == (THREADS * 10, expected)
        assert account.show().of("lifetime").spent == THREADS * 10 * CENT

    def test_same_id_from_several_threads_is_one_row(self, account: Account, open_store: OpenStore) -> None:
        def act(account: Account, _number: int) -> bool:
            return account.charge(CENT, model="m", request_id="r1").was_recorded

        assert sorted(self.together(open_store, act)) == [False, True, True, True]
        assert len(rows_of(account)) == 1

    def test_hold_is_settled_by_one_of_several_threads(self, account: Account, open_store: OpenStore) -> None:
        hold_id = reserve(account)

        def act(account: Account, _number: int) -> str:
            try:
                return account.charge(CENT, model="m", hold_id=hold_id).row.request_id
            except Conflict:
                return ""

        assert sorted(map(bool, self.together(open_store, act))) == [False, False, False, True]
        assert account.holds() == ()
        assert len(rows_of(account)) == 1

    def test_caps_changed_by_several_threads_are_all_changed(
        self, account: Account, open_store: OpenStore
    ) -> None:
        keys = ("hourly_usd", "daily_usd", "weekly_usd", "monthly_usd")

        def act(account: Account, number: int) -> None:
            before = None
            for cents in range(1, 6):
                after = cents * CENT
                assert account.set_budget({keys[number]: after}).changes == {keys[number]: (before, after)}
                before = after

        self.together(open_store, act)
        assert account.show().budget.to_table() == {**dict.fromkeys(keys, 5 * CENT), "hard_cap": True}
