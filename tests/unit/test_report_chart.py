"""The chart of spend a day: what it draws, what it says in words, and which days it has room for."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from hal0_budget import Account, Home, Row, report
from hal0_budget.cli.render.report_chart import Chart, chart, chart_of, words_of
from tests.conftest import NOON, forget_marks


def chart_with(
    home: Home, spent: dict[str, str], cap: str | None, **options: str
) -> tuple[Chart | None, str]:
    """The chart of hermes and how it is drawn, for what it spent on some days under a daily cap."""
    path = home.spend_dir("hermes") / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for day, usd in spent.items():
        ts = datetime.fromisoformat(day).replace(tzinfo=UTC)
        voids = "r" if usd.startswith("-") else None
        rows.append(Row(ts, "hermes", "s", "m", Decimal(usd), "id", voids=voids))
    path.write_bytes(b"".join(row.line() for row in rows))
    forget_marks(path)
    if cap:
        Account(home, "hermes").set_budget({"daily_usd": Decimal(cap)})
    found = report(home, ["hermes"], clock=lambda: NOON, **options)  # type: ignore[arg-type]
    return chart_of(found, found.personas[0]), chart(found, found.personas[0])


WEEK = {"2026-05-23": "0.5", "2026-05-26": "1", "2026-05-29": "2"}


def heights(drawn: str, kind: str) -> list[int]:
    return [int(height) for height in re.findall(rf'class="{kind}" bgcolor="[^"]*" height="(\d+)"', drawn)]


def test_bars_stand_below_the_line_of_the_cap_and_above_it(home: Home) -> None:
    found, drawn = chart_with(home, WEEK, "1", since="7d")
    assert found is not None
    assert [day.day for day, _ in found.days] == [23, 24, 25, 26, 27, 28, 29]
    assert heights(drawn, "bar") == [24, 48, 48]
    assert heights(drawn, "over") == [48]
    assert words_of(found) == (
        "Spend a day, 2026-05-23 to 2026-05-29: the highest is $2.0000 on 2026-05-29; "
        "1 of 7 days above the daily cap of $1.0000, the dashed line."
    )
    assert drawn.count('class="cap"') == 7


CAPS = {
    "none": (None, "there is no daily cap."),
    "far above": ("100", "no day above the daily cap of $100.0000."),
    "exactly the highest": ("2", "no day above the daily cap of $2.0000, the dashed line."),
    "nothing": ("0", "3 of 7 days above the daily cap of $0.0000."),
}


@pytest.mark.parametrize(("cap", "says"), CAPS.values(), ids=CAPS)
def test_cap_is_a_line_where_it_is_near_and_in_words_always(cap: str | None, says: str, home: Home) -> None:
    found, drawn = chart_with(home, WEEK, cap, since="7d")
    assert found is not None
    assert words_of(found).endswith(says)
    assert heights(drawn, "bar") == [24, 48, 96]
    assert heights(drawn, "over") == []
    assert ('class="cap"' in drawn) == ("dashed" in says)


def test_what_was_spent_is_never_invisible_and_nothing_is(home: Home) -> None:
    _, drawn = chart_with(home, {"2026-05-28": "0.000001", "2026-05-29": "5", "2026-05-27": "-1"}, None)
    assert heights(drawn, "bar") == [2, 96]
    assert chart_with(home, {"2026-05-29": "0"}, None)[1] == ""
    assert chart_with(home, {}, None)[1] == ""


def test_long_span_shows_its_last_month_and_no_future(home: Home) -> None:
    days = {"2020-01-01": "1", "2026-05-01": "1", "9999-12-31": "50"}
    found, drawn = chart_with(home, days, None)
    assert found is not None
    assert (found.days[0][0], found.days[-1][0]) == (date(2026, 4, 29), NOON.date())
    assert re.findall(r">(\d\d-\d\d)<", drawn) == ["04-29", "05-04", "05-11", "05-18", "05-25"]
    found, _ = chart_with(home, days, None, until="2020-01-03")
    assert found is not None
    assert [usd for _, usd in found.days] == [1, 0, 0]
    assert chart_with(home, days, None, since="2030-01-01")[0] is None
