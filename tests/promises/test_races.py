"""Many processes at once: nothing is granted twice, and nothing is recorded twice."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import Proof
from tests.support.processes import in_processes

AMOUNT = Decimal("0.1")


@pytest.mark.promise(4)
def test_reserves_that_race_grant_exactly_what_fits(home: Home, proof: Proof) -> None:
    processes, reserves = proof.size(16, 64), proof.size(25, 200)
    slowest = 0.0
    for number in range(proof.size(2, 50)):
        cap = AMOUNT * (processes * reserves // (number % 4 + 1)) + AMOUNT / 3
        persona = ("hermes", "coder")[number % 2]
        account = Account(home, persona)
        for leftover in home.spend_dir(persona).glob("spend.*"):
            leftover.unlink()
        account.set_budget({"lifetime_usd": round(cap, 6)})

        def work(_: int, persona: str = persona) -> str:
            mine = Account(home, persona, lock_timeout=60)
            return str(sum(mine.reserve(AMOUNT).hold is not None for _ in range(reserves)))

        begin = time.monotonic()
        granted = sum(map(int, in_processes(processes, work)))
        slowest = max(slowest, time.monotonic() - begin)
        assert granted == min(int(cap / AMOUNT), processes * reserves)
        statement = Account(home, persona).show()
        assert statement.held == granted * AMOUNT
        assert statement.held <= cap
    proof.reached(
        f"{processes} x {reserves} reserves, granted exactly, slowest run {slowest:.1f} s", kept=slowest <= 10
    )


@pytest.mark.promise(5)
def test_processes_that_race_the_same_ids_leave_one_row_each(home: Home, ledger: Path, proof: Proof) -> None:
    processes, ids = proof.size(16, 64), proof.size(40, 200)

    def work(number: int) -> str:
        mine = Account(home, "hermes", lock_timeout=60)
        new = 0
        for turn in range(ids):
            request_id = f"r{(turn + number * 7) % ids}"
            new += not mine.charge(AMOUNT, model="m", request_id=request_id).was_recorded
        return str(new)

    assert sum(map(int, in_processes(processes, work))) == ids
    recorded = [json.loads(line)["request_id"] for line in ledger.read_text().splitlines()]
    assert sorted(recorded) == sorted(f"r{number}" for number in range(ids))
    assert Account(home, "hermes").show().of("lifetime").spent == ids * AMOUNT
    proof.reached(f"{processes} processes raced {ids} ids: {len(recorded)} rows")
