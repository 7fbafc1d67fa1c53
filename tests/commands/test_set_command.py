"""`set`: changes the caps that are named, all of them or none, and says what it changed."""

from __future__ import annotations

import fcntl
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli

# What takes from root the right to write what its mode forbids.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()

SHOW_KEYS = ["persona_id", "budget", "spend", "remaining", "windows", "unconfirmed_usd", "warnings"]


@pytest.fixture
def persona(home: Home) -> Path:
    """The file of hermes, with three keys of ours, one of another program, and a comment."""
    path = home.persona_file("hermes")
    keys = 'daily_usd = 5.0  # a day\nlifetime_usd = 200\nrollover = "no"\nhard_cap = false\n'
    path.write_text(f'[persona]\nid = "hermes"\n\n[persona.budget]\n{keys}')
    return path


def untimed(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without the times that the next command may see differently."""
    return {**answer, "windows": [{**window, "resets_at": ...} for window in answer["windows"]]}


def test_every_cap_has_an_option(cli: Cli, persona: Path) -> None:
    line = (
        "--per-call 0.5 --hourly 1 --daily 2.50 --weekly 1e1 --monthly .5 --lifetime 1000000000 --warn-at 0.8"
    )
    done = cli("set", "hermes", *line.split(), "--hard-cap")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "hermes: changed per_call_max_usd: none -> 0.5",
        "hermes: changed hourly_usd: none -> 1.0",
        "hermes: changed daily_usd: 5.0 -> 2.50",
        "hermes: changed weekly_usd: none -> 10.0",
        "hermes: changed monthly_usd: none -> 0.5",
        "hermes: changed lifetime_usd: 200 -> 1000000000.0",
        "hermes: changed hard_cap: false -> true",
        "hermes: changed warn_at: none -> 0.8",
    ]
    assert cli.json("show", "hermes")["budget"] == {
        "per_call_max_usd": Decimal("0.5"),
        "hourly_usd": 1,
        "daily_usd": Decimal("2.5"),
        "weekly_usd": 10,
        "monthly_usd": Decimal("0.5"),
        "lifetime_usd": 1_000_000_000,
        "hard_cap": True,
        "warn_at": Decimal("0.8"),
    }
    assert "# a day\n" in persona.read_text()


@pytest.mark.parametrize(
    ("line", "budget"),
    [
        ("--daily 7", {"daily_usd": 7, "lifetime_usd": 200, "hard_cap": False}),
        ("--daily none", {"lifetime_usd": 200, "hard_cap": False}),
        ("--daily 0", {"daily_usd": 0, "lifetime_usd": 200, "hard_cap": False}),
        ("--hard-cap", {"daily_usd": 5, "lifetime_usd": 200, "hard_cap": True}),
        ("--hard-cap --warn-only", {"daily_usd": 5, "lifetime_usd": 200, "hard_cap": False}),
        ("--monthly none", {"daily_usd": 5, "lifetime_usd": 200, "hard_cap": False}),
        ("--replace --daily 7", {"daily_usd": 7, "hard_cap": True}),
        ("--replace --daily 5 --warn-only", {"daily_usd": 5, "hard_cap": False}),
        ("--replace", {"hard_cap": True}),
        (
            "--warn-at 1 --daily 1 --daily 2",
            {"daily_usd": 2, "lifetime_usd": 200, "hard_cap": False, "warn_at": 1},
        ),
    ],
)
def test_caps_that_are_not_named_stay_unless_replaced(
    cli: Cli, home: Home, persona: Path, line: str, budget: dict[str, object]
) -> None:
    assert cli.json("set", "hermes", *line.split())["budget"] == budget
    assert Account(home, "hermes").show().budget.to_table() == budget
    assert 'rollover = "no"' in persona.read_text()


@pytest.mark.usefixtures("persona")
def test_json_is_that_of_show_and_the_changes(cli: Cli) -> None:
    line = "set hermes --daily 7 --lifetime none --warn-at 0.5"
    foreseen = cli.json(*line.split(), "--dry-run")
    answer = cli.json(*line.split())
    assert list(answer) == [*SHOW_KEYS, "changes", "written"]
    assert answer["changes"] == [
        {"key": "daily_usd", "from": Decimal("5.0"), "to": 7},
        {"key": "lifetime_usd", "from": 200, "to": None},
        {"key": "warn_at", "from": None, "to": Decimal("0.5")},
    ]
    assert answer["written"] is True
    assert untimed(foreseen) == untimed({**answer, "written": False})
    shown = untimed(cli.json("show", "hermes"))
    assert {key: untimed(answer)[key] for key in SHOW_KEYS} == shown


@pytest.mark.usefixtures("persona")
def test_dry_run_says_what_it_would_change_and_touches_nothing(cli: Cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in cli.root.rglob("*")}
    done = cli("set", "hermes", "--daily", "7", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "hermes: would change daily_usd: 5.0 -> 7.0\n")
    assert {path: path.stat().st_mtime_ns for path in cli.root.rglob("*")} == before


def test_what_is_so_already_is_not_written_again(cli: Cli, persona: Path) -> None:
    before = persona.stat()
    done = cli("set", "hermes", "--daily", "5.00", "--warn-only", "--monthly", "none")
    assert (done.returncode, done.stdout) == (0, "hermes: nothing to change\n")
    assert (persona.stat().st_ino, persona.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert cli.json("set", "hermes", "--daily", "5")["written"] is False


@pytest.mark.parametrize(
    "line",
    [
        "set --daily 7 hermes",
        "set hermes --daily=7",
        "--agent hermes set hermes --daily 7",
        "set --daily 7 -- hermes",
        "-q set hermes --daily 7",
    ],
)
def test_options_may_stand_anywhere(cli: Cli, persona: Path, line: str) -> None:
    done = cli(*line.split())
    assert (done.returncode, bool(done.stdout)) == (0, not line.startswith("-q"))
    assert "daily_usd = 7.0  # a day\n" in persona.read_text()


@pytest.mark.usefixtures("persona")
@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("hermes", 64, "usage"),
        ("hermes --dry-run", 64, "usage"),
        ("--daily 7", 64, "usage"),
        ("hermes --daily 7 --yearly 9", 64, "usage"),
        ("hermes --daily 7 --lock-timeout nan", 64, "usage"),
        ("hermes --daily -5", 64, "budget.invalid"),
        ("hermes --daily NONE", 64, "budget.invalid"),
        ("hermes --daily 7 --monthly inf", 64, "budget.invalid"),
        ("hermes --daily 7 --warn-at 1.5", 64, "budget.invalid"),
        ("hermes --daily 7 --warn-at 0", 64, "budget.invalid"),
        ("../hermes --daily 7", 64, "id.invalid"),
        ("hermse --daily 7", 66, "persona.not_found"),
        ("hermes --agent nobody --daily 7", 66, "agent.unknown"),
    ],
)
def test_what_cannot_be_set_leaves_every_file_as_it_was(cli: Cli, line: str, code: int, error: str) -> None:
    before = {path: path.read_bytes() for path in cli.root.rglob("*") if path.is_file()}
    assert cli.json("set", *line.split(), code=code)["error"]["code"] == error
    assert {path: path.read_bytes() for path in cli.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "value",
    ["nan", "-inf", "2026-05-29", "[1]", '"5"', "true", "1e9999999999999999999", "1e999999999", "-1"],
)
def test_value_that_no_budget_can_hold_is_mended_and_called_invalid(
    cli: Cli, persona: Path, value: str
) -> None:
    persona.write_text(persona.read_text().replace("5.0", value))
    answer = cli.json("set", "hermes", "--daily", "7")
    assert answer["changes"] == [{"key": "daily_usd", "from": "invalid", "to": 7}]
    assert "daily_usd = 7.0" in persona.read_text()


def test_another_key_that_is_malformed_is_65_and_nothing_is_written(cli: Cli, persona: Path) -> None:
    persona.write_text(persona.read_text().replace("200", "true"))
    before = persona.read_bytes()
    error = cli.json("set", "hermes", "--daily", "7", code=65)["error"]
    assert (error["code"], error["details"]["key"]) == ("persona.malformed", "lifetime_usd")
    assert persona.read_bytes() == before


def test_caps_can_be_set_while_the_ledger_is_damaged(cli: Cli, persona: Path, home: Home) -> None:
    account = Account(home, "hermes")
    account.charge(Decimal(1), model="m")
    (home.spend_dir("hermes") / "spend.jsonl").write_bytes(b"")
    done = cli("set", "hermes", "--daily", "7", "--json")
    assert (done.returncode, "than its checkpoint" in done.stderr) == (0, True)
    answer = json.loads(done.stdout)
    assert set(answer) == {*SHOW_KEYS, "changes", "written"}
    assert [answer[key] for key in ("spend", "remaining", "windows", "written")] == [None, None, None, True]
    assert "daily_usd = 7.0" in persona.read_text()


def test_lock_that_another_process_holds_is_75(cli: Cli, persona: Path, home: Home) -> None:
    before = persona.read_bytes()
    home.spend_dir("hermes").mkdir(exist_ok=True)
    with (home.spend_dir("hermes") / "spend.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = "set hermes --daily 7 --lock-timeout 0.05"
        assert cli.json(*line.split(), code=75)["error"]["code"] == "lock.timeout"
        assert cli("set", "hermes", "--daily", "7", "--dry-run").returncode == 0
    assert persona.read_bytes() == before


@pytest.mark.parametrize(("mode", "folder_mode"), [(0o000, 0o700), (0o600, 0o500)], ids=["file", "folder"])
def test_file_that_may_not_be_read_or_replaced_is_77(
    cli: Cli, persona: Path, mode: int, folder_mode: int
) -> None:
    before = persona.read_bytes()
    persona.chmod(mode)
    persona.parent.chmod(folder_mode)
    done = cli("set", "hermes", "--daily", "7", "--json", prefix=UNPRIVILEGED)
    persona.parent.chmod(0o700)
    persona.chmod(0o600)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")
    assert persona.read_bytes() == before


@pytest.mark.parametrize(
    "prefix", [("env", "-i"), ("env", "-i", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")]
)
def test_text_that_is_not_ascii_survives_whatever_the_locale(
    cli: Cli, persona: Path, prefix: tuple[str, ...]
) -> None:
    persona.write_text(persona.read_text() + "# K\u00fcche \U0001f4b8\n", encoding="utf-8")
    done = cli("set", "hermes", "--daily", "7", "--root", str(cli.root), prefix=prefix)
    assert (done.returncode, done.stderr) == (0, "")
    assert "# K\u00fcche \U0001f4b8\n" in persona.read_text(encoding="utf-8")
