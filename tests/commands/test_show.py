"""`show`: what a persona may spend, did spend and has left, and whose files the options name."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, init
from tests.conftest import Cli, put_ledger

# What takes from root the right to read what its mode forbids.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()

LONG_COST = "0.1" + "0" * 98 + "1"


@pytest.fixture
def hermes(home: Home) -> Account:
    """Hermes with a cap on each call, on its month and on its lifetime, and 70 cents spent now."""
    hermes = Account(home, "hermes")
    hermes.set_budget(
        {
            "per_call_max_usd": Decimal("0.5"),
            "monthly_usd": Decimal(50),
            "lifetime_usd": Decimal("0.5"),
            "warn_at": Decimal("0.8"),
        }
    )
    hermes.charge(Decimal("0.7"), model="m")
    return hermes


def test_json_has_exactly_the_promised_keys(cli: Cli, hermes: Account) -> None:
    now = datetime.now(UTC)
    answer = cli.json("show", hermes.persona)
    resets = {window["window"]: window.pop("resets_at") for window in answer["windows"]}
    spent = Decimal("0.7")
    assert answer == {
        "persona_id": "hermes",
        "budget": {
            "per_call_max_usd": Decimal("0.5"),
            "monthly_usd": 50,
            "lifetime_usd": Decimal("0.5"),
            "hard_cap": True,
            "warn_at": Decimal("0.8"),
        },
        "spend": {"today_usd": spent, "mtd_usd": spent, "lifetime_usd": spent},
        "remaining": {"per_call_usd": Decimal("0.5"), "monthly_usd": Decimal("49.3"), "lifetime_usd": 0},
        "windows": [
            {"window": name, "cap_usd": cap, "spent_usd": usd, "held_usd": held, "remaining_usd": left}
            for name, cap, usd, held, left in (
                ("per_call", Decimal("0.5"), None, None, Decimal("0.5")),
                ("hourly", None, spent, 0, None),
                ("daily", None, spent, 0, None),
                ("weekly", None, spent, 0, None),
                ("monthly", 50, spent, 0, Decimal("49.3")),
                ("lifetime", Decimal("0.5"), spent, 0, 0),
            )
        ],
        "unconfirmed_usd": 0,
        "warnings": [],
    }
    assert resets["per_call"] is None
    assert resets["lifetime"] is None
    for name, longest in (("hourly", 1 / 24), ("daily", 1), ("weekly", 7), ("monthly", 31)):
        assert resets[name].endswith(":00:00+00:00")
        assert now < datetime.fromisoformat(resets[name]) < now + timedelta(days=longest, minutes=1)


def test_remaining_is_empty_without_caps(cli: Cli) -> None:
    answer = cli.json("show", "coder")
    assert answer["remaining"] == {}
    assert answer["budget"] == {"hard_cap": True}
    assert [window["window"] for window in answer["windows"]] == [
        "hourly", "daily", "weekly", "monthly", "lifetime",
    ]  # fmt: skip


def test_text_is_aligned_plain_and_whole(cli: Cli, hermes: Account) -> None:
    hermes.charge(Decimal(LONG_COST), model="m")
    done = cli("show", "hermes", env={"COLUMNS": "20", "TERM": "xterm-256color"})
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head == "hermes: calls over a cap are blocked"
    assert [line.split()[0] for line in lines] == [
        "window", "per-call", "hourly", "daily", "weekly", "monthly", "lifetime",
    ]  # fmt: skip
    assert done.stdout.count(f"$0.8{LONG_COST[3:]}") == 5
    assert re.search(
        r"^  monthly   \$50\.0000  \$0\.80+1  \$0\.0000  \$49\.19+  \d{4}-\d\d-01T00:00Z$",
        done.stdout,
        re.MULTILINE,
    )
    assert {line.index("$0.8") for line in lines if "$0.8" in line} == {lines[2].index("$0.8")}
    assert not [line for line in lines if line != line.rstrip()]
    assert done.stdout.isascii()
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({}, "coder: no caps are set, every paid call is allowed"),
        ({"daily_usd": Decimal(0)}, "coder: calls over a cap are blocked"),
        ({"daily_usd": Decimal(0), "hard_cap": False}, "coder: calls over a cap are allowed with a warning"),
    ],
)
def test_headline_says_how_the_caps_bind(
    cli: Cli, home: Home, changes: dict[str, Decimal | bool | None], head: str
) -> None:
    Account(home, "coder").set_budget(changes)
    assert cli("show", "coder").stdout.splitlines()[0] == head


def test_without_a_name_every_persona_of_the_agent_is_shown(cli: Cli) -> None:
    assert re.findall(r"^(\w+): ", cli("show").stdout, re.MULTILINE) == ["coder", "hermes"]
    answer = cli.json("show")
    assert list(answer) == ["agent", "personas"]
    assert answer["agent"] == "hermes"
    for among_others, alone in zip(answer["personas"], ("coder", "hermes"), strict=True):
        assert {**among_others, "windows": ...} == {**cli.json("show", alone), "windows": ...}
        assert len(among_others["windows"]) == 5


def test_worst_persona_gives_the_exit_code_and_hides_no_other(cli: Cli, home: Home) -> None:
    home.persona_file("coder").chmod(0)
    init(home, ["sage"])
    home.persona_file("sage").write_text("[")
    done = cli("show", "--json", prefix=UNPRIVILEGED)
    assert done.returncode == 77
    answer = json.loads(done.stdout)["personas"]
    assert [persona["persona_id"] for persona in answer] == ["coder", "hermes", "sage"]
    assert [persona.get("error", {}).get("code") for persona in answer] == [
        "permission.denied", None, "persona.malformed",
    ]  # fmt: skip
    assert str(home.persona_file("sage")) in done.stderr
    assert cli("show", prefix=UNPRIVILEGED).stdout.startswith("hermes: ")


def test_unreadable_lines_are_skipped_and_said(cli: Cli, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    done = cli("show", "hermes", "--json")
    warnings = json.loads(done.stdout)["warnings"]
    assert done.returncode == 0
    assert len(warnings) > 10
    assert done.stderr == "".join(f"warning: {warning}\n" for warning in warnings)


def test_ledger_that_shrank_is_65(cli: Cli, hermes: Account, ledger: Path) -> None:
    ledger.write_bytes(b"")
    error = cli.json("show", hermes.persona, code=65)["error"]
    assert error["code"] == "ledger.damaged"
    assert "shorter (0 bytes) than its checkpoint" in error["message"]


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("show hermse", 66, "persona.not_found"),
        ("show --agent nobody", 66, "agent.unknown"),
        ("show hermes --agent nobody", 66, "agent.unknown"),
        ("show hermes coder", 64, "usage"),
        ("show --color sometimes", 64, "usage"),
    ],
)
def test_what_cannot_be_shown_says_why(cli: Cli, line: str, code: int, error: str) -> None:
    assert cli.json(*line.split(), code=code)["error"]["code"] == error


@pytest.mark.parametrize("args", [[], ["hermes"]])
def test_folder_that_may_not_be_read_is_77(cli: Cli, home: Home, args: list[str]) -> None:
    home.personas.chmod(0)
    done = cli("show", *args, "--json", prefix=UNPRIVILEGED)
    home.personas.chmod(0o700)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")


def test_quiet_prints_nothing(cli: Cli) -> None:
    for line in ("show -q", "-q show hermes", "show hermes --json --quiet"):
        done = cli(*line.split())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_colour_is_for_a_person_and_only_if_asked_for_where_none_looks(cli: Cli) -> None:
    colourful = {"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    assert "\x1b" not in cli("show", env=colourful).stdout
    assert "\x1b" not in cli("show", "--color", "never", env=colourful).stdout
    assert "\x1b" in cli("show", "--color", "always").stdout


def test_option_goes_before_the_variable_and_the_nearer_option_before_the_farther(
    cli: Cli, home: Home, tmp_path: Path
) -> None:
    other, elsewhere = Home(home.root, "other"), Home(tmp_path / "elsewhere", "hermes")
    init(other, ["sage"])
    init(elsewhere, ["poet"])
    ours, others, poets = ["coder", "hermes"], ["sage"], ["poet"]
    for args, env, shown in (
        (["show"], {}, ours),
        (["show"], {"HAL0_AGENT": "other"}, others),
        (["show", "--agent", "hermes"], {"HAL0_AGENT": "other"}, ours),
        (["--agent", "hermes", "show"], {"HAL0_AGENT": "other"}, ours),
        (["--agent", "other", "show", "--agent", "hermes"], {}, ours),
        (["show"], {"HAL0_BUDGET_ROOT": str(elsewhere.root)}, poets),
        (["show", "--root", str(home.root)], {"HAL0_BUDGET_ROOT": str(elsewhere.root)}, ours),
        (["--root", str(elsewhere.root), "show"], {}, poets),
        (["--root", str(elsewhere.root), "show", "--root", str(home.root)], {}, ours),
        (["show"], {"HAL0_PERSONAS_DIR": str(elsewhere.personas)}, poets),
        (
            ["show", "--personas-dir", str(other.personas)],
            {"HAL0_PERSONAS_DIR": str(elsewhere.personas)},
            others,
        ),
    ):
        done = cli(*args, env=env)
        assert re.findall(r"^(\w+): ", done.stdout, re.MULTILINE) == shown, (args, env, done.stderr)


@pytest.mark.parametrize("name", ["HAL0_BUDGET_ROOT", "HAL0_PERSONAS_DIR", "HAL0_AGENT"])
def test_variable_that_is_set_but_empty_is_never_replaced_by_a_guess(cli: Cli, name: str) -> None:
    done = cli("show", env={name: ""})
    assert (done.returncode, done.stdout) == (64, "")
    assert f"${name} is empty" in done.stderr


@pytest.mark.parametrize("line", ["--root= show", "show --root=", "--agent= show", "show --personas-dir="])
def test_option_that_is_given_but_empty_is_never_replaced_by_a_guess(cli: Cli, line: str) -> None:
    done = cli(*line.split())
    assert (done.returncode, done.stdout) == (64, "")
    assert "is empty" in done.stderr
