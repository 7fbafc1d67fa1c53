"""A replay rules on every call as the gate would have, however it gets there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Budget, Home, MemoryStore, Row, Scope, Usage, decide
from hal0_budget.model.budget import CAP_KEYS
from hal0_budget.model.windows import SPEND_WINDOWS, window_start
from hal0_budget.reporting.replay import Replay
from hal0_budget.reporting.simulation import NAMED_CALLS, Simulation, simulate
from hal0_budget.stores.files.calls import calls
from tests.conftest import NOON, put_ledger

CENTS = st.integers(0, 30).map(lambda cents: Decimal(cents) / 100)
# Around the ends of an hour, a day, a week, a month and a year; some of them in any order.
EDGES = tuple(
    datetime.fromisoformat(f"{text}:00Z")
    for text in ("2026-05-29T12", "2026-05-30T00", "2026-06-01T00", "2026-03-01T00", "2027-01-01T00")
)
TIMES = st.builds(
    lambda edge, seconds: edge + timedelta(seconds=seconds),
    st.sampled_from(EDGES),
    st.sampled_from((-3601, -3600, -1, 0, 1, 1800, 3599, 3600, 86_399, 86_400)),
)
BUDGETS = st.builds(
    Budget,
    st.dictionaries(st.sampled_from(tuple(CAP_KEYS)), st.integers(0, 80).map(lambda c: Decimal(c) / 100)),
    st.booleans(),
    st.none() | st.sampled_from((Decimal("0.5"), Decimal("0.8"), Decimal(1))),
)


def naive(
    budget: Budget, charges: Sequence[tuple[datetime, Decimal]], first: datetime, end: datetime
) -> tuple[Counter[tuple[str, str | None]], list[str]]:
    """What `decide` says of each charge from `first` to before `end`, and the reasons of the blocks."""
    ruled: Counter[tuple[str, str | None]] = Counter()
    reasons = []
    spent: list[tuple[datetime, Decimal]] = []
    for ts, usd in charges:
        if first <= ts < end:
            sums = {
                window: sum((usd for at, usd in spent if at >= window_start(window, ts)), Decimal(0))
                for window in SPEND_WINDOWS
            }
            verdict = decide((Scope("", budget, Usage(sums)),), usd)
            ruled[verdict.level, verdict.window] += 1
            if verdict.level == "block":
                reasons.append(verdict.reason or "")
                continue
        spent.append((ts, usd))
    return ruled, reasons


def rows_of(charges: Sequence[tuple[datetime, Decimal]]) -> list[Row]:
    return [Row(ts, "hermes", "cli", "m", usd, f"r{n}") for n, (ts, usd) in enumerate(charges)]


def lay(home: Home, rows: Sequence[Row]) -> Path:
    """Make `rows` the ledger of hermes."""
    folder = home.spend_dir("hermes")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    path = folder / "spend.jsonl"
    path.write_bytes(b"".join(row.line() for row in rows))
    return path


def stored(rows: Sequence[Row]) -> MemoryStore:
    """A store with `rows` as those of hermes."""
    store = MemoryStore({"hermes": {}})
    with store.transaction("hermes", lambda: NOON) as transaction:
        transaction.record(tuple(rows))
    return store


def replayed(home: Home | MemoryStore, changes: dict[str, Decimal | bool | None], **more: date) -> Simulation:
    return simulate(home, "hermes", changes, replace=True, now=NOON, **more)  # type: ignore[arg-type]


def counted(found: Simulation) -> Counter[tuple[str, str | None]]:
    by_level: Counter[tuple[str, str | None]] = Counter({("allow", None): found.allowed.calls})
    for window, blocked, warned in found.bindings:
        by_level["block", window] += blocked.calls
        by_level["warn", window] += warned.calls
    return +by_level


@settings(max_examples=300, deadline=None)
@given(
    budget=BUDGETS,
    charges=st.lists(st.tuples(TIMES, CENTS), max_size=40),
    in_order=st.booleans(),
    days=st.tuples(st.sampled_from(EDGES), st.integers(-1, 40)) | st.none(),
)
def test_every_call_is_ruled_on_as_the_gate_would_have(
    budget: Budget,
    charges: list[tuple[datetime, Decimal]],
    in_order: bool,
    days: tuple[datetime, int] | None,
) -> None:
    """Also where rows are out of order: what is later than a call counts for it, as in the gate."""
    charges = sorted(charges, key=lambda charge: charge[0]) if in_order else charges
    first, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    span: dict[str, date] = {}
    if days is not None:
        first = days[0].replace(hour=0)
        end = first + timedelta(days=days[1] + 1)
        span = {"since": first.date(), "until": (end - timedelta(days=1)).date()}
    found = replayed(stored(rows_of(charges)), dict(budget.to_table()), **span)
    ruled, reasons = naive(budget, charges, first, end)
    assert counted(found) == +ruled
    assert [call.reason for call in found.first_blocked] == reasons[:NAMED_CALLS]
    assert [call.reason for call in (found.last_blocked,) if call] == reasons[-1:]
    assert found.spent == sum((usd for ts, usd in charges if first <= ts < end), Decimal(0))
    assert found.calls == sum(first <= ts < end for ts, _ in charges)


@settings(max_examples=300, deadline=None)
@given(
    budget=BUDGETS,
    groups=st.lists(st.tuples(st.integers(0, 30), st.lists(CENTS, min_size=1, max_size=6)), max_size=20),
)
def test_grouping_of_calls_makes_no_difference(
    budget: Budget, groups: list[tuple[int, list[Decimal]]]
) -> None:
    together, apart = Replay(budget), Replay(budget)
    for number, usd in groups:
        hour = (NOON + timedelta(hours=number)).isoformat()[:13]
        places = list(together.judge(hour, usd))
        assert places == [place for place, one in enumerate(usd) for _ in apart.judge(hour, [one])]
        assert together.snapshot().usage() == apart.snapshot().usage()
    seen = [
        {ruling: (found.calls, found.usd) for ruling, found in replay.totals.items() if found.calls}
        for replay in (together, apart)
    ]
    assert seen[0] == seen[1]


def test_three_calls_of_a_dime_fit_a_cap_of_thirty_cents() -> None:
    store = stored(rows_of([(NOON, Decimal("0.1"))] * 4))
    found = replayed(store, {"daily_usd": Decimal("0.3")})
    assert (found.allowed, found.blocked) == ((3, Decimal("0.3")), (1, Decimal("0.1")))
    assert found.last_blocked is not None
    assert (found.last_blocked.line, found.last_blocked.row.request_id) == (4, "r3")
    assert found.last_blocked.reason == (
        "daily cap $0.3000 would be exceeded: spent $0.3000, estimate $0.1000"
    )


def test_voided_rows_and_their_voids_do_not_count() -> None:
    store = stored(())
    account = Account(store, "hermes", clock=lambda: NOON)
    for number in range(4):
        account.charge(Decimal("0.1"), model="m", request_id=f"r{number}")
    account.void("r1", "a test")
    found = replayed(store, {"daily_usd": Decimal("0.25")})
    assert (found.spent, found.would_spend) == (Decimal("0.3"), Decimal("0.2"))
    assert [call.row.request_id for call in found.first_blocked] == ["r3"]
    assert [call.line for call in found.first_blocked] == [4]
    assert found.spent == account.show().of("lifetime").spent


def test_void_takes_back_one_of_two_rows_with_its_id() -> None:
    row = Row(NOON, "hermes", "cli", "m", Decimal("0.1"), "r0")
    store = stored([row, row, row._replace(request_id="void:r0", cost_usd=Decimal("-0.1"), voids="r0")])
    assert replayed(store, {}).allowed == (1, Decimal("0.1"))


def test_void_of_what_was_never_charged_is_no_credit() -> None:
    row = Row(NOON, "hermes", "cli", "m", Decimal("0.1"), "r0")
    store = stored([row._replace(request_id="void:x", cost_usd=Decimal(-5), voids="x"), row, row])
    found = replayed(store, {"daily_usd": Decimal("0.15")})
    assert (found.allowed.calls, found.blocked.calls) == (1, 1)


def test_rows_before_the_first_day_count_and_are_not_judged() -> None:
    yesterday = NOON - timedelta(days=1)
    store = stored(rows_of([(yesterday, Decimal(9)), (NOON, Decimal("0.5")), (NOON, Decimal("0.6"))]))
    found = replayed(store, {"monthly_usd": Decimal(10)}, since=NOON.date())
    assert (found.calls, found.allowed.calls, found.blocked.calls) == (2, 1, 1)
    assert found.last_blocked is not None
    assert "spent $9.5000" in found.last_blocked.reason


def test_estimated_and_unconfirmed_rows_are_counted_apart() -> None:
    row = Row(NOON, "hermes", "cli", "m", Decimal("0.1"), "r0")
    sources = ("estimated", "unconfirmed", "estimated", "reported", None)
    store = stored([row._replace(cost_source=source) for source in sources])
    found = replayed(store, {})
    assert found.doubtful == {"estimated": (2, Decimal("0.2")), "unconfirmed": (1, Decimal("0.1"))}
    assert found.calls == len(sources)


def test_odd_lines_are_skipped_or_read_like_every_reader_does(home: Home) -> None:
    """Blank lines, tears, what is unreadable; rows that no pattern knows; a last line without newline."""
    row = Row(NOON, "hermes", "cli", "m", Decimal("0.1"), "r0")
    path = lay(home, [row])
    odd = row._replace(model="m\u00f6del", reason="x", request_id="\u00f6")
    void = odd._replace(cost_usd=Decimal("-0.1"), voids="\u00f6", request_id="void")
    escaped = void.line().replace(b'"voids"', b'"\\u0076oids"')
    lines = [row.line(), b"\n", b"junk\n", odd.line(), escaped, b'{"torn"\n', row.line()[:-1]]
    path.write_bytes(b"".join(lines))
    found = replayed(home, {"daily_usd": Decimal("0.1")})
    assert (found.allowed.calls, [call.line for call in found.first_blocked]) == (1, [7])
    assert [warning.partition(" is unreadable")[0] for warning in found.warnings] == [
        f"{path}: line 3 (byte {len(lines[0]) + 1})",
        f"{path}: line 6 (byte {sum(map(len, lines[:5]))})",
    ]


@pytest.mark.parametrize("sample", ["hal0.jsonl", "damaged.jsonl", "torn.jsonl"])
def test_samples_come_to_what_show_says(home: Home, account: Account, ledger: Path, sample: str) -> None:
    put_ledger(ledger, sample)
    found = replayed(home, {})
    statement = account.show()
    assert found.spent == statement.of("lifetime").spent
    assert found.warnings == statement.warnings


def test_blocks_of_a_long_ledger_join_without_a_seam(home: Home) -> None:
    rows = [
        Row(NOON + timedelta(minutes=n), "hermes", "cli", "m" * (n % 97), Decimal(n) / 1000, f"r{n}")
        for n in range(6000)
    ]
    path = lay(home, rows)
    found = list(calls(path, path.stat().st_size, lambda _done, _of: None))
    assert [usd for group in found for usd in group.usd] == [row.cost_usd for row in rows]
    assert [number for group in found for number in group.numbers] == list(range(1, 6001))
    assert [group.row(place) for group in found for place in range(len(group.usd))] == rows
