"""Days as people write them: every accepted form, and the instants that days begin and end at."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal0_budget.errors import UsageError
from hal0_budget.reporting.dates import FORMS, Span, day_at, day_of, day_start, span_of, zone_of

TODAY = date(2026, 5, 29)
NOON = datetime(2026, 5, 29, 12, tzinfo=UTC)

WRITTEN = {
    "2026-05-29": TODAY,
    "20260501": date(2026, 5, 1),
    "2024-02-29": date(2024, 2, 29),
    "2030-01-01": date(2030, 1, 1),
    "today": TODAY,
    "yesterday": date(2026, 5, 28),
    "1d": TODAY,
    "7d": date(2026, 5, 23),
    "007d": date(2026, 5, 23),
    "2w": date(2026, 5, 16),
    "1mo": date(2026, 4, 30),
    "12mo": date(2025, 5, 30),
    "0001-01-01": date.min,
    "9999-12-31": date.max,
}


@pytest.mark.parametrize(("text", "day"), WRITTEN.items(), ids=WRITTEN)
def test_day_is_what_is_written(text: str, day: date) -> None:
    assert day_of(text, TODAY) == day


MONTHS = {
    "a shorter month before": ("1mo", date(2026, 3, 31), date(2026, 3, 1)),
    "29 February before": ("1mo", date(2024, 3, 30), date(2024, 3, 1)),
    "the end of a month": ("1mo", date(2026, 2, 28), date(2026, 1, 29)),
    "across the year": ("2mo", date(2026, 1, 15), date(2025, 11, 16)),
    "from December": ("1mo", date(2026, 1, 31), date(2026, 1, 1)),
}


@pytest.mark.parametrize(("text", "today", "day"), MONTHS.values(), ids=MONTHS)
def test_months_are_calendar_months(text: str, today: date, day: date) -> None:
    assert day_of(text, today) == day


REFUSED = (
    "", " ", "tomorrow", "Today", "0d", "0mo", "-7d", "7", "d", "7 d", "7m", "7y", "999999d", "99999mo",
    "2026-5-29", "2026-0529", "202605-29", "2026-02-29", "2026-13-01", "20260532", "0000-01-01", "2026-W22-5",
    "2026-05-29T12:00", "29.05.2026", "\u0662\u0660\u0662\u0666-05-29", "\uff17d", "today\n",
    "2026-05-29\n", "\0", "nan",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_day_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        day_of(text, TODAY)
    assert refusal.value.exit_code == 64
    assert FORMS in refusal.value.message
    assert repr(text) in refusal.value.message


@given(text=st.text(max_size=12))
def test_any_text_is_a_day_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(day_of(text, TODAY), date)


def test_span_includes_both_of_its_days() -> None:
    span = span_of("7d", "yesterday", NOON)
    assert span[:2] == (date(2026, 5, 23), date(2026, 5, 28))
    assert not span.holds(datetime(2026, 5, 22, 23, 59, 59, 999999, tzinfo=UTC))
    assert span.holds(datetime(2026, 5, 23, tzinfo=UTC))
    assert span.holds(datetime(2026, 5, 28, 23, 59, 59, 999999, tzinfo=UTC))
    assert not span.holds(datetime(2026, 5, 29, tzinfo=UTC))


def test_span_without_ends_holds_everything() -> None:
    span = span_of(None, None, NOON)
    assert span == Span(None, None, None, None)
    assert span.holds(datetime.min.replace(tzinfo=UTC))
    assert span.holds(datetime.max.replace(tzinfo=UTC))
    assert span_of(None, "9999-12-31", NOON).end is None


def test_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--since today \(2026-05-29\) is after --until yesterday"):
        span_of("today", "yesterday", NOON)
    assert span_of("today", "2026-05-29", NOON).holds(NOON)


def test_today_is_that_of_the_zone() -> None:
    late = datetime(2026, 5, 29, 22, 30, tzinfo=UTC)
    span = span_of("today", "today", late, zone_of("Europe/Berlin"))
    assert span.first == date(2026, 5, 30)
    assert (span.start, span.end) == (
        datetime(2026, 5, 29, 22, tzinfo=UTC),
        datetime(2026, 5, 30, 22, tzinfo=UTC),
    )


# The day, and how many minutes it has: clocks go forward, back, by half an hour, and over a date.
LENGTHS = {
    "spring": ("Europe/Berlin", date(2026, 3, 29), 23 * 60),
    "autumn": ("Europe/Berlin", date(2026, 10, 25), 25 * 60),
    "half an hour": ("Australia/Lord_Howe", date(2026, 4, 5), 24 * 60 + 30),
    "no midnight": ("America/Sao_Paulo", date(2018, 11, 4), 23 * 60),
    "two midnights": ("America/St_Johns", date(2009, 11, 1), 25 * 60),
    "never was": ("Pacific/Apia", date(2011, 12, 30), 0),
    "offset with minutes": ("Asia/Kolkata", date(2026, 5, 29), 24 * 60),
}


@pytest.mark.parametrize(("name", "day", "minutes"), LENGTHS.values(), ids=LENGTHS)
def test_day_is_as_long_as_its_zone_makes_it(name: str, day: date, minutes: int) -> None:
    zone = zone_of(name)
    start, end = day_start(day, zone), day_start(day + timedelta(days=1), zone)
    assert end - start == timedelta(minutes=minutes)
    if minutes:
        moment = timedelta(microseconds=1)
        assert day_at(start, zone) == day_at(end - moment, zone) == day
        assert day_at(start - moment, zone) < day < day_at(end, zone)


@given(
    instant=st.datetimes(timezones=st.just(UTC)),
    name=st.sampled_from(
        ["UTC", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia", "Australia/Lord_Howe"]
    ),
)
def test_every_instant_is_of_the_one_day_that_holds_it(instant: datetime, name: str) -> None:
    zone = zone_of(name)
    day = day_at(instant, zone)
    if date.min < day < date.max - timedelta(days=1):
        assert day_start(day, zone) <= instant < day_start(day + timedelta(days=1), zone)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "Europe", "../../etc/passwd", "/etc/localtime", "a\0b", "\ud800"]
)
def test_unknown_zone_is_refused_with_the_accepted_form(name: str) -> None:
    with pytest.raises(UsageError, match="Europe/Berlin") as refusal:
        zone_of(name)
    assert refusal.value.exit_code == 64


def test_zone_is_an_iana_name() -> None:
    assert zone_of("UTC") is UTC
    assert zone_of("Asia/Kolkata") == ZoneInfo("Asia/Kolkata")
