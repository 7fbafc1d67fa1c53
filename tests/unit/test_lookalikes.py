"""A cap that cannot work is named wherever it stands, and what is no cap never is."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest
import tomli

from hal0_budget import Account, Home
from hal0_budget.model.budget import CAP_KEYS, KEYS, may_hold_lookalikes
from hal0_budget.model.cap_words import names_cap, names_cap_in_budget
from hal0_budget.model.lookalikes import warnings_of
from tests.conftest import SAMPLES, Cli

HEAD = '[persona]\nid = "hermes"\n'
BUDGET = f"{HEAD}[persona.budget]\n"


def put_persona(home: Home, text: str) -> Path:
    path = home.persona_file("hermes")
    path.write_text(text)
    return path


def warnings_in(home: Home, text: str) -> tuple[str, ...]:
    put_persona(home, text)
    decision = Account(home, "hermes").check()
    assert decision.verdict.level == ("warn" if decision.statement.warnings else "allow")
    return decision.statement.warnings


# What stands behind `[persona]` and its id, and how the warning names it.
MISPLACED = {
    "[persona.budget.caps]\ndaily_usd = 5": "[persona.budget.caps]",
    "[persona.budget.caps]\ndaily = 5": "[persona.budget.caps]",
    "[persona.budget.daily]\nusd = 5": "[persona.budget.daily]",
    "[persona.budget.openrouter]\nmax = 5": "[persona.budget.openrouter].max",
    "[persona.budget.new]\ndaily_usd = 5": "[persona.budget.new]",
    "[[persona.budget.limits]]\nday = 5": "[persona.budget.limits]",
    "[persona.prompt.budget]\ndaily_usd = 5": "[persona.prompt.budget]",
    "[persona.prompt.budget]\nhermes = 5": "[persona.prompt.budget]",
    "[Persona.budget]\ndaily_usd = 5": "[Persona.budget]",
    "[PERSONA.BUDGET]\nDAILY_USD = 5": "[PERSONA.BUDGET]",
    "[persona.Budget]\nhard_cap = true": "[persona.Budget]",
    "[budget]\ndaily_usd = 5": "[budget]",
    "[budget.hermes]\ndaily_usd = 5": "[budget]",
    "[budget.hermes]\nday = 5": "[budget]",
    "[[budget]]\ndaily_usd = 5": "[budget]",
    "[[persona.budgets]]\ndaily_usd = 5": "[persona.budgets]",
    "[[persona.budgets]]\nwindow = 'day'\nusd = 5": "[persona.budgets]",
    "[persona.caps]\ndaily = 5.0": "[persona.caps]",
    "[persona.limits]\nper_day = 5.0": "[persona.limits]",
    "[persona.spending_limits.openrouter]\nmax = '$5'": "[persona.spending_limits]",
    "[hal0.agents.hermes]\nlist = [[{ deep = { daily_usd = 5 } }]]": "[hal0.agents.hermes.list.deep]",
    "[persona.tools]\nlimits = { fusion = { daily = 1 } }": "[persona.tools.limits]",
    "[persona.tools]\nx.y.budget.z = 5": "[persona.tools.x.y.budget]",
    "[x.persona.budget]\ndaily_usd = 5": "[x.persona.budget]",
    "[persona.persona.budget]\ndaily_usd = 5": "[persona.persona.budget]",
    '["persona.budget"]\ndaily_usd = 5': "[persona.budget]",
    "[persona.model]\nmonthly_usd = 5": "[persona.model]",
    "[persona.model]\nmax_cost_usd = 5": "[persona.model].max_cost_usd",
    "[persona.model]\nbudget = 5": "[persona.model].budget",
    "[[model]]\nspend_limit = 5": "[model].spend_limit",
    "[persona.b\u0443dget]\ndaily_usd = 5": "dget]",
}


@pytest.mark.parametrize("text", MISPLACED, ids=[text.replace("\n", " ") for text in MISPLACED])
def test_cap_in_the_wrong_place_warns_and_is_named(home: Home, text: str) -> None:
    quoted = text if text.isascii() else text.replace("b\u0443dget", '"b\u0443dget"')
    warnings = warnings_in(home, f"{HEAD}{quoted}\n")
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{home.persona_file('hermes')}: ")
    assert MISPLACED[text] in warnings[0]
    assert "[persona.budget]" in warnings[0].split(" caps nothing", 1)[1]


def test_keys_of_a_budget_at_the_top_of_the_file_or_in_persona_are_named(home: Home) -> None:
    [top] = warnings_in(home, f"daily_usd = 5\n{HEAD}")
    assert "the top of the file holds keys of a budget" in top
    [inner] = warnings_in(home, f"{HEAD}daily_usd = 5\n")
    assert "[persona] holds keys of a budget" in inner
    [limit] = warnings_in(home, f"max_usd_per_day = 5\n{HEAD}")
    assert (
        "max_usd_per_day at the top of the file looks like a cap and caps nothing; write daily_usd in"
        in limit
    )


NAMES = """
daily_limit_usd per_day_usd cap_usd limit_usd total_usd max_usd daily_cents maxCostUsd dailyBudget
spend_limit monthly_eur dailylimit daily_limit DAILYLIMITUSD daily-spend-cap usd_per_hour hourlyCap
per_call_limit max_per_call maxpercall cost_limit costCap max_cost maxSpend spending_cap budget_usd
usd_budget budget_limit max_budget weekly_budget lifetime_budget total_budget budget_per_month
monthly_spend monthly_max day_cap cap_per_day usd_max usd usd_day dollars dollars_per_day daily_dollars
max_dollars cents cents_per_call eur max_eur limit_eur euro yearly_usd annual_budget
daily_openrouter_cap fusion_daily_limit hermes_budget per_request_usd max_cost_per_call
max_cost_per_request session_cost_limit run_budget credit_limit max_credits credits_per_day
daily_credits spend_per_day expense_limit hard_limit_usd soft_limit_usd budget_cents limit_cents
max_call_usd daily_quota_usd quota_usd monthly_allowance usd_ceiling cost_ceiling daily_usd_limit
lifetime_cap_usd max_daily_usd dailyUsdCap MAX_USD Daily_Budget max-usd-per-day gbp_per_month
month_limit budget Budget budgets dailyUSD daily_$
"""


@pytest.mark.parametrize("table", ["persona.budget", "persona.model", "limits.x.y", "persona"])
def test_key_that_names_a_cap_warns_wherever_it_stands(table: str) -> None:
    text = HEAD if table == "persona" else f"{HEAD}[{table}]\n"
    # A budget that is no table is malformed.
    names = [name for name in NAMES.split() if (table, name) != ("persona", "budget")]
    missed = [name for name in names if len(warnings_of(tomli.loads(f'{text}"{name}" = 5\n'))) != 1]
    assert missed == []


def test_names_of_caps_are_recognised_however_their_parts_are_put_together() -> None:
    windows = ["hour", "hourly", "day", "daily", "week", "weekly", "month", "monthly", "lifetime", "total"]
    missed = []
    for window, bound, unit in product(windows, ["cap", "limit", "max", "budget", "spend"], ["", "usd"]):
        parts = [part for part in (window, bound, unit) if part]
        camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
        names = (
            "_".join(parts),
            "-".join(reversed(parts)),
            "".join(parts),
            camel,
            "_".join(parts).upper(),
        )
        missed += [name for name in names if not names_cap(name)]
    assert missed == []


@pytest.mark.parametrize(
    "name", ["limit", "cap", "max", "total", "per_day", "day", "per_call", "spend", "cost_day"]
)
def test_short_names_are_caps_among_the_keys_of_a_budget_alone(home: Home, name: str) -> None:
    assert names_cap_in_budget(name)
    assert len(warnings_in(home, f"{BUDGET}{name} = 5\n")) == 1
    if name != "cost_day":
        assert warnings_in(home, f"{HEAD}[persona.memory]\n{name} = 5\n") == ()


ORDINARY = """
[persona]
id = "hermes"
budget_note = "daily_usd = 5 is the cap"
currency = "usd"
cost_center = "R&D"
max_turns = 40
day_of_week = 1
[persona.prompt]
system = "Your budget: daily_usd = 5, max_usd = 9. [persona.budget]"
[persona.tools]
allowed = ["*", "budget.*", "cap_usd"]
max_calls = 100
capabilities = ["spend", "budget"]
[persona.model]
max_tokens = 4096
max_output_tokens = 4096
thinking_budget = 2048
reasoning = { budget_tokens = 4096, max_tokens = 1000 }
temperature = 0.7
top_p = 1
max_price = 3
input_price_usd = 3.0
cost = { input = 3.0, output = 15.0, cache_read = 0.3 }
limit = { context = 200000, output = 8192 }
usd_per_mtok = 3
[persona.limits]
rate_limit_per_day = 1000
rate_limit = 5
max_tokens_per_day = 100000
requests_per_minute = 60
max_retries = 3
timeout = 30
max_concurrency = 4
[persona.memory]
max_items = 500
retention_days = 30
max_days = 30
daily_digest_hour = 8
context_limit = 1000
total = 7
limit = 50
cap = 50
[persona.schedule]
daily = true
weekly = "mon"
hour = 9
max_emails_per_day = 20
"""


def test_ordinary_personas_have_no_warning(home: Home) -> None:
    assert warnings_in(home, ORDINARY) == ()
    samples = sorted((SAMPLES / "personas").glob("*.toml"))
    assert len(samples) > 1
    for sample in samples:
        document = tomli.loads(sample.read_text())
        assert warnings_of(document) == ()


def test_new_persona_is_not_looked_at_twice(home: Home) -> None:
    document = tomli.loads(home.persona_file("hermes").read_text())
    document["persona"]["budget"] |= dict.fromkeys(KEYS, 1)
    assert not may_hold_lookalikes(document)


@pytest.mark.parametrize("value", ["true", '"none"', '"see the wiki"', "[]", "{}", '"mon 9:00"'])
def test_value_that_is_no_amount_is_no_cap(home: Home, value: str) -> None:
    assert warnings_in(home, f"{HEAD}[persona.model]\ndaily_limit_usd = {value}\n") == ()


@pytest.mark.parametrize(
    "value", ["5", "5.0", '"5"', '"$5"', '"5 USD"', '"5,00 €"', '"$5 per day"', "[5]", "0", "inf"]
)
def test_value_that_may_be_an_amount_is(home: Home, value: str) -> None:
    assert len(warnings_in(home, f"{HEAD}[persona.model]\ndaily_limit_usd = {value}\n")) == 1


@pytest.mark.parametrize(("name", "meant"), [
    ("max_hour_usd", "hourly_usd"), ("per_day_usd", "daily_usd"), ("week_limit", "weekly_usd"),
    ("monthlyBudget", "monthly_usd"), ("total_usd", "lifetime_usd"), ("max_cost_call", "per_call_max_usd"),
    ("max_usd", f"one of {', '.join(CAP_KEYS.values())}"),
])  # fmt: skip
def test_warning_says_which_key_to_write(home: Home, name: str, meant: str) -> None:
    [warning] = warnings_in(home, f"{HEAD}[persona.model]\n{name} = 5\n")
    assert warning.endswith(
        f"[persona.model].{name} looks like a cap and caps nothing; write {meant} in [persona.budget]"
    )


def test_every_command_says_it_and_check_ends_in_10(cli: Cli, home: Home) -> None:
    put_persona(home, f"{HEAD}[[budget]]\ndaily_limit_usd = 5\n")
    for command, code in (
        ("check hermes", 10), ("check hermes --warn-ok", 0), ("show hermes", 0), ("show", 0),
        ("charge hermes --cost 1 --model m", 0), ("set hermes --monthly 5", 0),
        ("set hermes --monthly 6 --dry-run", 0), ("reserve hermes --estimate 1", 10), ("verify hermes", 10),
    ):  # fmt: skip
        done = cli(*command.split())
        assert done.returncode == code, command
        assert "[budget] holds keys of a budget and caps nothing" in done.stderr + done.stdout, command


LARGE = {
    "unknown keys of the budget": BUDGET + "".join(f"k{n} = 1\n" for n in range(80_000)),
    "caps in the budget": BUDGET + "".join(f"daily_{n}_usd = 1\n" for n in range(50_000)),
    "caps elsewhere": HEAD + "".join(f"max_{n}_usd = 1\n" for n in range(50_000)),
    "keys that could be caps and are not": HEAD + "".join(f"max_{n}_tokens = 1\n" for n in range(50_000)),
    "tables": HEAD + "".join(f"[persona.budgets.t{n}]\n" for n in range(40_000)),
    "one long key": HEAD + f'"{"max_usd_" * 100_000}" = 1\n',
    "one long key of the budget": BUDGET + f'"{"daily_" * 150_000}" = 1\n',
    "deep tables": HEAD + f"[{'.'.join(['budget'] * 500)}]\nmax_tokens = 1\n",
    "a long list": HEAD + f"max_usd = [{'0,' * 400_000}]\n",
    "many small tables": HEAD + f"budget_x = [{'{a=1},' * 150_000}]\n",
}  # fmt: skip


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_file_of_a_megabyte_is_looked_through_once_and_the_warnings_are_few(home: Home, text: str) -> None:
    put_persona(home, text)
    document = tomli.loads(text)
    started = time.process_time()
    warnings = warnings_of(document)
    assert time.process_time() - started < 5  # a quadratic search takes minutes
    assert len(warnings) <= 22
    assert all(len(warning) < 600 for warning in warnings)
