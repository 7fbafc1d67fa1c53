"""What is to come: when a cap is reached at the present pace, and how far a long reading has come."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest

from hal0_budget import Home, Row
from hal0_budget.cli.terminal import progress
from hal0_budget.reporting.forecast import pace_of, reached_at
from tests.conftest import COMMAND, NOON, Cli
from tests.support.screens import Terminal


def test_reading_that_takes_a_while_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(progress, "_PATIENCE", -1)
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with progress.reading() as tell:
            tell("hermes", 50, 100)
            tell("coder", 100, 100)
        assert b"reading hermes" in drained(ours)
        monkeypatch.setattr(progress, "_PATIENCE", 60)
        with progress.reading() as tell:
            tell("nobody", 50, 100)
        assert drained(ours) == b""
    os.close(ours)


def on_terminal(cli: Cli, command: str) -> str:
    """What a command, which must succeed, writes to a terminal."""
    terminal = Terminal(cli, (str(COMMAND), *command.split()), 100, 30)
    try:
        while terminal.process.poll() is None:
            terminal.read()
        terminal.read()
        assert terminal.process.returncode == 0
        return terminal.written
    finally:
        terminal.close()


def rows(home: Home, count: int) -> None:
    """A ledger of so many rows."""
    path = home.spend_dir("hermes") / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Row(NOON, "hermes", "cli", "m", Decimal("0.01"), "r").line() * count)


@pytest.mark.parametrize("command", ["report hermes --since 2026-01-01", "simulate hermes --daily 1"])
@pytest.mark.parametrize("count", [10, 400_000], ids=["short", "long"])
def test_command_that_takes_a_while_shows_a_bar(command: str, count: int, cli: Cli, home: Home) -> None:
    """Already in its first scan, before anything is known of the ledger."""
    rows(home, count)
    written = on_terminal(cli, command)
    assert ("reading hermes" in written) == (count > 10)
    assert "$" in written


def test_many_charges_show_a_bar_and_come_out_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        for patience in (60, -1):
            monkeypatch.setattr(progress, "_PATIENCE", patience)
            assert list(progress.tracked(range(5), "charging")) == list(range(5))
            assert (b"charging" in drained(ours)) == (patience < 0)
        assert list(progress.tracked((), "charging")) == []
        assert drained(ours) == b""
    os.close(ours)


def drained(terminal: int) -> bytes:
    """What was written to a terminal and not yet read."""
    os.set_blocking(terminal, False)
    found = b""
    with suppress(BlockingIOError):
        while block := os.read(terminal, 65536):
            found += block
    return found


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
