"""The contract of stores: rows are recorded once and exactly, and count in the windows that hold them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from hal0_budget import Account, Charge
from hal0_budget.errors import Conflict, InvalidCharge, RequestNotFound
from hal0_budget.model.budget import CAP_KEYS
from hal0_budget.model.tokens import Tokens
from hal0_budget.model.windows import SPEND_WINDOWS, Window
from hal0_budget.stores.base import Store
from tests.conftest import NOON, Clock
from tests.stores.contract_base import CENT, Contract, ids_of, reserve, rows_of, spent
from tests.support.ledgers import calendar_start
from tests.support.windows import EDGES, JUMPS

COST = Decimal("0.25")
INSTANT = timedelta(microseconds=1)

# Every field that a charge has, with amounts and names that a format may have trouble with.
FULL = Charge(
    Decimal("1e-340"),
    'm "quoted" \\ \u202e\u00fc\U0001f4b8',
    "a\tb\n",
    "\x00 r1",
    datetime(2026, 5, 29, 5, 29, 59, 999999, tzinfo=timezone(timedelta(hours=5.5))),
    cost_source="priced",
    price="1 USD per token",
    tokens=Tokens(1, 0, 2, 3, 10**15),
)


class RecordContract(Contract):
    """Rows: recorded once, exactly, all or none; and taken back by rows of their own."""

    def test_row_is_the_same_on_every_handle(self, account: Account, reopened: Callable[[], Account]) -> None:
        receipts = account.charge_all((FULL, Charge(COST, "m")))
        found = rows_of(reopened())
        assert found == [receipt.row for receipt in receipts]
        assert (found[0].ts, found[1].ts) == (datetime(2026, 5, 28, 23, 59, 59, 999999, tzinfo=UTC), NOON)
        assert (found[0].cost_usd, found[0].cache_write_tokens) == (Decimal("1e-340"), 5)
        assert [row.persona_id for row in found] == ["hermes", "hermes"]

    def test_sums_are_exact(self, account: Account) -> None:
        costs = [Decimal("0.1")] * 3 + [Decimal("1e-340"), Decimal(1_000_000_000), Decimal(0)]
        for cost in costs:
            account.charge(cost, model="m")
        expected = Decimal("1000000000.3" + "0" * 338 + "1")
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, expected)

    def test_same_id_with_the_same_facts_is_recorded_once(
        self, account: Account, reopened: Callable[[], Account], clock: Clock
    ) -> None:
        first = account.charge(COST, model="m", request_id="r1")
        clock.now += timedelta(days=1)
        for again in (account, reopened()):
            receipt = again.charge(Decimal("0.250"), model="m", request_id="r1")
            assert (first.was_recorded, receipt.was_recorded) == (False, True)
            assert receipt.row == first.row
        assert ids_of(account) == ["r1"]

    @pytest.mark.parametrize(
        "other",
        [{"cost": Decimal("0.26")}, {"model": "n"}, {"surface": "x"}],
        ids=["cost", "model", "surface"],
    )
    def test_same_id_with_other_facts_is_a_conflict_and_no_row(
        self, account: Account, other: dict[str, Any]
    ) -> None:
        facts = {"cost": COST, "model": "m", "request_id": "r1"}
        account.charge(**facts)  # type: ignore[arg-type]
        with pytest.raises(Conflict):
            account.charge(**{**facts, **other})
        assert ids_of(account) == ["r1"]

    @pytest.mark.parametrize(
        "request_id", ["a b", "ü", "\u202e", 'q"\\', "\x00", "x" * 1024, "void", "Void:r1", "%", "r_"]
    )
    def test_strange_ids_are_known_again_and_no_others_with_them(
        self, account: Account, request_id: str
    ) -> None:
        assert not account.charge(COST, model="m", request_id=request_id).was_recorded
        assert account.charge(COST, model="m", request_id=request_id).was_recorded
        for other in ("r1", request_id.swapcase() + ".", request_id + " "):
            if other != request_id and len(other) <= 1024:
                assert not account.charge(COST, model="m", request_id=other).was_recorded

    def test_personas_have_rows_ids_and_holds_of_their_own(self, store: Store, account: Account) -> None:
        coder = Account(store, "coder", clock=account.clock)
        for cost, each in ((COST, account), (CENT, coder)):
            assert not each.charge(cost, model="m", request_id="r1").was_recorded
            reserve(each, str(cost), hold_id="h1")
        assert (account.show().held, coder.show().held) == (COST, CENT)
        assert (spent(account)["daily"], spent(coder)["daily"]) == (COST, CENT)

    def test_generated_ids_differ(self, account: Account) -> None:
        made = [account.charge(COST, model="m").row.request_id for _ in range(3)]
        assert len(set(made)) == 3
        assert ids_of(account) == made

    def test_batch_is_recorded_in_order_and_all_or_nothing(self, account: Account) -> None:
        good = [Charge(COST, "m", request_id=f"b{number}") for number in range(5)]
        account.charge(COST, model="m", request_id="r1")
        for bad, error in (
            (Charge(-COST, "m"), InvalidCharge),
            (Charge(CENT, "m", request_id="r1"), Conflict),
        ):
            with pytest.raises(error):
                account.charge_all((*good, bad))
            assert ids_of(account) == ["r1"]
        account.charge_all((*good, Charge(COST, "m", request_id="r1")))
        assert ids_of(account) == ["r1", "b0", "b1", "b2", "b3", "b4"]

    def test_batch_with_the_same_id_twice_is_one_row_or_a_conflict(self, account: Account) -> None:
        same = Charge(COST, "m", request_id="b1")
        receipts = account.charge_all((same, same))
        assert [receipt.was_recorded for receipt in receipts] == [False, True]
        with pytest.raises(Conflict):
            account.charge_all((Charge(COST, "m", request_id="b2"), same._replace(cost=Decimal(1))))
        assert ids_of(account) == ["b1"]

    @pytest.mark.parametrize(
        "bad",
        [
            {"cost": Decimal(-1)}, {"cost": Decimal("NaN")}, {"cost": Decimal("1e-341")}, {"model": ""},
            {"surface": "x" * 1025}, {"request_id": "void:r1"}, {"request_id": "unconfirmed:h"},
            {"model": "\ud800"}, {"ts": datetime(2026, 5, 29)},  # noqa: DTZ001, a naive time is what is refused
        ],
        ids=str,
    )  # fmt: skip
    def test_charge_that_no_row_can_hold_is_refused(self, account: Account, bad: dict[str, Any]) -> None:
        with pytest.raises(InvalidCharge):
            account.charge_all((Charge(**{"cost": COST, "model": "m", **bad}),))
        assert rows_of(account) == []

    def test_void_takes_a_row_back_in_every_window_of_the_row(self, account: Account, clock: Clock) -> None:
        first = account.charge(COST, model="m", request_id="r1", cost_source="priced").row
        account.charge(Decimal("0.5"), model="m", request_id="r2")
        clock.now += timedelta(minutes=59)
        row = account.void("r1", "billed twice")
        assert (row.cost_usd, row.voids, row.reason, row.ts) == (-COST, "r1", "billed twice", NOON)
        assert (row.cost_source, row.surface, row.model) == (first.cost_source, first.surface, first.model)
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, Decimal("0.5"))
        assert ids_of(account) == ["r1", "r2", row.request_id]

    def test_void_of_nothing_of_a_void_and_twice_is_refused(self, account: Account) -> None:
        account.charge(COST, model="m", request_id="r1")
        account.void("r1", "wrong")
        for request_id, error in (("r9", RequestNotFound), ("r1", Conflict), ("void:r1", Conflict)):
            with pytest.raises(error):
                account.void(request_id, "again")
        with pytest.raises(Conflict, match="voided"):
            account.charge(COST, model="m", request_id="r1")
        assert spent(account)["lifetime"] == 0
        assert len(rows_of(account)) == 2


class VerdictContract(Contract):
    """What is spent and held counts in the windows that hold it, to the microsecond and to the last digit."""

    @pytest.mark.parametrize("window", SPEND_WINDOWS)
    def test_cap_counts_what_is_spent_and_what_is_held(self, account: Account, window: Window) -> None:
        account.set_budget({CAP_KEYS[window]: Decimal(1)})
        account.charge(Decimal("0.5"), model="m")
        reserve(account, "0.3")
        assert account.check(Decimal("0.2")).verdict.level == "allow"
        assert account.check().verdict.level == "allow"
        verdict = account.check(Decimal("0.2") + Decimal("1e-12")).verdict
        assert (verdict.level, verdict.window) == ("block", window)
        assert "spent $0.5000, held $0.3000, estimate $0.2000" in str(verdict.reason)
        assert account.reserve(Decimal("0.21")).hold is None
        reserve(account, "0.2")
        assert account.check().verdict.level == "block"
        assert account.check(Decimal(0)).verdict.level == "allow"

    @pytest.mark.parametrize(
        ("caps", "estimate", "level"),
        [
            ({}, "999", "allow"),
            ({"per_call_max_usd": Decimal("0.5")}, "0.5", "allow"),
            ({"per_call_max_usd": Decimal("0.5")}, "0.6", "block"),
            ({"daily_usd": Decimal(0)}, "1e-340", "block"),
            ({"daily_usd": Decimal(1), "hard_cap": False}, "1", "warn"),
            ({"daily_usd": Decimal(1), "warn_at": Decimal("0.8")}, "0.54", "allow"),
            ({"daily_usd": Decimal(1), "warn_at": Decimal("0.8")}, "0.55", "warn"),
            ({"daily_usd": Decimal(1), "lifetime_usd": Decimal("0.5")}, "0.5", "block"),
        ],
    )
    def test_verdict_follows_the_caps_of_the_store(
        self, account: Account, caps: dict[str, Decimal | bool], estimate: str, level: str
    ) -> None:
        account.charge(COST, model="m")
        account.set_budget(caps)
        assert account.check(Decimal(estimate)).verdict.level == level

    @pytest.mark.promise(10)
    @pytest.mark.parametrize(("edge", "begins"), EDGES)
    def test_money_spent_in_the_last_microsecond_is_gone_from_new_windows_alone(
        self, edge: str, begins: str, account: Account, clock: Clock
    ) -> None:
        first = datetime.fromisoformat(edge).replace(tzinfo=UTC)
        clock.now = first - INSTANT
        account.charge(COST, model="m")
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, COST)
        clock.now = first
        old = {window: Decimal(0) if window in begins.split() else COST for window in SPEND_WINDOWS}
        assert spent(account) == old
        account.charge(Decimal("0.5"), model="m")
        assert spent(account) == {window: usd + Decimal("0.5") for window, usd in old.items()}

    @pytest.mark.promise(10)
    @pytest.mark.parametrize("jump", JUMPS)
    @pytest.mark.parametrize("window", SPEND_WINDOWS)
    def test_budget_that_is_used_up_stays_so_after_a_jump_back(
        self, account: Account, clock: Clock, window: Window, jump: timedelta
    ) -> None:
        account.set_budget({CAP_KEYS[window]: COST})
        account.charge(COST, model="m")
        clock.now = NOON - jump
        assert account.check(CENT).verdict.level == "block"
        assert account.check().verdict.level == "block"
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, COST)

    @pytest.mark.promise(10)
    @pytest.mark.parametrize("jump", JUMPS)
    def test_charge_by_a_clock_that_jumped_back_is_recorded_and_counts(
        self, account: Account, reopened: Callable[[], Account], clock: Clock, jump: timedelta
    ) -> None:
        account.charge(COST, model="m")
        clock.now = NOON - jump
        row = account.charge(COST, model="m").row
        assert (row.ts, rows_of(account)[-1]) == (clock.now, row)
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, COST * 2)
        clock.now = NOON
        for each in (account, reopened()):
            assert spent(each) == {
                window: COST * (2 if row.ts.isoformat() >= calendar_start(window, NOON) else 1)
                for window in SPEND_WINDOWS
            }

    @pytest.mark.promise(10)
    def test_budget_opens_again_only_once_the_future_has_passed(self, account: Account, clock: Clock) -> None:
        account.set_budget({"daily_usd": COST})
        clock.now = NOON + timedelta(days=3)
        account.charge(COST, model="m")
        for days, level in ((0, "block"), (1, "block"), (2, "block"), (3, "block"), (4, "allow")):
            clock.now = NOON + timedelta(days=days)
            assert account.check(CENT).verdict.level == level, days

    @pytest.mark.promise(10)
    def test_rows_of_the_far_past_and_future_belong_to_their_windows(self, account: Account) -> None:
        times = ("0001-01-01T00:00:00", "1969-12-31T23:59:59", "9999-12-31T23:59:59.999999")
        account.charge(COST, model="m")
        account.charge_all(Charge(COST, "m", ts=datetime.fromisoformat(f"{ts}+00:00")) for ts in times)
        assert spent(account) == {**dict.fromkeys(SPEND_WINDOWS, COST * 2), "lifetime": COST * 4}

    @pytest.mark.promise(10)
    @pytest.mark.parametrize("hours", [14, -12, 5.5])
    def test_clock_of_another_time_zone_means_the_same_time(
        self, account: Account, store: Store, clock: Clock, hours: float
    ) -> None:
        last = datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC)
        clock.now = last.astimezone(timezone(timedelta(hours=hours)))
        account.charge(COST, model="m")
        assert [row.ts.isoformat() for row in rows_of(account)] == [last.isoformat()]
        assert spent(account) == dict.fromkeys(SPEND_WINDOWS, COST)
        assert store.daily(store.usage("hermes", clock.now)) == {"2026-05-31": COST}
        clock.now += INSTANT
        assert spent(account) == {**dict.fromkeys(SPEND_WINDOWS, 0), "lifetime": COST}
