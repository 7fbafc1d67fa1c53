"""The contract of stores: holds are opened once, resolved once, and counted in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from hal0_budget import Account, Charge
from hal0_budget.errors import Conflict, HoldNotFound
from hal0_budget.model.records import Closing, Hold, Row
from hal0_budget.stores.base import Store
from tests.conftest import NOON, Clock
from tests.stores.contract_base import CENT, Contract, OpenStore, reserve, rows_of, spent_and_held

MINUTE = timedelta(minutes=1)
HOLD = Hold("h", Decimal("0.4"), NOON, NOON + timedelta(minutes=15), "book", "cli", "m")
ROW = Row(NOON, "hermes", "cli", "m", Decimal("0.3"), "r1", hold_id="h")

RECORDINGS: dict[str, Callable[[Account], object]] = {
    "charge": lambda account: account.charge(CENT, model="m"),
    "reserve": lambda account: account.reserve(CENT),
    "release": lambda account: account.release("other"),
    "void": lambda account: account.void("r1", "wrong"),
}


class HoldContract(Contract):
    """Holds, through the account and through the interface."""

    def test_open_hold_counts_in_show_check_and_reserve(self, account: Account) -> None:
        account.set_budget({"daily_usd": Decimal(1)})
        reserve(account, "0.9")
        assert spent_and_held(account) == (0, Decimal("0.9"))
        assert account.check(Decimal("0.1")).verdict.level == "allow"
        blocked = account.check(Decimal("0.11")).verdict
        assert (blocked.level, blocked.reason) == (
            "block",
            "daily cap $1.0000 would be exceeded: spent $0.0000, held $0.9000, estimate $0.1100",
        )
        assert account.reserve(Decimal("0.11")).hold is None
        assert spent_and_held(account) == (0, Decimal("0.9"))

    def test_holds_are_the_same_on_every_handle_oldest_first(
        self, account: Account, reopened: Callable[[], Account], clock: Clock
    ) -> None:
        opened = []
        for name, on_expiry in (("b", "book"), ("a", "release")):
            options = {"hold_id": name, "ttl": MINUTE, "surface": "\u00fc", "model": 'a "b"'}
            opened.append(account.reserve(Decimal("1e-340"), on_expiry=on_expiry, **options).hold)  # type: ignore[arg-type]
            clock.now += timedelta(seconds=1)
        assert opened[0] is not None
        assert opened[0][:7] == ("b", Decimal("1e-340"), NOON, NOON + MINUTE, "book", "\u00fc", 'a "b"')
        for each in (account, reopened()):
            assert list(each.holds()) == opened
            assert each.show().held == Decimal("2e-340")
        other = reopened()
        other.release("b")
        assert [hold.hold_id for hold in account.holds()] == ["a"]

    @pytest.mark.parametrize(("cost", "overrun"), [("0.3", None), ("0.4", None), ("0.55", Decimal("0.15"))])
    def test_charge_settles_a_hold_at_the_actual_cost(
        self, account: Account, cost: str, overrun: Decimal | None
    ) -> None:
        receipt = account.charge(Decimal(cost), model="m", hold_id=reserve(account))
        assert receipt.overrun == overrun
        assert spent_and_held(account) == (Decimal(cost), 0)

    def test_released_hold_is_given_back(self, account: Account) -> None:
        account.release(reserve(account))
        assert spent_and_held(account) == (0, 0)
        assert rows_of(account) == []

    @pytest.mark.parametrize("first", ["charge", "release"])
    @pytest.mark.parametrize("second", ["charge", "release", "reserve"])
    def test_hold_resolves_once(
        self, account: Account, reopened: Callable[[], Account], first: str, second: str
    ) -> None:
        hold_id = reserve(account)
        ways: dict[str, Callable[[Account], object]] = {
            "charge": lambda account: account.charge(CENT, model="m", hold_id=hold_id),
            "release": lambda account: account.release(hold_id),
            "reserve": lambda account: account.reserve(CENT, hold_id=hold_id),
        }
        ways[first](account)
        before = spent_and_held(account)
        for each in (account, reopened()):
            with pytest.raises(Conflict):
                ways[second](each)
            assert spent_and_held(each) == before

    def test_reserving_an_open_hold_again_changes_nothing(
        self, account: Account, reopened: Callable[[], Account]
    ) -> None:
        first = account.reserve(Decimal("0.4"), hold_id="mine").hold
        for each in (account, reopened()):
            assert each.reserve(Decimal("0.4"), hold_id="mine").hold == first
            assert spent_and_held(each) == (0, Decimal("0.4"))
            with pytest.raises(Conflict):
                each.reserve(Decimal("0.5"), hold_id="mine")

    @pytest.mark.parametrize("act", ["charge", "release"])
    def test_hold_that_never_was_or_is_another_personas_is_not_found(
        self, account: Account, store: Store, clock: Clock, act: str
    ) -> None:
        for hold_id in ("nope", reserve(Account(store, "coder", clock=clock))):
            with pytest.raises(HoldNotFound):
                account.release(hold_id) if act == "release" else account.charge(
                    CENT, model="m", hold_id=hold_id
                )
        assert spent_and_held(account) == (0, 0)

    @pytest.mark.parametrize("record", RECORDINGS.values(), ids=RECORDINGS)
    def test_next_recording_books_an_expired_hold_as_unconfirmed_at_its_own_time(
        self,
        record: Callable[[Account], object],
        account: Account,
        reopened: Callable[[], Account],
        clock: Clock,
    ) -> None:
        account.charge(CENT, model="m", request_id="r1")
        reserve(account, "0", ttl=timedelta(days=1), hold_id="other")
        hold_id = reserve(account, ttl=MINUTE, surface="openrouter", model="gpt")
        clock.now += timedelta(hours=13)
        assert spent_and_held(account) == (0, Decimal("0.4")), "it is held until the next recording"
        record(reopened())
        shown = account.show()
        assert shown.held in (0, CENT)
        assert shown.unconfirmed == Decimal("0.4")
        assert shown.of("daily").spent in (0, CENT), "the call was made the day before"
        row = next(row for row in rows_of(account) if row.cost_source)
        assert (row.cost_source, row.cost_usd, row.hold_id) == ("unconfirmed", Decimal("0.4"), hold_id)
        assert (row.surface, row.model, row.ts) == ("openrouter", "gpt", NOON)

    def test_hold_counts_until_the_instant_at_which_it_expires(self, account: Account, clock: Clock) -> None:
        reserve(account, ttl=MINUTE, on_expiry="release")
        clock.now = NOON + MINUTE - timedelta(microseconds=1)
        assert (spent_and_held(account), len(account.holds())) == ((0, Decimal("0.4")), 1)
        clock.now = NOON + MINUTE
        assert (spent_and_held(account), account.holds()) == ((0, 0), ())
        clock.now = NOON
        assert spent_and_held(account) == (0, Decimal("0.4")), "nobody has recorded that it ended"

    def test_hold_that_is_released_on_expiry_no_longer_counts(self, account: Account, clock: Clock) -> None:
        account.set_budget({"daily_usd": Decimal(1)})
        hold_id = reserve(account, ttl=MINUTE, on_expiry="release")
        clock.now += 2 * MINUTE
        assert spent_and_held(account) == (0, 0)
        assert account.reserve(Decimal(1)).hold is not None
        assert account.show().unconfirmed == 0
        with pytest.raises(Conflict):
            account.charge(CENT, model="m", hold_id=hold_id)

    def test_late_charge_corrects_an_unconfirmed_hold_by_rows(self, account: Account, clock: Clock) -> None:
        hold_id = reserve(account, ttl=MINUTE)
        clock.now += 2 * MINUTE
        account.reserve(CENT)
        before = rows_of(account)
        for _ in ("first", "again"):
            account.charge(Decimal("0.1"), model="m", request_id="late", hold_id=hold_id)
            assert spent_and_held(account) == (Decimal("0.1"), CENT)
            assert account.show().unconfirmed == 0
        rows = rows_of(account)
        assert (len(rows), rows[: len(before)]) == (3, before)
        with pytest.raises(Conflict):
            account.charge(Decimal("0.2"), model="m", hold_id=hold_id)

    def test_call_on_record_without_its_hold_settles_it_when_it_comes_again(
        self, account: Account, reopened: Callable[[], Account]
    ) -> None:
        hold_id = reserve(account)
        account.charge(CENT, model="m", request_id="r1")
        assert spent_and_held(account) == (CENT, Decimal("0.4"))
        for each in (account, reopened()):
            assert each.charge(CENT, model="m", request_id="r1", hold_id=hold_id).was_recorded
            assert spent_and_held(each) == (CENT, 0)

    def test_call_on_record_without_its_hold_settles_no_second_hold(
        self, account: Account, reopened: Callable[[], Account]
    ) -> None:
        first, second = reserve(account), reserve(account)
        account.charge(CENT, model="m", request_id="r1")
        account.charge(CENT, model="m", request_id="r1", hold_id=first)
        held = spent_and_held(account)
        for each in (account, reopened()):
            with pytest.raises(Conflict):
                each.charge(CENT, model="m", request_id="r1", hold_id=second)
            assert spent_and_held(each) == held
            assert each.charge(CENT, model="m", request_id="r1", hold_id=first).was_recorded

    def test_batch_settles_each_hold_with_one_call_and_no_call_settles_two(self, account: Account) -> None:
        first, second = reserve(account), reserve(account)
        account.charge(CENT, model="m", request_id="r1")
        held = spent_and_held(account)

        def charge(request_id: str, hold_id: str) -> Charge:
            return Charge(CENT, "m", request_id=request_id, hold_id=hold_id)

        for batch in (
            (charge("r1", first), charge("r1", second)),
            (charge("r1", first), charge("r2", first)),
            (charge("r2", first), charge("r1", first)),
        ):
            with pytest.raises(Conflict):
                account.charge_all(batch)
            assert spent_and_held(account) == held
        again = account.charge_all((charge("r1", first), charge("r1", first)))
        assert [receipt.was_recorded for receipt in again] == [True, True]
        assert spent_and_held(account) == (CENT, Decimal("0.4"))

    def test_row_that_names_an_open_hold_ends_it(self, store: Store, clock: Clock) -> None:
        """A program that knows of no holds records such a row, and so does one that is killed in between."""
        with store.transaction("hermes", clock) as transaction:
            transaction.open_hold(HOLD)
        with store.transaction("hermes", clock) as transaction:
            transaction.record((ROW,))
        assert store.usage("hermes", NOON).held == 0
        assert store.open_holds("hermes", NOON) == ()
        with store.transaction("hermes", clock) as transaction:
            assert transaction.usage().held == 0
            assert transaction.find_hold("h") is None
            assert transaction.closing("h") is not None

    def test_row_from_before_a_hold_does_not_end_it(self, store: Store, clock: Clock) -> None:
        with store.transaction("hermes", clock) as transaction:
            transaction.record((ROW,))
        with store.transaction("hermes", clock) as transaction:
            hold = transaction.open_hold(HOLD)
            assert hold[:7] == HOLD[:7]
        assert store.usage("hermes", NOON).held == HOLD.usd
        assert store.open_holds("hermes", NOON) == (hold,)

    def test_each_step_of_a_transaction_knows_the_holds_of_other_handles(
        self, open_store: OpenStore, clock: Clock
    ) -> None:
        with open_store().transaction("hermes", clock) as transaction:
            transaction.open_hold(HOLD)
        with open_store().transaction("hermes", clock) as transaction:
            transaction.open_hold(HOLD._replace(hold_id="b"))
        with open_store().transaction("hermes", clock) as transaction:
            assert transaction.find_hold("h") is not None
        settled, released = Closing("h", "settled", "r1"), Closing("b", "released")
        with open_store().transaction("hermes", clock) as transaction:
            transaction.record((ROW,), (settled,))
        with open_store().transaction("hermes", clock) as transaction:
            transaction.resolve(released)
        for hold_id, closing in (("h", settled), ("b", released)):
            with open_store().transaction("hermes", clock) as transaction:
                assert transaction.closing(hold_id) == closing
        clock.now = HOLD.expires
        with open_store().transaction("hermes", clock) as transaction:
            assert transaction.expired_holds() == []
            assert transaction.are_holds_sound()
        assert open_store().usage("hermes", clock.now).held == 0

    def test_last_hundred_holds_that_ended_are_known(self, store: Store, clock: Clock) -> None:
        names = [f"h{number}" for number in range(130)]
        for first in range(0, len(names), 26):
            with store.transaction("hermes", clock) as transaction:
                for name in names[first : first + 26]:
                    transaction.open_hold(HOLD._replace(hold_id=name))
                transaction.resolve(*(Closing(name, "released") for name in names[first : first + 26]))
        with store.transaction("hermes", clock) as transaction:
            assert transaction.usage().held == 0
            known = [transaction.closing(name) for name in names[-100:]]
        assert known == [Closing(name, "released") for name in names[-100:]]

    def test_transaction_finds_the_holds_whose_time_is_up_oldest_first(
        self, store: Store, clock: Clock
    ) -> None:
        with store.transaction("hermes", clock) as transaction:
            for name, minutes in (("b", 1), ("c", 20), ("a", 15)):
                transaction.open_hold(HOLD._replace(hold_id=name, expires=NOON + minutes * MINUTE))
        clock.now = NOON + 15 * MINUTE
        with store.transaction("hermes", clock) as transaction:
            assert transaction.usage().held == Decimal("1.2")
            assert [hold.hold_id for hold in transaction.expired_holds()] == ["b", "a"]
            assert transaction.find_hold("c") is not None
            assert transaction.are_holds_sound()
