"""A clock that steps back cannot reopen a budget: what lies in the future counts as spent now."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Home, init
from hal0_budget.model.windows import SPEND_WINDOWS, Window
from tests.conftest import NOON, Cli, Clock, Proof
from tests.support.ledgers import calendar_start
from tests.support.windows import JUMPS

pytestmark = pytest.mark.promise(10)

COST = Decimal("0.1")
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def hermes(home: Home, clock: Clock) -> Account:
    """The account of hermes by that clock."""
    return Account(home, "hermes", clock=clock)


def spent(account: Account) -> dict[Window, Decimal | None]:
    """USD spent by window."""
    statement = account.show()
    return {window: statement.of(window).spent for window in SPEND_WINDOWS}


@pytest.mark.parametrize("jump", JUMPS)
def test_hourly_sums_stay_exact_across_a_checkpoint_that_knew_no_such_hours(
    hermes: Account, clock: Clock, ledger: Path, jump: timedelta
) -> None:
    jumped = NOON - jump
    hour = jumped.replace(minute=0, second=0)
    for ts in (hour - INSTANT, hour, hour + timedelta(hours=1) - INSTANT, hour + timedelta(hours=1), NOON):
        clock.now = ts
        hermes.charge(COST, model="m")
    kept = json.loads(ledger.with_name("spend.checkpoint").read_bytes().splitlines()[-1])["checkpoint"]
    assert (kept["rows"], kept["hours_from"]) == (5, "2026-05-28"), "it covers all, and keeps recent hours"
    clock.now = jumped
    for _ in ("scanned afresh", "from the checkpoint"):
        assert spent(hermes)["hourly"] == COST * 4, "all but the row of the hour before"
    hermes.charge(COST, model="m")
    assert spent(hermes)["hourly"] == COST * 5
    ledger.with_name("spend.checkpoint").unlink()
    assert spent(hermes)["hourly"] == COST * 5


def test_command_counts_a_row_from_the_future_as_now(cli: Cli, hermes: Account, clock: Clock) -> None:
    hermes.set_budget({"hourly_usd": COST})
    clock.now = datetime.now(UTC) + timedelta(days=3652)
    hermes.charge(COST, model="m")
    assert cli("check", "hermes", "--estimate", "0.01").returncode == 20
    assert cli("charge", "hermes", "--cost", "0.2", "--model", "m").returncode == 0
    windows = cli.json("show", "hermes")["windows"]
    assert {window["window"]: window["spent_usd"] for window in windows} == dict.fromkeys(
        SPEND_WINDOWS, Decimal("0.3")
    )


def test_rows_are_written_in_utc(hermes: Account, clock: Clock, ledger: Path) -> None:
    for hours in (14, -12, 5.5):
        clock.now = datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC).astimezone(
            timezone(timedelta(hours=hours))
        )
        hermes.charge(COST, model="m")
    assert ledger.read_text().count('{"ts":"2026-05-31T23:59:59.999999+00:00",') == 3


def test_times_of_any_year_and_notation_are_read(hermes: Account, ledger: Path) -> None:
    line = hermes.charge(COST, model="m").row.line().decode()
    for ts in ("0001-01-01T00:00:00+00:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999+00:00"):
        with ledger.open("a") as file:
            file.write(line.replace(NOON.isoformat(timespec="microseconds"), ts))
    assert spent(hermes) == {**dict.fromkeys(SPEND_WINDOWS, COST * 2), "lifetime": COST * 4}
    assert hermes.show().warnings == ()


STEPS = st.one_of(
    st.timedeltas(timedelta(days=-3700), timedelta(days=3700)),
    st.timedeltas(timedelta(days=-3), timedelta(days=3)),
    st.timedeltas(timedelta(hours=-2), timedelta(hours=2)),
)
COSTS = st.decimals(0, 1000, places=8)
ACTIONS = st.sampled_from(["charge", "look", "forget"])


def test_every_sum_is_exact_and_none_falls_however_the_clock_jumps(
    tmp_path_factory: pytest.TempPathFactory, proof: Proof
) -> None:
    looks = jumps = 0

    @settings(max_examples=proof.size(60, 3200), deadline=None)
    @given(steps=st.lists(st.tuples(STEPS, COSTS, ACTIONS), min_size=1, max_size=10))
    def is_exact(steps: list[tuple[timedelta, Decimal, str]]) -> None:
        nonlocal looks, jumps
        folder = tmp_path_factory.mktemp("agents")
        home, clock = Home(folder), Clock()
        init(home, ["hermes"])
        hermes = Account(home, "hermes", clock=clock)
        charged: list[tuple[str, Decimal]] = []
        before: dict[Window, Decimal | None] = dict.fromkeys(SPEND_WINDOWS, Decimal(0))
        for step, cost, action in steps:
            clock.now += step
            if step < timedelta(0):
                jumps += 1
                for window, usd in spent(hermes).items():
                    assert usd is not None
                    assert usd >= (before[window] or 0), f"{window} was reopened by a jump of {step}"
            if action == "charge":
                charged.append((hermes.charge(cost, model="m").row.ts.isoformat(), cost))
            elif action == "forget":
                (home.spend_dir("hermes") / "spend.checkpoint").unlink(missing_ok=True)
            before = spent(hermes)
            for window, found in before.items():
                since = calendar_start(window, clock.now)
                assert found is not None
                expected = sum(Fraction(usd) for ts, usd in charged if ts >= since)
                assert Fraction(found) == expected, (window, clock.now)
            looks += 1
        shutil.rmtree(folder)

    is_exact()
    proof.counted(looks, "generated instants, every window exact")
    proof.counted(jumps, "jumps back of the clock among them, none of which reopened a window")
