"""Where windows begin, and how far clocks step back."""

from __future__ import annotations

from datetime import timedelta

import pytest

# The first instant of a window, and which windows begin with it; the others run on.
EDGES = [
    pytest.param("2026-05-29T13:00", "hourly", id="an hour"),
    pytest.param("2026-05-29T00:00", "hourly daily", id="a day"),
    pytest.param(
        "2026-06-01T00:00", "hourly daily weekly monthly", id="a Monday that is the first of a month"
    ),
    pytest.param("2026-05-01T00:00", "hourly daily monthly", id="the end of a month of 30 days"),
    pytest.param("2026-08-01T00:00", "hourly daily monthly", id="the end of a month of 31 days"),
    pytest.param("2027-01-01T00:00", "hourly daily monthly", id="a year's end within ISO week 53"),
    pytest.param("2027-01-04T00:00", "hourly daily weekly", id="the end of ISO week 53"),
    pytest.param("2026-12-28T00:00", "hourly daily weekly", id="the beginning of ISO week 53"),
    pytest.param("2024-12-30T00:00", "hourly daily weekly", id="ISO week 1 that begins in the old year"),
    pytest.param("2024-01-01T00:00", "hourly daily weekly monthly", id="a Monday that is New Year"),
    pytest.param("2028-02-29T00:00", "hourly daily", id="29 February begins"),
    pytest.param("2028-03-01T00:00", "hourly daily monthly", id="29 February ends"),
    pytest.param("2027-03-01T00:00", "hourly daily weekly monthly", id="28 February ends"),
    pytest.param("2100-03-01T00:00", "hourly daily weekly monthly", id="2100 is no leap year"),
    pytest.param("2000-02-29T00:00", "hourly daily", id="2000 is one"),
]

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
