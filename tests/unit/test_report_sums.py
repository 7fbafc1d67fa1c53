"""A report adds up: any rows, in any zone, by any words, are what a fraction oracle makes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Home, Row, init, report
from hal0_budget.errors import UsageError
from hal0_budget.model.sums import Sum, TokenCounts
from hal0_budget.reporting.dates import span_of
from hal0_budget.reporting.grouping import BY, By, by_of, default_since, share_of
from hal0_budget.stores.files import day_sums
from hal0_budget.stores.files import sums as sums_module
from hal0_budget.stores.files.row_format import TORN_MARK
from hal0_budget.stores.files.sums import _sums_of_lines, sums_of
from tests.conftest import NOON, SAMPLES
from tests.support.rows import nearly_rows

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
)

# Around the days that clocks change on, and far from all.
EDGES = [
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
    NOON,
]
times = st.builds(
    lambda edge, hours, micros: edge + timedelta(hours=hours, microseconds=micros),
    st.sampled_from(EDGES),
    st.integers(-30, 30),
    st.sampled_from([0, 1, 999_999, 1_799_999_999, 1_800_000_000]),
) | st.integers(-5 * 10**8, 2 * 10**11).map(lambda second: datetime.fromtimestamp(second, UTC))  # fmt: skip
names = st.sampled_from(["m", "openai/gpt-4.1", "a b", "ünï", '"quoted"', "=1+1", ""])
costs = st.decimals(0, 100, places=6) | st.decimals(0, 1, places=20)
counts = st.none() | st.integers(0, 10**12)
sources = st.sampled_from([None, "reported", "priced", "estimated", "unconfirmed", "ODD"])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A charge, or one in five times a void."""
    row = Row(draw(times), "hermes", draw(names), draw(names), draw(costs), "r", draw(sources))
    if draw(st.integers(0, 4)) == 0:
        return row._replace(cost_usd=-row.cost_usd, voids="r")
    return row._replace(input_tokens=draw(counts), cache_read_tokens=draw(counts), output_tokens=draw(counts))


LINES = {"a blank": b"\n", "a tear": b'{"ts":"x",' + TORN_MARK + b"\n", "no row": b"{}\n"}
ledgers = st.lists(rows() | st.sampled_from(sorted(LINES)), max_size=25)

DAYS = st.sampled_from(["2018-11-04", "2026-03-29", "2026-05-29", "2026-10-25"])


class Truth(NamedTuple):
    """What a group must come to: USD, calls, voids, and tokens."""

    usd: Fraction
    calls: int
    voids: int
    tokens: tuple[int, ...]


def oracle(
    ledger: list[Row | str], zone: str, by: tuple[By, ...], span: tuple[str, str]
) -> dict[tuple[str, ...], Truth]:
    """The groups of a ledger, one row after the other."""
    groups: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in ledger:
        if isinstance(row, str):
            continue
        day = row.ts.astimezone(ZoneInfo(zone)).date()
        if not span[0] <= day.isoformat() <= span[1]:
            continue
        facts = {
            "day": day.isoformat(),
            "week": "{}-W{:02}".format(*day.isocalendar()[:2]),
            "month": day.strftime("%Y-%m"),
            "model": row.model,
            "surface": row.surface,
            "persona": row.persona_id,
            "source": row.cost_source or "told",
        }
        groups[tuple(facts[word] for word in by)].append(row)
    return {
        keys: Truth(
            sum((Fraction(row.cost_usd) for row in group), Fraction(0)),
            sum(row.voids is None for row in group),
            sum(row.voids is not None for row in group),
            (
                sum(row.input_tokens or 0 for row in group),
                sum(row.cache_read_tokens or 0 for row in group),
                0,
                sum(row.output_tokens or 0 for row in group),
            ),
        )
        for keys, group in groups.items()
    }


def written(ledger: list[Row | str]) -> bytes:
    return b"".join(LINES[row] if isinstance(row, str) else row.line() for row in ledger)


def lay(home: Home, persona: str, data: bytes) -> Path:
    path = home.spend_dir(persona) / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


WAYS = {
    "scanned": {},
    "from the cache": {"WORTHWHILE": 1},
    "too much for the cache": {"_MOST_SUMS": 1},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@settings(max_examples=80, deadline=None)
@given(
    ledger=ledgers,
    later=ledgers,
    zone=st.sampled_from(ZONES),
    by=st.lists(st.sampled_from(BY), min_size=1, max_size=3, unique=True).map(tuple),
    days=st.lists(DAYS, min_size=2, max_size=2),
    is_open=st.booleans(),
)
def test_groups_are_what_the_rows_add_up_to(
    way: dict[str, int],
    ledger: list[Row | str],
    later: list[Row | str],
    zone: str,
    by: tuple[By, ...],
    days: list[str],
    is_open: bool,
) -> None:
    first, last = sorted(days)
    since, until, span = (None, None, ("0", "9")) if is_open else (first, last, (first, last))
    with TemporaryDirectory() as folder, mock.patch.dict(vars(day_sums), way):
        home = Home(Path(folder))
        init(home, ["hermes"])
        for part in (ledger, ledger + later):
            lay(home, "hermes", written(part))
            found = report(home, since=since, until=until, by=by, zone=ZoneInfo(zone), clock=lambda: NOON)
            truth = oracle(part, zone, by, span)
            assert {
                group.keys: Truth(
                    Fraction(group.total.usd), group.total.calls, group.total.voids, group.total.tokens
                )
                for group in found.groups
            } == truth
            total = sum((part.usd for part in truth.values()), Fraction(0))
            assert Fraction(found.total.usd) == total
            assert sum((Fraction(part.usd) for part in found.sources.values()), Fraction(0)) == total
            assert sum(map(Fraction, found.personas[0].days.values()), Fraction(0)) == total
            for group in found.groups:
                assert group.share == share_of(group.total.usd, found.total.usd)


@settings(max_examples=300, deadline=None)
@given(st.lists(nearly_rows(), min_size=1, max_size=4), st.booleans())
def test_what_the_fast_reader_sums_the_strict_one_sums_alike(lines: list[str], with_tokens: bool) -> None:
    good = Row(NOON, "hermes", "s", "m", Decimal(1), "r", "priced", "h", None, None, "p", 1, 2, 3, 4)
    block = "".join(lines).encode() + (good.line() if with_tokens else b"")
    assert sums_of(block, str) == _sums_of_lines(block, str)


def test_row_with_all_that_a_reply_told_takes_the_fast_path() -> None:
    row = Row(NOON, "hermes", "s", "m", Decimal("1.5"), "r", "priced", "h", None, None, "p", 1, 2, 3, 4)
    with mock.patch.object(sums_module, "parse_row", side_effect=AssertionError):
        sums = sums_of(row.line() * 2, str)
        assert sums_of((SAMPLES / "ledgers" / "hal0.jsonl").read_bytes(), str)
    assert sums == {
        ("s", "m", "priced"): {"2026-05-29T12:00:00": Sum(Decimal(3), 2, 0, TokenCounts(2, 4, 6, 8))}
    }


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin"])
def test_day_ends_in_the_microsecond_that_its_zone_says(zone: str, home: Home) -> None:
    midnight = datetime(2026, 5, 29, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    before, after = midnight - timedelta(microseconds=1), midnight + timedelta(microseconds=1)
    ledger = [Row(ts, "hermes", "s", "m", Decimal(1), "r") for ts in (before, midnight, after)]
    lay(home, "hermes", b"".join(row.line() for row in ledger))
    found = report(home, by=("day",), zone=ZoneInfo(zone), clock=lambda: NOON)
    assert [(group.keys[0], group.total.calls) for group in found.groups] == [
        ("2026-05-28", 1),
        ("2026-05-29", 2),
    ]


def some() -> Iterator[Row]:
    for number, (model, day) in enumerate([("a", 1), ("b", 2), ("b", 1), ("c", 2), ("a", 2)]):
        ts = datetime(2026, 5, day, 12, tzinfo=UTC)
        yield Row(ts, "hermes", "cli", model, Decimal(number), f"r{number}")


def test_times_come_in_order_and_names_by_what_was_spent(home: Home) -> None:
    lay(home, "hermes", b"".join(row.line() for row in some()))
    found = report(home, by=("model", "day"), clock=lambda: NOON)
    keys = ["a 2026-05-01", "a 2026-05-02", "b 2026-05-01", "b 2026-05-02", "c 2026-05-02"]
    assert [" ".join(group.keys) for group in found.groups] == keys
    found = report(home, by=("day", "model"), clock=lambda: NOON)
    assert [group.keys[1] for group in found.groups] == ["b", "a", "a", "c", "b"]


def test_several_personas_are_one_sum_and_each_its_own(home: Home) -> None:
    lay(home, "hermes", b"".join(row.line() for row in some()))
    lay(home, "coder", Row(NOON, "coder", "cli", "a", Decimal(5), "r").line())
    found = report(home, by=("model",), clock=lambda: NOON)
    assert [(group.keys, group.total.usd) for group in found.groups] == [
        (("a",), Decimal(9)), (("b",), Decimal(3)), (("c",), Decimal(3)),
    ]  # fmt: skip
    assert {part.persona: part.total.usd for part in found.personas} == {"coder": 5, "hermes": 10}
    assert report(home, ["coder", "coder"], clock=lambda: NOON).total.usd == 5


def test_share_is_of_what_was_spent_and_none_of_nothing() -> None:
    assert share_of(Decimal(1), Decimal(3)) == Decimal("0.3333")
    assert share_of(Decimal(-1), Decimal(2)) == Decimal("-0.5")
    assert share_of(Decimal(0), Decimal(0)) is None
    assert share_of(Decimal(1), Decimal(-1)) is None


@pytest.mark.parametrize("text", ["", "days", "day,day", "day,", " day", "Day", "day;model", "day\0"])
def test_words_to_group_by_are_those_named_each_once(text: str) -> None:
    with pytest.raises(UsageError, match="day, week, month, model, surface, persona, source"):
        by_of(text)


def test_report_that_names_no_day_begins_with_a_whole_week_or_month() -> None:
    today = NOON.date()
    assert default_since(("persona", "day"), today).isoformat() == "2026-05-23"
    assert default_since(("model",), today).isoformat() == "2026-05-23"
    assert default_since(("week",), today).isoformat() == "2026-04-06"
    assert default_since(("model", "month"), today).isoformat() == "2025-06-01"
    assert span_of("2025-06-01", None, NOON).start == datetime(2025, 6, 1, tzinfo=UTC)
