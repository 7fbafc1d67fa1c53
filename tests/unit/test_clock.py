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
from hal0_budget.model.budget import CAP_KEYS
from hal0_budget.model.windows import SPEND_WINDOWS, Window
from tests.conftest import NOON, Cli, Clock, Proof
from tests.support.ledgers import calendar_start

pytestmark = pytest.mark.promise(10)

COST = Decimal("0.1")
INSTANT = timedelta(microseconds=1)

JUMPS = [
    pytest.param(timedelta(seconds=1), id="a second"),
    pytest.param(timedelta(minutes=1), id="a minute"),
    pytest.param(timedelta(hours=1), id="an hour"),
    pytest.param(timedelta(hours=13), id="into yesterday"),
    pytest.param(timedelta(days=2), id="two days"),
    pytest.param(timedelta(days=8), id="into last week"),
    pytest.param(timedelta(days=40), id="into last month"),
    pytest.param(timedelta(days=365), id="a year"),
    pytest.param(timedelta(days=3652), id="ten years"),
]


@pytest.fixture
def hermes(home: Home, clock: Clock) -> Account:
    """The account of hermes by that clock."""
    return Account(home, "hermes", clock=clock)


def spent(account: Account) -> dict[Window, Decimal | None]:
    """USD spent by window."""
    statement = account.show()
    return {window: statement.of(window).spent for window in SPEND_WINDOWS}


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("window", SPEND_WINDOWS)
def test_budget_that_is_used_up_stays_so_after_a_jump_back(
    hermes: Account, clock: Clock, window: Window, jump: timedelta
) -> None:
    hermes.set_budget({CAP_KEYS[window]: COST})
    hermes.charge(COST, model="m")
    clock.now = NOON - jump
    assert hermes.check(Decimal("0.01")).verdict.level == "block"
    assert hermes.check().verdict.level == "block"
    assert set(spent(hermes).values()) == {COST}


@pytest.mark.parametrize("jump", JUMPS)
def test_charge_by_a_clock_that_jumped_back_is_recorded_and_counts(
    hermes: Account, clock: Clock, ledger: Path, jump: timedelta
) -> None:
    hermes.charge(COST, model="m")
    clock.now = NOON - jump
    row = hermes.charge(COST, model="m").row
    assert row.ts == clock.now
    assert ledger.read_bytes().endswith(row.line())
    assert set(spent(hermes).values()) == {COST * 2}
    clock.now = NOON
    same = {
        window: calendar_start(window, NOON) == calendar_start(window, row.ts) for window in SPEND_WINDOWS
    }
    assert spent(hermes) == {window: COST * (2 if same[window] else 1) for window in SPEND_WINDOWS}


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


def test_budget_opens_again_only_once_the_future_has_passed(hermes: Account, clock: Clock) -> None:
    hermes.set_budget({"daily_usd": COST})
    clock.now = NOON + timedelta(days=3)
    hermes.charge(COST, model="m")
    for days, level in ((0, "block"), (1, "block"), (2, "block"), (3, "block"), (4, "allow")):
        clock.now = NOON + timedelta(days=days)
        assert hermes.check(Decimal("0.01")).verdict.level == level, days


def test_rows_of_the_far_past_and_future_belong_where_they_say(hermes: Account, ledger: Path) -> None:
    line = hermes.charge(COST, model="m").row.line().decode()
    for ts in ("0001-01-01T00:00:00+00:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999+00:00"):
        with ledger.open("a") as file:
            file.write(line.replace(NOON.isoformat(timespec="microseconds"), ts))
    assert spent(hermes) == {**dict.fromkeys(SPEND_WINDOWS, COST * 2), "lifetime": COST * 4}
    assert hermes.show().warnings == ()


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


@pytest.mark.parametrize("hours", [14, -12, 5.5])
def test_clock_of_another_time_zone_tells_the_same_time(
    hermes: Account, clock: Clock, ledger: Path, hours: float
) -> None:
    clock.now = datetime(2026, 5, 31, 23, 59, 59, 999999, tzinfo=UTC).astimezone(
        timezone(timedelta(hours=hours))
    )
    hermes.charge(COST, model="m")
    assert ledger.read_text().startswith('{"ts":"2026-05-31T23:59:59.999999+00:00",')
    assert set(spent(hermes).values()) == {COST}
    clock.now += INSTANT
    assert spent(hermes) == {**dict.fromkeys(SPEND_WINDOWS, 0), "lifetime": COST}


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
