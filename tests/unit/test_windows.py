"""A window holds every instant from its first microsecond to the last before the next one begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget.clock import utc_now
from hal0_budget.model.windows import Window, window_end, window_start
from tests.conftest import Proof
from tests.support.windows import EDGES

pytestmark = pytest.mark.promise(10)

INSTANT = timedelta(microseconds=1)
RESETTING: tuple[Window, ...] = ("hourly", "daily", "weekly", "monthly")

# What makes two instants stand in the same window, as the calendar of Python names it.
SAME: dict[Window, Callable[[datetime], object]] = {
    "hourly": lambda now: now.strftime("%Y-%m-%d %H"),
    "daily": lambda now: now.strftime("%Y-%m-%d"),
    "weekly": lambda now: now.strftime("%G-%V"),
    "monthly": lambda now: now.strftime("%Y-%m"),
}

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=OFFSETS)  # noqa: DTZ001, aware


@pytest.mark.parametrize(("edge", "begins"), EDGES)
def test_last_microsecond_belongs_to_the_old_window_and_the_next_to_the_new(edge: str, begins: str) -> None:
    first = datetime.fromisoformat(edge).replace(tzinfo=UTC)
    last = first - INSTANT
    for window in RESETTING:
        if window in begins.split():
            assert window_start(window, first) == first
            assert window_end(window, last) == first
        else:
            assert window_start(window, first) == window_start(window, last)
            assert window_end(window, first) == window_end(window, last)


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("hourly", "2028-02-29T23:00", "2028-03-01T00:00"),
        ("daily", "2028-02-29T00:00", "2028-03-01T00:00"),
        ("weekly", "2028-02-28T00:00", "2028-03-06T00:00"),
        ("monthly", "2028-02-01T00:00", "2028-03-01T00:00"),
    ],
)
@pytest.mark.parametrize("hours", [0, 14, -12, 5.5, -3.5, 5.75])
def test_windows_are_those_of_utc_whatever_the_offset_of_the_clock(
    window: Window, start: str, end: str, hours: float
) -> None:
    now = datetime(2028, 2, 29, 23, 59, 59, 999999, tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    found = (window_start(window, now), window_end(window, now))
    assert found == tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    assert all(bound and bound.utcoffset() == timedelta(0) for bound in found)


def test_windows_agree_with_the_calendar(proof: Proof) -> None:
    instants = proof.size(500, 20_000)

    @settings(max_examples=instants, deadline=None)
    @given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=40)), st.sampled_from(RESETTING))
    def agree(now: datetime, later: timedelta, window: Window) -> None:
        start, end = window_start(window, now), window_end(window, now)
        assert end is not None
        assert start <= now < end
        same, utc = SAME[window], now.astimezone(UTC)
        assert same(start) == same(utc) == same(end - INSTANT)
        assert same(start - INSTANT) != same(utc) != same(end)
        assert (now + later < end) == (same(utc + later) == same(utc))

    agree()
    proof.counted(instants, "generated instants, windows as in the calendar of Python")


@pytest.mark.parametrize("window", RESETTING)
def test_every_window_of_years_begins_where_the_calendar_says(window: Window, proof: Proof) -> None:
    """Each last microsecond and each first one, over leap years and years of 53 weeks."""
    edge = window_start(window, datetime(2024, 1, 1, tzinfo=UTC))
    end = datetime(proof.size(2025, 2036) if window != "hourly" else 2025, 1, 1, tzinfo=UTC)
    same, edges = SAME[window], 0
    while edge < end:
        after = window_end(window, edge)
        assert after is not None
        last = after - INSTANT
        assert window_start(window, last) == edge
        assert window_start(window, after) == after
        assert same(edge) == same(last) != same(after)
        edge, edges = after, edges + 1
    proof.counted(edges, "edges of windows, exact to the microsecond")


@settings(deadline=None)
@given(INSTANTS)
def test_lifetime_never_ends_and_began_before_everything(now: datetime) -> None:
    assert window_end("lifetime", now) is None
    assert window_start("lifetime", now) < datetime(1970, 1, 1, tzinfo=UTC)


def test_the_time_now_is_aware_and_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)
