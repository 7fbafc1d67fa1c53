"""What a large ledger adds up to equals the sum of fractions, in every window, whenever one looks."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from hal0_budget.model.windows import SPEND_WINDOWS
from tests.conftest import NOON, Cli, Proof
from tests.support.ledgers import calendar_start

pytestmark = pytest.mark.promise(9)

# When one looks: each time before the last is a clock that stepped back.
NOWS = (
    NOON + timedelta(hours=9, minutes=59),
    NOON,
    datetime(2026, 5, 1, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
Hours = dict[str, Fraction]


def generated_rows(count: int) -> Iterator[tuple[str, datetime, str]]:
    """Rows as hal0 and this program write them, with their time and the text of their cost."""
    chance = random.Random(9)
    for number in range(count):
        days = chance.choice((0.05, 1, 7, 31, 900))
        ts = NOON + timedelta(days=chance.uniform(-days, days / 7))
        cost = generated_cost(chance)
        more = ""
        # The first half takes the fast path of a scan, the other half all of them.
        if number > count / 2:
            more = chance.choice(("", "", ',"cost_source":"unconfirmed"', ',"hold_id":"h"', ',"tokens":[1]'))
            if chance.random() < 0.01:
                cost, more = f"-{cost}", ',"voids":"r0"'
        zone = chance.choice(("+00:00", "Z"))
        text = ts.isoformat(timespec="microseconds").removesuffix("+00:00") + zone
        line = f'{{"ts":"{text}","persona_id":"hermes","surface":"cli","model":"m","cost_usd":{cost}'
        yield f'{line},"request_id":"r{number}"{more}}}\n', ts, cost


def generated_cost(chance: random.Random) -> str:
    """A cost in one of the notations that a ledger holds."""
    match chance.randrange(6):
        case 0:
            return repr(chance.random() * chance.choice((1e-7, 1e-3, 1, 1000)))
        case 1:
            return str(chance.randrange(1000))
        case 2:
            return f"{chance.randrange(10**9)}.{chance.randrange(10**9):09}"
        case 3:
            return f"{chance.random():.40f}"
        case 4:
            return f"{chance.randrange(1, 1000)}e-{chance.randrange(1, 99)}"
        case _:
            return f"0.{chance.randrange(10000):04}"


def lay(ledger: Path, count: int) -> Hours:
    """Write the ledger; what its rows cost by hour."""
    hours: Hours = defaultdict(Fraction)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("w") as file:
        for line, ts, cost in generated_rows(count):
            file.write(line)
            hours[ts.isoformat()[:13]] += Fraction(cost)
    return hours


def assert_exact(home: Home, hours: Hours, now: datetime) -> None:
    """Every window holds the sum of its hours, those of the future included."""
    statement = Account(home, "hermes", clock=lambda: now).show()
    assert statement.warnings == ()
    for window in SPEND_WINDOWS:
        since = calendar_start(window, now)
        spent = statement.of(window).spent
        assert spent is not None
        assert Fraction(spent) == sum(usd for hour, usd in hours.items() if hour >= since), (window, now)


def test_sums_of_a_large_ledger_equal_those_of_fractions(
    home: Home, ledger: Path, cli: Cli, proof: Proof
) -> None:
    count = proof.size(4000, 1_000_000)
    hours = lay(ledger, count)
    for now in NOWS:
        assert_exact(home, hours, now)
        assert_exact(home, hours, now)
    for cost in ("0.1", "1e-300", "999999999.99"):
        row = Account(home, "hermes", clock=lambda: NOWS[0]).charge(Decimal(cost), model="m").row
        hours[row.ts.isoformat()[:13]] += Fraction(cost)
        assert_exact(home, hours, NOWS[0])
    shown = cli.json("show", "hermes")
    assert Fraction(shown["spend"]["lifetime_usd"]) == sum(hours.values())
    ledger.unlink()
    looks = len(NOWS) * 2 + 3
    proof.reached(f"a ledger of {count:,} rows equals a fraction oracle in every window, {looks} looks")
