"""Histories that the model found, each cut to the steps that matter: none of them differs from the oracle."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.histories import Step
from tests.support.model_run import run

pytestmark = pytest.mark.promise(18)


def step(op: str, **args: Any) -> Step:
    return Step(op, "hermes", 0, args)


def one(request_id: str, hold_id: str | None = None) -> dict[str, Any]:
    names = {"model": "m", "surface": "cli", "request_id": request_id, "hold_id": hold_id}
    return {"cost": Decimal(1), "ts": None, **names}


def charge(*charges: dict[str, Any]) -> Step:
    return step("charge", charges=list(charges))


def reserve(hold_id: str, usd: str = "1", ttl: int = 900) -> Step:
    names = {"hold_id": hold_id, "on_expiry": "book", "surface": "cli", "model": "m"}
    return step("reserve", usd=Decimal(usd), ttl=ttl, **names)


def hal0(request_id: str, cost: int = 20) -> Step:
    names = f'"persona_id":"hermes","surface":"cli","model":"m","cost_usd":{cost},"request_id":"{request_id}"'
    return step("foreign", line=f'{{"ts":"2026-05-29T11:59:59.000000+00:00",{names}}}')


def garbage(*, in_journal: bool) -> Step:
    return step("garbage", line="not a row", in_journal=in_journal)


HARD = step("set", changes={"daily_usd": Decimal(100)}, replace=False)
LATER = step("forward", seconds=5, micros=0)
REPAIR = step("repair")
FORGET = step("churn", count=320, settled=False)
TEAR = step("tear", step=charge(one("torn")), cut=0.5)
LAST = reserve("last")

FOUND = {
    "booked while the journal is damaged": (reserve("h", ttl=1), garbage(in_journal=True), LATER, LAST),
    "booked while the ledger is damaged": (
        charge(one("r")), reserve("h", ttl=1), garbage(in_journal=False), LATER, charge(one("s")),
    ),
    "a hold behind a bad line of the journal is settled": (
        reserve("h"), garbage(in_journal=True), reserve("i"), charge(one("r", "i")), REPAIR,
    ),
    "a hold behind a bad line of the journal is reserved again": (
        reserve("h"), garbage(in_journal=True), reserve("i"), reserve("i", "7"), REPAIR,
    ),
    "an id that is used again is held, though a row of before names it": (
        reserve("h"), charge(one("r", "h")), FORGET, reserve("h"), REPAIR,
    ),
    "an id that is used again is held without a checkpoint": (
        reserve("h"), charge(one("r", "h")), FORGET, reserve("h"),
        step("tamper", file=0, how="delete", at=0.0, bit=0),
    ),
    "a charge named unconfirmed is not taken back": (
        reserve("h"), hal0("unconfirmed:h"), charge(one("r", "h")), charge(one("r", "h")),
    ),
    "a charge named unconfirmed is no hold": (hal0("unconfirmed:h"), step("release", hold_id="h"), LAST),
    "a charge named unconfirmed takes no hold id": (hal0("unconfirmed:last"), LAST),
    "a charge named void does not keep a void out": (
        charge(one("r")), hal0("void:r", 0), step("void", request_id="r"),
    ),
    "a charge named void is no void": (charge(one("r")), hal0("void:r", 0), charge(one("r"))),
    "an id of ours that is charged": (charge(one("unconfirmed:h")), charge(one("r", "h"))),
    "an id of ours that is on record": (
        charge(one("r")), step("void", request_id="r"), charge(one("void:r")),
    ),
    "hal0's row behind a tear is repaired": (HARD, charge(one("r")), TEAR, hal0("f"), REPAIR),
    "a repair that is killed": (HARD, charge(one("r")), TEAR, hal0("f"), step(
        "kill_repair", how="after", number=3, delay=0.0
    )),
    "a hold that a batch settles twice": (reserve("h"), charge(one("r", "h"), one("s", "h"))),
}  # fmt: skip


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND)
def test_history_that_was_found_differs_no_more(steps: tuple[Step, ...]) -> None:
    assert run(steps) is None
