"""The persona's budget is read exactly or refused by name: a cap that is not understood is no cap."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import pytest

from hal0_budget import Account, Budget, BudgetError, Home
from hal0_budget.model.budget import KEYS, BudgetValueError
from tests.conftest import Cli
from tests.support.personas import BUDGET, HEAD


def put_persona(home: Home, text: str | bytes) -> None:
    """Make `text` the persona file of hermes."""
    home.persona_file("hermes").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_every_key_of_the_table_is_read_and_written_as_it_was() -> None:
    table = {
        "per_call_max_usd": Decimal("0.50"),
        "hourly_usd": Decimal(1),
        "daily_usd": Decimal("5.0"),
        "weekly_usd": Decimal(0),
        "monthly_usd": Decimal(1000000000),
        "lifetime_usd": Decimal("0." + "0" * 339 + "1"),
        "hard_cap": False,
        "warn_at": Decimal("0.8"),
    }
    assert set(table) == set(KEYS)
    assert Budget.from_table(table).to_table() == table


def test_empty_table_has_no_caps_and_blocks_by_default() -> None:
    assert Budget.from_table({}) == Budget({}, hard_cap=True, warn_at=None)
    assert Budget.from_table({}).to_table() == {"hard_cap": True}


def test_integer_is_a_cap_and_unknown_keys_are_ignored() -> None:
    budget = Budget.from_table({"daily_usd": 5, "rollover": True, "notes": {"daily_usd": "no"}})
    assert budget.to_table() == {"daily_usd": Decimal(5), "hard_cap": True}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value",
    ["5", None, [Decimal(1)], {"a": 1}, Decimal("NaN"), Decimal("Infinity"), Decimal("-0.01"), -1, 10**5000],
    ids=["string", "none", "array", "table", "nan", "inf", "negative", "negative integer", "5,000 digits"],
)
def test_value_that_no_budget_can_hold_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(BudgetValueError) as caught:
        Budget.from_table({key: value})
    assert caught.value.key == key


@pytest.mark.parametrize("key", [key for key in KEYS if key != "hard_cap"])
def test_bool_is_no_amount(key: str) -> None:
    with pytest.raises(BudgetValueError, match="not a bool"):
        Budget.from_table({key: True})


@pytest.mark.parametrize(
    ("line", "where"),
    [
        pytest.param("daily_usd = true", "daily_usd", id="bool"),
        pytest.param('daily_usd = "5"', "daily_usd", id="string"),
        pytest.param("daily_usd = nan", "daily_usd", id="nan"),
        pytest.param("daily_usd = -nan", "daily_usd", id="negative nan"),
        pytest.param("hourly_usd = inf", "hourly_usd", id="inf"),
        pytest.param("hourly_usd = -inf", "hourly_usd", id="negative inf"),
        pytest.param("weekly_usd = -0.01", "weekly_usd", id="negative"),
        pytest.param("weekly_usd = -1", "weekly_usd", id="negative integer"),
        pytest.param("monthly_usd = 1e400", "monthly_usd", id="beyond a double"),
        pytest.param("monthly_usd = 1e9999999999999999999", "monthly_usd", id="exponent beyond a decimal"),
        pytest.param("monthly_usd = 1e-9999999999999999999", "monthly_usd", id="exponent below a decimal"),
        pytest.param("lifetime_usd = 1000000001", "lifetime_usd", id="integer above a billion"),
        pytest.param("lifetime_usd = 1000000000.01", "lifetime_usd", id="float above a billion"),
        pytest.param("lifetime_usd = 1e-341", "lifetime_usd", id="finer than any double"),
        pytest.param(f"daily_usd = {'9' * 4000}", "daily_usd", id="integer of 4,000 digits"),
        pytest.param(f"daily_usd = {'9' * 5000}", "5000 digits", id="integer of 5,000 digits"),
        pytest.param(f"daily_usd = 0x{'f' * 900_000}", "daily_usd", id="integer of 900,000 digits"),
        pytest.param(f"later = 0x{'f' * 900_000}", "later", id="such an integer in a key of others"),
        pytest.param("per_call_max_usd = 2026-05-29", "per_call_max_usd", id="date"),
        pytest.param("per_call_max_usd = 12:00:00", "per_call_max_usd", id="time"),
        pytest.param("per_call_max_usd = [5]", "per_call_max_usd", id="array"),
        pytest.param("per_call_max_usd = {usd = 5}", "per_call_max_usd", id="table"),
        pytest.param('hard_cap = "true"', "hard_cap", id="hard_cap as a string"),
        pytest.param("hard_cap = 1", "hard_cap", id="hard_cap as a number"),
        pytest.param("warn_at = 0", "warn_at", id="warn_at of nothing"),
        pytest.param("warn_at = 1.01", "warn_at", id="warn_at above the cap"),
        pytest.param("warn_at = 80", "warn_at", id="warn_at as a percentage"),
        pytest.param("warn_at = true", "warn_at", id="warn_at as a bool"),
        pytest.param("daily_usd = 1\ndaily_usd = 2", "line 5", id="duplicate key"),
        pytest.param("[persona.budget]", "line 4", id="duplicate table"),
        pytest.param("daily_usd = 5,00", "line 4", id="decimal comma"),
        pytest.param("daily_usd = $5", "line 4", id="currency sign"),
        pytest.param("daily_usd = \u0665", "line 4", id="digit of another script"),
        pytest.param("daily_usd = .5", "line 4", id="no digit before the point"),
        pytest.param("daily_usd =", "line 4", id="no value"),
    ],
)
def test_budget_that_cannot_be_read_is_named_by_file_and_key_or_line(
    home: Home, line: str, where: str
) -> None:
    put_persona(home, f"{BUDGET}{line}\n")
    with pytest.raises(BudgetError) as caught:
        Account(home, "hermes").check(Decimal(0))
    error = caught.value
    assert (error.code, error.exit_code) == ("persona.malformed", 65)
    assert error.details["path"] == str(home.persona_file("hermes"))
    assert where in error.message.removeprefix(error.details["path"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "no [persona] table", id="empty file"),
        pytest.param("[person]\nid = 'hermes'\n", "no [persona] table", id="no persona"),
        pytest.param("persona = 'hermes'\n", "no [persona] table", id="persona that is a string"),
        pytest.param("[[persona]]\nid = 'hermes'\n", "no [persona] table", id="several personas"),
        pytest.param("[persona]\n", "[persona].id", id="no id"),
        pytest.param("[persona]\nid = 'Hermes'\n", "[persona].id is 'Hermes'", id="id in another case"),
        pytest.param("[persona]\nid = 'coder'\n", "[persona].id is 'coder'", id="id of another persona"),
        pytest.param("[persona]\nid = ['hermes']\n", "[persona].id", id="id that is an array"),
        pytest.param(f"[persona]\nid = 0x{'f' * 9000}\n", "id is an integer", id="id of 9,000 digits"),
        pytest.param(f"[persona]\nid = '{'x' * 900_000}'\n", "[persona].id", id="id of 900,000 letters"),
        pytest.param(f"{HEAD}budget = 5\n", "[persona].budget", id="budget that is a number"),
        pytest.param(f"{HEAD}[[persona.budget]]\ndaily_usd = 5\n", "[persona].budget", id="several budgets"),
        pytest.param("\ufeff\ufeff" + BUDGET, "line 1", id="two byte order marks"),
        pytest.param(HEAD + "\ufeff[persona.budget]\n", "line 3", id="byte order mark in the middle"),
        pytest.param(BUDGET.encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param(BUDGET.encode() + b"# \xff\n", "not UTF-8 at byte", id="one byte that is not UTF-8"),
        pytest.param(BUDGET + "\0", "not valid TOML", id="a zero byte"),
        pytest.param(BUDGET.replace("\n", "\r"), "not valid TOML", id="line ends of an old Macintosh"),
        pytest.param(f"{BUDGET}a = {'[' * 400_000}", "nested too deep", id="deep arrays"),
        pytest.param(f"{BUDGET}a = {'{a = ' * 150_000}", "nested too deep", id="deep tables"),
        pytest.param(f"{BUDGET}{'a.' * 400_000}a = 1", "not valid TOML", id="deep dotted key"),
        pytest.param(f"{BUDGET}# {'x' * 1_048_576}", "longer than", id="more than a megabyte"),
    ],
)
def test_persona_file_that_is_none_says_so_in_one_short_line(
    cli: Cli, home: Home, text: str | bytes, said: str
) -> None:
    put_persona(home, text)
    done = cli("check", "hermes")
    assert done.returncode == 65
    assert done.stdout == ""
    assert done.stderr.startswith(f"hal0-budget: {home.persona_file('hermes')}: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1000


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
@pytest.mark.parametrize("command", ["check hermes", "show hermes", "set hermes --daily 5"])
def test_what_is_no_file_is_no_persona_and_nobody_waits_for_it(
    cli: Cli, home: Home, kind: str, command: str
) -> None:
    path = home.persona_file("hermes")
    path.unlink()
    match kind:
        case "FIFO":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    error = cli.json(*command.split(), code=65)["error"]
    assert error["code"] == "persona.malformed"
    assert f"{path}: a {kind}, not a regular file" in error["message"]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("dialy_usd = 5", "daily_usd"),
        ("daily = 5", "daily_usd"),
        ("Daily-USD = 5", "daily_usd"),
        ("dailyUsd = 5", "daily_usd"),
        ("DAILY_USD = 5", "daily_usd"),
        ("max_per_call_usd = 5", "per_call_max_usd"),
        ("per_call = 5", "per_call_max_usd"),
        ("montly_usd = 5", "monthly_usd"),
        ("life_time_usd = 5", "lifetime_usd"),
        ("weekly_eur = 5", "weekly_usd"),
        ("hardcap = true", "hard_cap"),
        ("warn-at = 0.5", "warn_at"),
        ('"d\u0430ily_usd" = 5', "daily_usd"),
    ],
)
def test_misspelt_key_warns_and_names_the_key_that_was_meant(home: Home, line: str, meant: str) -> None:
    put_persona(home, f"{BUDGET}{line}\n")
    decision = Account(home, "hermes").check(Decimal("0.01"))
    assert decision.verdict.level == "warn"
    assert str(decision.verdict.reason).endswith(f"did you mean {meant}?")


def test_misspelt_key_is_said_by_every_command(cli: Cli, home: Home) -> None:
    put_persona(home, f"{BUDGET}dialy_usd = 5\n")
    for command, code in (
        ("check hermes", 10),
        ("check hermes --warn-ok", 0),
        ("show hermes", 0),
        ("show", 0),
        ("charge hermes --cost 1 --model m", 0),
        ("set hermes --monthly 5", 0),
        ("set hermes --monthly 6 --dry-run", 0),
    ):
        done = cli(*command.split())
        assert done.returncode == code, command
        assert "dialy_usd is not a key of a budget and caps nothing; did you mean daily_usd?" in done.stderr


@pytest.mark.parametrize("name", ["persona.budgets", "persona.Budget", "budget", "persona.model"])
def test_caps_in_a_table_that_is_no_budget_warn_and_name_the_table(home: Home, name: str) -> None:
    put_persona(home, f"{HEAD}[{name}]\ndaily_usd = 5.0\n")
    verdict = Account(home, "hermes").check(Decimal("0.01")).verdict
    assert verdict.level == "warn"
    assert f"[{name}] holds keys of a budget and caps nothing" in str(verdict.reason)


def test_misspelt_key_does_not_soften_a_block(cli: Cli, home: Home) -> None:
    put_persona(home, f"{BUDGET}dialy_usd = 5\nmonthly_usd = 0\n")
    assert cli("check", "hermes", "--estimate", "1").returncode == 20


def test_keys_of_a_newer_hal0_neither_warn_nor_cap(cli: Cli, home: Home) -> None:
    lines = [
        f"{key} = 1" for key in ("rollover", "currency", "owner", "timezone", "surface_caps", "max_tokens")
    ]
    put_persona(home, BUDGET + "\n".join(lines) + "\nfar = 1e9999999999999999999\nnot_a_number = nan\n")
    done = cli("check", "hermes", "--estimate", "999")
    assert (done.returncode, done.stderr) == (0, "")


def test_persona_without_a_budget_has_no_caps_and_says_so(cli: Cli, home: Home) -> None:
    put_persona(home, HEAD)
    done = cli("check", "hermes", "--estimate", "999")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no caps are set" in done.stdout
