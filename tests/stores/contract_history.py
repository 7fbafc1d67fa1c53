"""The contract of stores: a history of any calls has the outcome that it has in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from hal0_budget import Account, BudgetError, Reservation, Revision
from hal0_budget.model.records import Hold
from hal0_budget.stores.memory import MemoryStore
from tests.conftest import Clock
from tests.stores.contract_base import Contract, OpenStore, rows_of

STEPS = 80
PERSONAS = ("hermes", "hermes", "hermes", "coder")
# Minutes between two calls: most are within the hour, and some clocks step back.
PAUSES = (0, 0, 0, 1, 1, 1, 2, 7, 20, 61, 1500, -1, -90, -1500)

Act = Callable[[Account], object]


class HistoryContract(Contract):
    """The store in memory is simple enough to be the model of all others."""

    @pytest.mark.parametrize("seed", range(3))
    def test_every_outcome_is_that_of_the_store_in_memory(self, open_store: OpenStore, seed: int) -> None:
        random, clock = Random(seed), Clock()
        model, handles = MemoryStore({"hermes": {}, "coder": {}}), (open_store(), open_store())
        for step in range(STEPS):
            clock.now += timedelta(minutes=random.choice(PAUSES))
            persona, handle = random.choice(PERSONAS), random.choice(handles)
            name, args, act = some_act(random, step, Account(model, persona, clock=clock))
            found, expected = (outcome(act, Account(each, persona, clock=clock)) for each in (handle, model))
            assert found == expected, (step, name, args)
        for persona in set(PERSONAS):
            kept = Account(model, persona, clock=clock)
            for handle in (*handles, open_store()):
                account = Account(handle, persona, clock=clock)
                assert rows_of(account) == rows_of(kept)
                assert list(map(shown, account.holds())) == list(map(shown, kept.holds()))
                assert account.show() == kept.show()


def some_act(random: Random, step: int, account: Account) -> tuple[str, dict[str, Any], Act]:
    """A call of an account, with the ids of earlier calls or with new ones."""
    usd = Decimal(random.choice((0, 5, 10, 25, 1000))) / 100
    rows = rows_of(account)[-4:]
    ended = [row.hold_id for row in rows if row.hold_id]
    hold_id = random.choice([f"h{step}", *ended, *(hold.hold_id for hold in account.holds())])
    request_id = random.choice([f"r{step}", f"r{step}", *(row.request_id for row in rows)])
    name = random.choice(
        ("charge", "charge", "settle", "reserve", "reserve", "release", "void", "set", "check")
    )
    args: dict[str, Any]
    match name:
        case "charge":
            args = {"cost": usd, "model": random.choice("mn"), "request_id": request_id}
        case "settle":
            name = "charge"
            args = {"cost": usd, "model": "m", "request_id": f"s{step}", "hold_id": hold_id}
        case "reserve":
            ttl, on_expiry = timedelta(minutes=random.choice((1, 10, 90))), random.choice(("book", "release"))
            args = {
                "estimate": usd,
                "hold_id": random.choice((f"h{step}", hold_id)),
                "ttl": ttl,
                "on_expiry": on_expiry,
            }
        case "release":
            args = {"hold_id": hold_id}
        case "void":
            args = {"request_id": request_id, "reason": "a test"}
        case "set":
            name = "set_budget"
            caps = ("per_call_max_usd", "hourly_usd", "daily_usd", "monthly_usd", "lifetime_usd")
            more = {
                "hard_cap": random.choice((True, True, False)),
                "warn_at": random.choice((None, Decimal("0.8"))),
            }
            args = {
                "changes": {random.choice(caps): random.choice((None, Decimal("0.5"), Decimal(20))), **more}
            }
        case _:
            args = {"estimate": random.choice((None, usd))}
    return name, args, lambda account: getattr(account, name)(**args)


def outcome(act: Act, account: Account) -> object:
    """What a call returned or the code of its failure, and what the account shows then."""
    try:
        return shown(act(account)), account.show()
    except BudgetError as error:
        return error.code, account.show()


def shown(value: object) -> object:
    """What is the same for all stores: not the place of a hold among the rows, nor how a default is kept."""
    match value:
        case Hold():
            return value[:7]
        case Reservation():
            return value.decision, value.hold and value.hold[:7]
        case Revision():
            return value.budget, value.statement, value.warnings
    return value
