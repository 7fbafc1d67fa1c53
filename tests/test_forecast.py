"""What is to come: when a cap is reached at the present pace, and how far a long reading has come."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal

import pytest

from hal0_budget.cli import progress
from hal0_budget.forecast import pace_of, reached_at
from tests.conftest import NOON


def test_reading_that_takes_a_while_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        for patience, names in ((-1, ("hermes", "coder")), (60, ("nobody",))):
            monkeypatch.setattr(progress, "_PATIENCE", patience)
            with progress.reading() as tell:
                for name in names:
                    tell(name, 50, 100)
        print("done", file=terminal, flush=True)
        said = b""
        while b"done" not in said:
            said += os.read(ours, 65536)
    os.close(ours)
    assert b"reading hermes" in said
    assert b"reading coder" in said
    assert b"nobody" not in said


PACES = {
    "a week and half a day": ({f"2026-05-{day}": Decimal(3) for day in range(10, 30)}, Decimal("3.2000")),
    "since yesterday": ({"2026-05-28": Decimal(1), "2026-05-29": Decimal(2)}, Decimal(2)),
    "since today": ({"2026-05-29": Decimal(2)}, Decimal(4)),
    "long ago": ({"2026-01-01": Decimal(9)}, Decimal(0)),
    "the future": ({"2026-06-01": Decimal(9)}, Decimal(0)),
    "a third": ({"2026-05-26": Decimal(1), "2026-05-29": Decimal(0)}, Decimal("0.2857")),
    "nothing": ({}, Decimal(0)),
}


@pytest.mark.parametrize(("days", "pace"), PACES.values(), ids=PACES)
def test_pace_is_that_of_the_last_seven_days(days: dict[str, Decimal], pace: Decimal) -> None:
    assert pace_of(days, NOON) == pace
    assert pace_of({"2026-05-29": Decimal(1)}, NOON.replace(hour=0, minute=1)) == 24, "an hour at least"


def test_cap_is_reached_when_nothing_is_left_at_that_pace() -> None:
    day = timedelta(days=1)
    assert reached_at(Decimal(3), Decimal(2), NOON, None) == NOON + 1.5 * day
    assert reached_at(Decimal(3), Decimal(2), NOON, NOON + 2 * day) == NOON + 1.5 * day
    assert reached_at(Decimal(3), Decimal(2), NOON, NOON + day) is None
    assert reached_at(Decimal(0), Decimal(2), NOON, NOON + day) == NOON
    assert reached_at(Decimal(3), Decimal(0), NOON, None) is None
    assert reached_at(Decimal(3), Decimal(-1), NOON, None) is None
    assert reached_at(Decimal(10**9), Decimal("0.0001"), NOON, None) is None
