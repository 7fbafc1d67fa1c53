"""`init --repair` never lifts a cap: what it can read it keeps, and for what it cannot read it blocks."""

from __future__ import annotations

import os
import shutil
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Home, init
from hal0_budget.model.budget import CAP_KEYS, KEYS
from tests.conftest import NOON, Cli
from tests.support.faults import missing

HEAD = '[persona]\nid = "hermes"\n'
BUDGET = f"{HEAD}[persona.budget]\n"
SET_THEM = "blocks every paid call. Set the caps: hal0-budget set hermes --per-call none"
BLOCK = {"per_call_max_usd": Decimal(0), "hard_cap": True}


def put_persona(home: Home, text: str) -> Path:
    path = home.persona_file("hermes")
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def budget_in(path: Path) -> dict[str, Any]:
    budget: dict[str, Any] = tomli.loads(path.read_text(), parse_float=Decimal)["persona"]["budget"]
    return budget


# What the file holds, the budget that the new one has, and what is said of it.
BLOCKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a cap in quotes": (
        f'{BUDGET}daily_usd = "0"\nmonthly_usd = 0.0\n',
        {"monthly_usd": 0},
        ".daily_usd must be",
    ),
    "a cap that is true": (
        f"{BUDGET}daily_usd = true\nweekly_usd = 7\n",
        {"weekly_usd": 7},
        ".daily_usd must be",
    ),
    "a negative cap": (
        f"{BUDGET}daily_usd = -1\nlifetime_usd = 2.5\n",
        {"lifetime_usd": Decimal("2.5")},
        "negative",
    ),
    "caps that are no numbers": (
        f"{BUDGET}daily_usd = nan\nhourly_usd = inf\nweekly_usd = 1\n",
        {"weekly_usd": 1},
        ".hourly_usd",
    ),
    "a cap per call": (
        f"{BUDGET}per_call_max_usd = [1]\ndaily_usd = 5\n",
        {"daily_usd": 5},
        ".per_call_max_usd",
    ),
    "a cap that is a table": (
        f"{BUDGET}daily_usd = {{ usd = 5 }}\nhourly_usd = 1\n",
        {"hourly_usd": 1},
        ".daily_usd",
    ),
    "a malformed cap that only warned": (f'{BUDGET}hard_cap = false\ndaily_usd = "5"\n', {}, ".daily_usd"),
    "a cap too large": (
        f"{BUDGET}daily_usd = 1e10\nwarn_at = 0.5\n",
        {"warn_at": Decimal("0.5")},
        ".daily_usd",
    ),
    "not TOML": (f"{BUDGET}daily_usd = 5,00\n", {}, "not valid TOML"),
    "a bracket": ("[", {}, "not valid TOML"),
    "a key twice": (f"{BUDGET}daily_usd = 1\ndaily_usd = 2\n", {}, "not valid TOML"),
    "half a file": (f"{BUDGET}daily_us", {}, "not valid TOML"),
    "an empty file": ("", {}, "no [persona] table"),
    "zeros": ("\0" * 512, {}, "not valid TOML"),
    "no persona": ("[budget]\ndaily_usd = 5\n", {}, "no [persona] table"),
    "a persona that is a string": ("persona = 'hermes'\n", {}, "no [persona] table"),
    "several personas": (
        "[[persona]]\nid = 'hermes'\nbudget = { daily_usd = 5 }\n",
        {"daily_usd": 5},
        "no [persona] table",
    ),
    "no id": ("[persona]\n[persona.budget]\ndaily_usd = 5\n", {"daily_usd": 5}, "[persona].id"),
    "another id": (
        "[persona]\nid = 'coder'\n[persona.budget]\ndaily_usd = 5\nhard_cap = false\n",
        {"daily_usd": 5},
        "'coder'",
    ),
    "another id without a budget": ("[persona]\nid = 'coder'\n", {}, "'coder'"),
    "a budget that is a number": (f"{HEAD}budget = 5\n", {}, "[persona].budget is not a table"),
    "several budgets": (
        f"{HEAD}budget = [{{ daily_usd = 5, hourly_usd = 'x' }}, {{ daily_usd = 3, weekly_usd = 4 }}]\n",
        {"daily_usd": 3, "weekly_usd": 4},
        "[persona].budget is not a table",
    ),
    "not UTF-8": (f"# \udcff\n{BUDGET}daily_usd = 5\n", {"daily_usd": 5}, "not UTF-8"),
    "a huge integer": (f"{BUDGET}later = 0x{'f' * 99}\n", {}, "64 bits"),
    "caps in another table": (
        f"{BUDGET}daily_usd = 5\n[[budget]]\nhourly_usd = 1\n",
        {"daily_usd": 5},
        "[budget] holds keys",
    ),
    "a cap beside the budget": (
        f"{HEAD}max_usd_per_day = 5\n",
        {},
        "[persona].max_usd_per_day looks like a cap",
    ),
    "caps of another spelling": (
        f"{HEAD}[Persona.Budget]\ndaily_usd = 1\n",
        {},
        "[Persona.Budget] holds keys",
    ),
}


@pytest.mark.parametrize(("text", "kept", "said"), BLOCKED.values(), ids=BLOCKED)
def test_budget_that_cannot_be_read_whole_blocks_and_says_so(
    cli: Cli, home: Home, text: str, kept: dict[str, Any], said: str
) -> None:
    path = put_persona(home, text)
    before = path.read_bytes()
    done = cli("init", "hermes", "--repair")
    assert done.returncode == 0
    assert said in done.stderr
    assert (
        "the new budget blocks every paid call. Set the caps: hal0-budget set hermes --per-call none"
        in done.stderr
    )
    assert all(line.startswith(f"warning: {path}: ") for line in done.stderr.splitlines())
    assert budget_in(path) == {**kept, **BLOCK}
    assert cli("check", "hermes", "--estimate", "0.000001").returncode == 20
    assert cli("check", "hermes").returncode == 20
    assert Path(f"{path}.bak").read_bytes() == before
    assert cli("set", "hermes", "--per-call", "none", "--daily", "5").returncode == 0
    assert cli("check", "hermes", "--estimate", "0.01").returncode == (
        20 if kept.get("monthly_usd") == 0 else 0
    )


def test_json_has_what_could_not_be_kept(cli: Cli, home: Home) -> None:
    path = put_persona(home, f'{BUDGET}daily_usd = "5"\nhourly_usd = "1"\nwarn_at = 80\n')
    [created, _] = cli.json("init", "hermes", "--repair")["files"]
    assert [text.removeprefix(f"{path}: ") for text in created["warnings"]] == [
        "[persona.budget].daily_usd must be a number, not a string",
        "[persona.budget].hourly_usd must be a number, not a string",
        "[persona.budget].warn_at must be a fraction above 0 and at most 1; it is reset to its default",
        f"not every cap could be kept, so the new budget {SET_THEM} --daily USD",
    ]


@pytest.mark.parametrize("value", ['"false"', "0", "[]", "nan"])
def test_hard_cap_that_cannot_be_read_is_hard_and_the_caps_stay(cli: Cli, home: Home, value: str) -> None:
    path = put_persona(home, f"{BUDGET}hard_cap = {value}\ndaily_usd = 5\n")
    done = cli("init", "hermes", "--repair")
    assert budget_in(path) == {"daily_usd": 5, "hard_cap": True}
    assert "[persona.budget].hard_cap must be true or false" in done.stderr
    assert cli("check", "hermes", "--estimate", "6").returncode == 20
    assert cli("check", "hermes", "--estimate", "5").returncode == 0


def test_misspelt_cap_goes_over_to_the_new_file_and_still_warns(cli: Cli, home: Home) -> None:
    path = put_persona(home, f"{BUDGET}dialy_usd = 5\n[persona.budget.caps]\nhourly = 1\n")
    assert cli("init", "hermes", "--repair").returncode == 0
    assert budget_in(path) == {"dialy_usd": 5, "caps": {"hourly": 1}, "hard_cap": True}
    assert cli("check", "hermes").returncode == 10


def test_persona_that_is_linked_from_elsewhere_is_repaired_there(cli: Cli, home: Home) -> None:
    path = put_persona(home, f'{BUDGET}daily_usd = "5"\nweekly_usd = 9\n')
    target = path.rename(home.root / "hermes in git.toml")
    path.symlink_to(target)
    old = target.read_bytes()
    assert cli("init", "hermes", "--repair").returncode == 0
    assert path.is_symlink()
    assert budget_in(target) == {"weekly_usd": 9, **BLOCK}
    assert Path(f"{path}.bak").read_bytes() == old


def test_link_that_leads_nowhere_is_left(cli: Cli, home: Home) -> None:
    path = home.persona_file("hermes")
    path.unlink()
    path.symlink_to("nowhere")
    done = cli("init", "hermes", "--repair")
    assert done.returncode >= 64
    assert os.readlink(path) == "nowhere"


def test_no_backup_is_overwritten(cli: Cli, home: Home) -> None:
    texts = [f"{BUDGET}daily_usd = {number}\n" for number in range(4)]
    path = home.persona_file("hermes")
    saved = []
    for text in texts:
        put_persona(home, text)
        saved.append(cli.json("init", "hermes", "--repair")["files"][0]["saved_as"])
    assert saved == [f"{path}.bak", f"{path}.bak.2", f"{path}.bak.3", f"{path}.bak.4"]
    assert [Path(name).read_text() for name in saved] == texts
    put_persona(home, texts[1])
    assert cli.json("init", "hermes", "--repair")["files"][0]["saved_as"] == f"{path}.bak.2"


def test_backup_that_is_a_link_is_not_followed(cli: Cli, home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("theirs")
    path = put_persona(home, f"{BUDGET}daily_usd = 1\n")
    Path(f"{path}.bak").symlink_to(other)
    assert cli.json("init", "hermes", "--repair")["files"][0]["saved_as"] == f"{path}.bak.2"
    assert other.read_text() == "theirs"


def test_file_too_long_to_be_a_persona_is_left(cli: Cli, home: Home) -> None:
    path = put_persona(home, BUDGET + "#" * 2**20)
    done = cli("init", "hermes", "--repair")
    assert (done.returncode, "shorten it by hand" in done.stderr) == (65, True)
    assert path.stat().st_size > 2**20


VALUES = {
    "5": True, "0.0": True, "0.25": True, "1e3": True, "1_000": True,
    '"5"': False, "true": False, "-1": False, "nan": False, "1e10": False, "[5]": False, "{a = 5}": False,
}  # fmt: skip
caps = st.dictionaries(st.sampled_from([*CAP_KEYS.values()]), st.sampled_from([*VALUES]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(caps, st.sampled_from(["", "hard_cap = true", "hard_cap = false", "hard_cap = 1"]), st.booleans())
def test_repaired_budget_is_at_least_as_strict_as_the_old_one(
    home: Home, caps: dict[str, str], hard_cap: str, is_dotted: bool
) -> None:
    prefix, head = ("budget.", HEAD) if is_dotted else ("", BUDGET)
    lines = [f"{key} = {value}" for key, value in caps.items()] + [hard_cap] * bool(hard_cap)
    put_persona(home, head + "".join(f"{prefix}{line}\n" for line in lines))
    [created, _] = init(home, ["hermes"], repair=True)
    budget = budget_in(created.path)
    readable = {key: Decimal(value.replace("_", "")) for key, value in caps.items() if VALUES[value]}
    is_whole = len(readable) == len(caps)
    expected = readable if is_whole else {**readable, "per_call_max_usd": 0}
    assert {key: value for key, value in budget.items() if key in KEYS and key != "hard_cap"} == expected
    assert budget["hard_cap"] is not (is_whole and hard_cap == "hard_cap = false")
    assert bool(created.warnings) == (not is_whole or hard_cap == "hard_cap = 1")
    if not is_whole:
        verdict = Account(home, "hermes", clock=lambda: NOON).check(Decimal("0.01")).verdict
        assert verdict.level == "block"


@pytest.mark.parametrize("call", ["openat", "fsync", "rename", "write", "unlink", "fchmod", "close"])
def test_repair_that_is_killed_leaves_the_old_file_or_the_new_one(cli: Cli, home: Home, call: str) -> None:
    if shutil.which("strace") is None:
        missing("strace")
    old = f'{BUDGET}daily_usd = "5"\n'
    path = put_persona(home, old)
    killed = 0
    for number in range(1, 400):
        put_persona(home, old)
        strike = ("-e", f"inject={call}:signal=KILL:when={number}", "-P", str(path), "-P", f"{path}.bak")
        places = (
            "-P",
            str(path.with_name(f".{path.name}.new")),
            "-P",
            str(path.with_name(f".{path.name}.bak.new")),
        )
        tracer = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", *strike, *places)
        done = cli("init", "hermes", "--repair", prefix=tracer)
        assert path.read_text() == old or budget_in(path) == BLOCK
        assert cli("check", "hermes", "--estimate", "1").returncode == (65 if path.read_text() == old else 20)
        if done.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            assert done.returncode == 0
            break
        killed += 1
    assert killed or call == "unlink"
    backups = sorted(path.parent.glob("hermes.toml.bak*"))
    assert [backup.read_text() for backup in backups] == [old]
