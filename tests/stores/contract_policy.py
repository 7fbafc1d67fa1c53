"""The contract of stores: caps are changed all or none, and every handle sees them at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from hal0_budget import Account
from hal0_budget.errors import InvalidBudget
from hal0_budget.stores.base import Store
from tests.stores.contract_base import Contract

ALL: dict[str, Decimal | bool | None] = {
    "per_call_max_usd": Decimal("0.5"), "hourly_usd": Decimal(1), "daily_usd": Decimal("2.50"),
    "weekly_usd": Decimal(0), "monthly_usd": Decimal("1e-12"), "lifetime_usd": Decimal(1_000_000_000),
    "hard_cap": False, "warn_at": Decimal("0.8"),
}  # fmt: skip


class PolicyContract(Contract):
    """Caps, through the account and through the interface."""

    def test_persona_has_no_caps_at_first(self, account: Account) -> None:
        assert account.show().budget.to_table() == {"hard_cap": True}

    def test_change_is_reported_and_seen_by_every_handle(
        self, account: Account, reopened: Callable[[], Account]
    ) -> None:
        other = reopened()
        assert other.show().budget.caps == {}
        revision = account.set_budget(ALL)
        assert {key: after for key, (_, after) in revision.changes.items()} == ALL
        assert {before for key, (before, _) in revision.changes.items() if key != "hard_cap"} == {None}
        for each in (account, other, reopened()):
            assert each.show().budget.to_table() == revision.budget.to_table() == ALL
        revision = account.set_budget(
            {"daily_usd": None, "hourly_usd": Decimal(2), "warn_at": Decimal("0.8")}
        )
        assert revision.changes == {"hourly_usd": (1, 2), "daily_usd": (Decimal("2.5"), None)}
        assert other.show().budget.to_table() == {
            **{key: value for key, value in ALL.items() if key != "daily_usd"},
            "hourly_usd": 2,
        }

    def test_replace_removes_the_keys_that_it_does_not_name(self, account: Account) -> None:
        account.set_budget(ALL)
        revision = account.set_budget({"daily_usd": Decimal(7)}, replace=True)
        assert revision.budget.to_table() == {"daily_usd": 7, "hard_cap": True}
        assert revision.changes["daily_usd"] == (Decimal("2.5"), 7)
        assert revision.changes["hard_cap"] == (False, None)
        assert account.show().budget == revision.budget

    def test_dry_run_reports_the_change_and_makes_none(self, account: Account, store: Store) -> None:
        account.set_budget(ALL)
        before = store.state("hermes")
        revision = account.set_budget({"daily_usd": None}, dry_run=True)
        assert revision.changes == {"daily_usd": (Decimal("2.5"), None)}
        assert "daily" not in revision.budget.caps
        assert account.show().budget.to_table() == ALL
        assert store.state("hermes") == before

    def test_change_of_nothing_is_no_change(self, account: Account) -> None:
        account.set_budget(ALL)
        revision = account.set_budget({"hard_cap": False, "weekly_usd": Decimal(0)})
        assert (revision.changes, revision.budget.to_table()) == ({}, ALL)

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize(
        "bad",
        [
            {"dialy_usd": Decimal(1)}, {"daily_usd": Decimal(-1)}, {"daily_usd": Decimal("NaN")},
            {"daily_usd": True}, {"daily_usd": "1"}, {"hard_cap": Decimal(1)}, {"warn_at": Decimal(0)},
            {"warn_at": Decimal("1.1")},
        ],
        ids=str,
    )  # fmt: skip
    def test_caps_that_no_budget_can_hold_are_refused_whole(
        self, account: Account, bad: dict[str, Any], dry_run: bool
    ) -> None:
        with pytest.raises(InvalidBudget):
            account.set_budget({"monthly_usd": Decimal(1), **bad}, dry_run=dry_run)
        assert account.show().budget.caps == {}

    def test_policy_can_be_asked_for_with_changes(self, account: Account, store: Store) -> None:
        account.set_budget({"daily_usd": Decimal(1), "hard_cap": False})
        policy = store.policy("hermes", {"daily_usd": None, "weekly_usd": Decimal(3)})
        assert (policy.persona, policy.budget.caps) == ("hermes", {"weekly": Decimal(3)})
        assert policy.budget.hard_cap is False
        assert store.policy("hermes").budget.caps == {"daily": 1}
        assert store.policy("coder").budget.caps == {}
