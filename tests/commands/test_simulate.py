"""`simulate`: what other caps would have done, told in text and JSON; it changes nothing."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, Row, simulate
from hal0_budget.errors import InvalidBudget
from hal0_budget.reporting.simulation import NAMED_CALLS
from hal0_budget.stores.files.blocks import BLOCK
from tests.conftest import NOON, Cli, put_ledger

D = Decimal


@pytest.fixture
def spending(account: Account, cli: Cli) -> Cli:
    """The command on a persona with a daily cap of 1 USD, and four calls of 0.1, 0.2, 0.3, 0.4 at noon."""
    account.set_budget({"daily_usd": D(1), "warn_at": D("0.9")})
    for number in range(1, 5):
        account.charge(D(number) / 10, model="m", surface="openrouter", request_id=f"r{number}")
    return cli


TEXT = """\
hermes, from the first call to the last, under per-call $0.3500, daily $0.5000, warn-at 90%; \
calls over a cap are blocked
  calls     4  $1.0000
  allowed   2  $0.3000
  warned    0  $0.0000
  blocked   2  $0.7000
  spent $1.0000, would have been $0.3000: $0.7000 saved
  per-call: 1 blocked ($0.4000)
  daily: 1 blocked ($0.3000)
  blocked, all:
    line 3  2026-05-29T12:00:00Z  $0.3000  m  r3  \
daily cap $0.5000 would be exceeded: spent $0.3000, estimate $0.3000
    line 4  2026-05-29T12:00:00Z  $0.4000  m  r4  per-call cap $0.3500 exceeded by estimate $0.4000
"""


def test_text_says_what_would_have_been_blocked_and_why(spending: Cli) -> None:
    done = spending("simulate", "hermes", "--daily", "0.5", "--per-call", "0.35")
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT, "")


def test_json_says_the_same(spending: Cli) -> None:
    answer = spending.json("simulate", "hermes", "--daily", "0.5", "--per-call", "0.35")
    assert answer["budget"] == {
        "per_call_max_usd": D("0.35"),
        "daily_usd": D("0.5"),
        "hard_cap": True,
        "warn_at": D("0.9"),
    }
    assert [answer[key] for key in ("calls", "spent_usd", "would_spend_usd", "saved_usd")] == [
        4, D("1.0"), D("0.3"), D("0.7"),
    ]  # fmt: skip
    assert answer["windows"] == [
        {"window": "per_call", "blocked": {"calls": 1, "usd": D("0.4")}, "warned": {"calls": 0, "usd": 0}},
        {"window": "daily", "blocked": {"calls": 1, "usd": D("0.3")}, "warned": {"calls": 0, "usd": 0}},
    ]
    assert [(call["line"], call["request_id"]) for call in answer["first_blocked"]] == [(3, "r3"), (4, "r4")]
    assert answer["last_blocked"] == {
        "line": 4,
        "ts": "2026-05-29T12:00:00+00:00",
        "surface": "openrouter",
        "model": "m",
        "cost_usd": D("0.4"),
        "request_id": "r4",
        "reason": "per-call cap $0.3500 exceeded by estimate $0.4000",
    }


CAPS = {
    "those of the persona": ((), (3, 1, 0)),
    "one changed": (("--daily", "0.6"), (2, 1, 1)),
    "warn-only": (("--daily", "0.6", "--warn-only"), (2, 2, 0)),
    "one removed": (("--daily", "none"), (4, 0, 0)),
    "none but those named": (("--replace", "--weekly", "1"), (4, 0, 0)),
    "none at all": (("--replace",), (4, 0, 0)),
    "no warning": (("--warn-at", "none"), (4, 0, 0)),
    "nothing allowed": (("--lifetime", "0"), (0, 0, 4)),
}


@pytest.mark.parametrize(("options", "counts"), CAPS.values(), ids=CAPS)
def test_caps_that_are_not_named_are_those_of_the_persona(
    spending: Cli, options: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    answer = spending.json("simulate", "hermes", *options)
    assert tuple(answer[name]["calls"] for name in ("allowed", "warned", "blocked")) == counts


def test_nothing_is_changed(spending: Cli, home: Home) -> None:
    spending("show", "hermes")
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert spending("simulate", "hermes", "--daily", "0").returncode == 0
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_days_bound_what_is_judged_and_both_are_included(home: Home, cli: Cli) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    Account(home, "hermes").set_budget({"lifetime_usd": D(10)})
    ledger = home.spend_dir("hermes") / "spend.jsonl"
    ledger.parent.mkdir(exist_ok=True)
    times = [today - timedelta(days=days) for days in (3, 2, 1)]
    ends = [time + timedelta(hours=23, minutes=59, seconds=59) for time in times]
    rows = [
        Row(ts, "hermes", "cli", "m", D(1), f"r{number}")
        for number, ts in enumerate(sorted([*times, *ends, today]))
    ]
    ledger.write_bytes(b"".join(row.line() for row in rows))
    for options, calls in {
        ("--since", "3d"): 5,
        ("--since", "3d", "--until", "yesterday"): 4,
        ("--since", "today"): 1,
        ("--until", str(times[0].date())): 2,
    }.items():
        assert cli.json("simulate", "hermes", *options)["calls"] == calls, options
    answer = cli.json("simulate", "hermes", "--since", "yesterday", "--lifetime", "6")
    assert (answer["blocked"]["calls"], answer["since"]) == (1, str(times[2].date()))


def test_many_blocked_calls_are_counted_and_the_first_and_the_last_named(home: Home, cli: Cli) -> None:
    count = NAMED_CALLS + 7
    account = Account(home, "hermes", clock=lambda: NOON)
    for number in range(count):
        account.charge(D("0.1"), model="m", request_id=f"r{number}")
    answer = cli.json("simulate", "hermes", "--daily", "0")
    assert answer["blocked"]["calls"] == count
    assert [call["request_id"] for call in answer["first_blocked"]] == [f"r{n}" for n in range(NAMED_CALLS)]
    assert answer["last_blocked"]["request_id"] == f"r{count - 1}"
    text = cli("simulate", "hermes", "--daily", "0").stdout
    assert f"  blocked, the first {NAMED_CALLS} and the last:\n" in text
    assert text.count(" estimate $0.1000") == NAMED_CALLS + 1


def test_estimated_rows_are_said(cli: Cli) -> None:
    cli("run", "hermes", "--estimate", "0.25", "--", "true")
    assert "  estimated: 1 of the calls, $0.2500, " in cli("simulate", "hermes").stdout
    assert cli.json("simulate", "hermes")["doubtful"] == {"estimated": {"calls": 1, "usd": D("0.25")}}


def test_unreadable_rows_are_skipped_and_named_as_show_does(cli: Cli, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    done, shown = cli("simulate", "hermes"), cli("show", "hermes")
    assert (done.returncode, done.stderr) == (0, shown.stderr)
    assert "is unreadable" in done.stderr


def test_persona_that_never_spent_has_no_calls(cli: Cli) -> None:
    answer = cli.json("simulate", "hermes", "--daily", "1")
    assert (answer["calls"], answer["spent_usd"], answer["last_blocked"]) == (0, 0, None)


REFUSED = {
    "no such persona": (("nobody",), 66, "no persona 'nobody'"),
    "no amount": (("hermes", "--daily", "x"), 64, "--daily 'x' is not an amount: "),
    "no share": (("hermes", "--warn-at", "2"), 64, "warn_at"),
    "no day": (("hermes", "--since", "x"), 64, "'x' is not a day"),
    "days the wrong way round": (("hermes", "--since", "today", "--until", "yesterday"), 64, "is after"),
}


@pytest.mark.parametrize(("args", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_is_refused(cli: Cli, args: tuple[str, ...], code: int, message: str) -> None:
    done = cli("simulate", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_library_refuses_what_no_budget_can_hold(home: Home) -> None:
    for changes in ({"dialy_usd": D(1)}, {"daily_usd": D(-1)}, {"warn_at": D(2)}):
        with pytest.raises(InvalidBudget):
            simulate(home, "hermes", changes)


def test_replaced_caps_do_not_need_sound_ones(cli: Cli, home: Home) -> None:
    path = home.persona_file("hermes")
    path.write_text(path.read_text().replace("[persona.budget]", "[persona.budget]\ndaily_usd = -1"))
    assert cli("simulate", "hermes", "--weekly", "1").returncode == 65
    assert cli("simulate", "hermes", "--weekly", "1", "--replace").returncode == 0


def test_hostile_names_of_models_are_escaped(cli: Cli, ledger: Path) -> None:
    ledger.write_bytes(Row(NOON, "hermes", "cli", "\x1b[2J\u202e", D(1), "r").line())
    text = cli("simulate", "hermes", "--daily", "0").stdout
    assert "\\x1b[2J\\u202e" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_ledger_and_persona_are_opened_for_reading_alone(spending: Cli, ledger: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tracer = ("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=%file")
    assert spending("simulate", "hermes", "--daily", "0", prefix=tracer).returncode == 0
    calls = [line for line in trace.read_text().splitlines() if f'{ledger}"' in line or "hermes.toml" in line]
    assert calls
    assert not [line for line in calls if re.search("O_WRONLY|O_RDWR|O_CREAT|rename|unlink|truncate", line)]


def test_ledger_that_is_gone_is_refused(spending: Cli, ledger: Path) -> None:
    spending("show", "hermes")
    ledger.unlink()
    done = spending("simulate", "hermes", "--daily", "1")
    assert (done.returncode, done.stdout) == (65, "")


def test_progress_is_told_of_every_block_of_every_pass(home: Home, ledger: Path) -> None:
    """The first scan, that for voids, and the replay."""
    ledger.write_bytes(Row(NOON, "hermes", "cli", "m", D(1), "r").line() * 4000)
    size = ledger.stat().st_size
    told: list[int] = []
    simulate(home, "hermes", {}, progress=lambda done, of: told.append(done) if of == size else None)
    blocks = told[: told.index(size) + 1]
    assert len(blocks) >= size / BLOCK > 1
    assert blocks == sorted(set(blocks))
    assert told == blocks * 3
