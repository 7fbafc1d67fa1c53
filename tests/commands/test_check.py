"""`check`: the exit code alone answers, and says the same whichever way one asks."""

from __future__ import annotations

import fcntl
import json
import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import Cli

# What takes from root the right to read what its mode forbids.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()

NAGIOS = ("--format", "nagios")


@pytest.fixture(autouse=True)
def _capped(home: Home) -> None:
    """Hermes has a cap of $1 on its lifetime, 70 cents of which are spent; coder may only warn."""
    hermes = Account(home, "hermes")
    hermes.set_budget(
        {"lifetime_usd": Decimal("1.0"), "per_call_max_usd": Decimal("0.5"), "warn_at": Decimal("0.9")}
    )
    hermes.charge(Decimal("0.7"), model="m")
    Account(home, "coder").set_budget({"lifetime_usd": Decimal(0), "hard_cap": False})


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("hermes", 0, "allow: remaining: per-call $0.5000, lifetime $0.3000"),
        ("hermes --estimate 0.1", 0, "allow: remaining: per-call $0.5000, lifetime $0.3000"),
        ("hermes --estimate 0", 0, "allow: remaining: per-call $0.5000, lifetime $0.3000"),
        ("hermes --estimate 0.2", 10, "warn: lifetime use $0.9000 reaches 90% of cap $1.0000"),
        ("hermes --estimate 0.3", 10, "warn: lifetime use $1.0000 reaches 90% of cap $1.0000"),
        ("hermes --estimate 0.3 --warn-ok", 0, "warn: lifetime use $1.0000 reaches 90% of cap $1.0000"),
        (
            "hermes --estimate 0.31 --warn-ok",
            20,
            "block: lifetime cap $1.0000 would be exceeded: spent $0.7000, estimate $0.3100",
        ),
        ("hermes --estimate 0.6", 20, "block: per-call cap $0.5000 exceeded by estimate $0.6000"),
        ("coder", 10, "warn: lifetime cap $0.0000 is used up: spent $0.0000"),
        ("coder --warn-ok", 0, "warn: lifetime cap $0.0000 is used up: spent $0.0000"),
    ],
)
def test_one_line_says_the_verdict_and_the_exit_code_is_it(cli: Cli, line: str, code: int, said: str) -> None:
    done = cli("check", *line.split())
    assert (done.returncode, done.stdout, done.stderr) == (code, f"{said}\n", "")


def test_line_of_a_window_that_binds_says_when_it_resets(cli: Cli, account: Account) -> None:
    account.set_budget({"monthly_usd": Decimal(0)})
    assert re.search(
        r" \(resets \d{4}-\d\d-01T00:00Z\)\n$", cli("check", "hermes", "--estimate", "0.1").stdout
    )


def test_json_of_a_block_has_exactly_the_promised_keys(cli: Cli, account: Account) -> None:
    account.set_budget({"monthly_usd": Decimal("0.70")})
    answer = cli.json("check", "hermes", "--estimate", "0.6", code=20)
    resets_at = datetime.fromisoformat(answer.pop("resets_at") or "1970-01-01T00:00:00+00:00")
    assert resets_at == datetime(1970, 1, 1, tzinfo=UTC), "a call's cap never resets"
    assert answer == {
        "allowed": False,
        "reason": "per-call cap $0.5000 exceeded by estimate $0.6000",
        "remaining_usd": {"per_call": Decimal("0.5"), "monthly": 0, "lifetime": Decimal("0.3")},
        "hard_cap": True,
        "verdict": "block",
        "window": "per_call",
        "held_usd": 0,
        "breaches": [
            {"window": "per_call", "reason": "per-call cap $0.5000 exceeded by estimate $0.6000"},
            {
                "window": "monthly",
                "reason": "monthly cap $0.7000 would be exceeded: spent $0.7000, estimate $0.6000",
            },
            {
                "window": "lifetime",
                "reason": "lifetime cap $1.0000 would be exceeded: spent $0.7000, estimate $0.6000",
            },
        ],
        "warnings": [],
    }


def test_json_where_nothing_binds_has_null_for_reason_window_and_reset(cli: Cli) -> None:
    answer = cli.json("check", "hermes")
    assert answer == {
        "allowed": True,
        "reason": None,
        "remaining_usd": {"per_call": Decimal("0.5"), "lifetime": Decimal("0.3")},
        "hard_cap": True,
        "verdict": "allow",
        "window": None,
        "resets_at": None,
        "held_usd": 0,
        "breaches": [],
        "warnings": [],
    }


def test_json_of_a_window_says_in_utc_when_it_resets(cli: Cli, account: Account) -> None:
    account.set_budget({"hourly_usd": Decimal(0)})
    answer = cli.json("check", "hermes", "--estimate", "0.1", code=20)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00\+00:00", answer["resets_at"])
    assert answer["window"] == "hourly"


def test_json_of_a_warning_allows(cli: Cli) -> None:
    answer = cli.json("check", "coder", code=10)
    assert (answer["allowed"], answer["verdict"], answer["hard_cap"]) == (True, "warn", False)


@pytest.mark.parametrize(
    "line",
    [
        "check hermes --estimate 0.31 --json",
        "check --estimate 0.31 --json hermes",
        "check --json hermes --estimate=0.31",
        "--json check hermes --estimate 0.31",
        "--json --agent hermes check --estimate 0.31 hermes",
        "check hermes --estimate 0.31 --format json",
        "check --estimate 0.31 --json -- hermes",
        "check hermes --estimate 0.01 --estimate 0.31 --json",
    ],
)
def test_options_may_stand_anywhere(cli: Cli, line: str) -> None:
    done = cli(*line.split())
    assert (done.returncode, json.loads(done.stdout)["window"]) == (20, "lifetime")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("-q check hermes --estimate 0.1", 0),
        ("check hermes -q --estimate 0.2", 10),
        ("check hermes --estimate 9 --quiet", 20),
        ("check -q --json hermes --estimate 9", 20),
    ],
)
def test_quiet_answers_by_the_exit_code_alone(cli: Cli, line: str, code: int) -> None:
    done = cli(*line.split())
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_quiet_is_quiet_about_warnings(cli: Cli, home: Home) -> None:
    home.persona_file("hermes").write_text('[persona]\nid = "hermes"\n[persona.budget]\ndialy_usd = 5\n')
    done = cli("-q", "check", "hermes")
    assert (done.returncode, done.stdout, done.stderr) == (10, "", "")


def test_quiet_is_not_quiet_about_failures(cli: Cli) -> None:
    done = cli("-q", "check", "hermse")
    assert (done.returncode, done.stdout) == (66, "")
    assert "hermse" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "",
        "chek hermes",
        "check",
        "check hermes coder",
        "check hermes --bogus",
        "check hermes --est 1",
        "check hermes --estimate",
        "check hermes --format xml",
        "check hermes --warn-ok=yes",
        "check hermes --lock-timeout 1",
    ],
)
def test_line_that_does_not_parse_ends_in_64(cli: Cli, line: str) -> None:
    done = cli(*line.split())
    assert (done.returncode, done.stdout) == (64, "")
    assert re.fullmatch(r"hal0-budget: .+\n", done.stderr)


def test_usage_error_answers_in_json_where_json_was_asked_for(cli: Cli) -> None:
    for line in ("check --json --bogus hermes", "chek hermes --json", "check hermes --format=json --bogus"):
        error = json.loads(cli(*line.split()).stdout)["error"]
        assert error["code"] == "usage"
        assert set(error) == {"code", "message", "details"}


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["hermes"], 0, r"BUDGET OK - allow: remaining: .*"),
        (["hermes", "--estimate", "0.2"], 1, r"BUDGET WARNING - warn: .*"),
        (["hermes", "--estimate", "0.2", "--warn-ok"], 0, r"BUDGET OK - warn: .*"),
        (["hermes", "--estimate", "9"], 2, r"BUDGET CRITICAL - block: .*"),
        (["hermes", "--estimate", "9", "-q"], 2, r"BUDGET CRITICAL - block: .*"),
        (["hermes", "--estimate", "9", "--json"], 2, r"BUDGET CRITICAL - block: .*"),
    ],
)
def test_monitoring_line_has_its_own_codes_and_perfdata(
    cli: Cli, args: list[str], code: int, line: str
) -> None:
    number = r"\d+(\.\d+)?"
    perfdata = rf"\w+={number};({number})?;({number})?;0;({number})?"
    done = cli("check", *NAGIOS, *args)
    assert (done.returncode, done.stderr) == (code, "")
    assert re.fullmatch(rf"{line} \| {perfdata}( {perfdata})*\n", done.stdout)
    assert "lifetime=0.7;0.90;1.0;0;1.0" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["hermse", "--json"],
        ["--json", "hermes", "--agent", "nobody"],
        ["hermes", "--estimate", "nan"],
        ["hermes", "--bogus"],
        ["../hermes"],
        ["a|b\nBUDGET OK"],
        ["hermes", "--root="],
    ],
)
def test_failure_is_unknown_to_monitoring_and_stays_on_one_line(cli: Cli, args: list[str]) -> None:
    done = cli("check", *args, *NAGIOS)
    assert (done.returncode, done.stderr) == (3, "")
    assert re.fullmatch(r"BUDGET UNKNOWN - [^|\n]+\n", done.stdout)


def test_unknown_persona_is_66_and_names_the_nearest(cli: Cli) -> None:
    error = cli.json("check", "hermse", code=66)["error"]
    assert error["code"] == "persona.not_found"
    assert error["details"] == {"persona": "hermse", "nearest": "hermes"}
    assert error["message"].endswith("did you mean 'hermes'?")
    assert cli.json("check", "zzz", code=66)["error"]["details"] == {"persona": "zzz", "nearest": None}


def test_link_to_nowhere_is_no_persona_and_not_the_one_that_was_meant(cli: Cli, home: Home) -> None:
    home.persona_file("ghost").symlink_to("nowhere.toml")
    assert cli.json("check", "ghost", code=66)["error"]["details"]["nearest"] != "ghost"


def test_unknown_agent_is_66_and_says_how_to_make_it(cli: Cli) -> None:
    error = cli.json("check", "hermes", "--agent", "nobody", code=66)["error"]
    assert error["code"] == "agent.unknown"
    assert error["message"].endswith("--agent nobody init")


def test_persona_that_may_not_be_read_is_77(cli: Cli, home: Home) -> None:
    home.persona_file("hermes").chmod(0)
    done = cli("check", "hermes", "--json", prefix=UNPRIVILEGED)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")


def test_ledger_that_may_not_be_read_is_77(cli: Cli, ledger: Path) -> None:
    ledger.chmod(0)
    done = cli("check", "hermes", "--json", prefix=UNPRIVILEGED)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")


def test_answers_where_nothing_may_be_written(cli: Cli, ledger: Path) -> None:
    ledger.with_name("spend.checkpoint").unlink()
    for path in ledger.parent.iterdir():
        path.chmod(0o444)
    ledger.parent.chmod(0o555)
    assert cli("check", "hermes", "--estimate", "0.31", prefix=UNPRIVILEGED).returncode == 20


def test_answers_while_another_process_holds_the_lock(cli: Cli, ledger: Path) -> None:
    ledger.with_name("spend.checkpoint").unlink()
    with ledger.with_name("spend.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli("check", "hermes", "--estimate", "0.31").returncode == 20


def test_answers_in_an_empty_environment(cli: Cli) -> None:
    done = cli("check", "hermes", "--root", str(cli.root), prefix=("env", "-i"))
    assert (done.returncode, done.stderr) == (0, "")


def test_speaks_ascii_where_the_locale_is_not_utf_8(cli: Cli, home: Home) -> None:
    home.persona_file("hermes").write_text('[persona]\nid = "K\u00fcche"\n', encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "[persona].id is 'K\\xfcche'" in cli("check", "hermes", env=locale, encoding="ascii").stderr
    assert (
        "[persona].id is 'K\u00fcche'"
        in cli("check", "hermes", env={"PYTHONUTF8": "1"}, encoding="utf-8").stderr
    )
