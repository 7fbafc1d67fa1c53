"""`report`: exit codes, options, formats by ending, damage named, and silence where all is well."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, Row
from tests.conftest import COMMAND, NOON, Cli
from tests.support.terminal import ESCAPE, on_terminal

UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()


@pytest.fixture
def cli(home: Home) -> Cli:
    """The command on an agent whose hermes has spent 85 of the 100 cents of its day, and coder nothing."""
    hermes = Account(home, "hermes")
    hermes.set_budget({"daily_usd": Decimal(1), "lifetime_usd": Decimal(200)})
    hermes.charge(Decimal("0.6"), model="openai/gpt-4.1", surface="openrouter")
    hermes.charge(Decimal("0.25"), model="qwen/qwen3-32b", surface="fusion")
    return Cli(home.root)


def test_plain_report_says_what_was_spent_of_what(cli: Cli) -> None:
    done = cli("report", "hermes", "--by", "model")
    assert (done.returncode, done.stderr) == (0, "")
    week = datetime.now(UTC).date() - timedelta(days=6)
    head, total, _, persona, caps, daily, lifetime, forecast, _, *groups = done.stdout.splitlines()
    assert head == f"agent hermes, {week} to now (UTC)"
    assert total == "total $0.8500 in 2 calls"
    assert persona.startswith("hermes: calls over a cap are blocked; $0.8500 in 2 calls; pace $")
    assert caps == "  window          cap    spent  remaining  used"
    assert daily == "  daily       $1.0000  $0.8500    $0.1500   85%"
    assert lifetime == "  lifetime  $200.0000  $0.8500  $199.1500    0%"
    assert forecast.startswith("  at this pace ")
    assert groups == [
        "  model               usd  calls   share",
        "  openai/gpt-4.1  $0.6000      1   70.6%",
        "  qwen/qwen3-32b  $0.2500      1   29.4%",
        "  total           $0.8500      2  100.0%",
    ]


def test_json_has_exactly_the_promised_keys(cli: Cli) -> None:
    answer = cli.json("report", "hermes", "--by", "model,surface", "--since", "today", "--until", "today")
    today = datetime.now(UTC).date().isoformat()
    counts = {
        "voids": 0,
        "input_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
    }
    (persona,) = answer.pop("personas")
    assert answer.pop("made_at").startswith(today)
    assert answer == {
        "agent": "hermes",
        "since": today,
        "until": today,
        "timezone": "UTC",
        "by": ["model", "surface"],
        "total": {"usd": Decimal("0.85"), "calls": 2, **counts},
        "sources": {"told": {"usd": Decimal("0.85"), "calls": 2, **counts, "share": 1}},
        "groups": [
            {**counts, "model": model, "surface": surface, "usd": usd, "calls": 1, "share": share}
            for model, surface, usd, share in (
                ("openai/gpt-4.1", "openrouter", Decimal("0.6"), Decimal("0.7059")),
                ("qwen/qwen3-32b", "fusion", Decimal("0.25"), Decimal("0.2941")),
            )
        ],
    }
    shown = cli.json("show", "hermes")
    assert {key: persona[key] for key in shown} == shown
    assert set(persona) - set(shown) == {"verdict", "reason", "total", "days", "pace_usd_per_day", "forecast"}
    assert (persona["verdict"], persona["reason"]) == ("allow", None)
    assert persona["days"] == [{"day": today, "usd": Decimal("0.85")}]
    assert [part["window"] for part in persona["forecast"]] == ["daily", "lifetime"]
    assert cli.json("report", "--format", "json")["agent"] == "hermes"


WRONG = {
    "a day": ("--since 2026-02-30", "days are written 2026-05-29, 20260529, today"),
    "the last day": ("--until tomorrow", "days are written"),
    "days the wrong way round": ("--since today --until yesterday", "is after --until"),
    "a zone": ("--timezone Berlin", "zones are written UTC, Europe/Berlin"),
    "a word": ("--by years", "--by needs a list of day, week, month"),
    "a format": ("--format pdf", "'pdf' is not one of"),
    "an ending": ("-o report.pdf", "no known ending: use .txt, .csv, .md, .json, .html, or add --format"),
    "two formats": ("--json --format csv", "two formats"),
    "a condition": ("--only-if bad", "'bad' is not one of"),
    "no regular file": ("-o /dev/null --format csv", "not a regular file"),
}


@pytest.mark.parametrize(("args", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_understood_is_64_and_says_what_can(args: str, says: str, cli: Cli) -> None:
    done = cli("report", *args.split())
    assert (done.returncode, "$" in done.stdout) == (64, False)
    assert says in done.stderr


def test_persona_that_cannot_be_read_is_named_and_the_others_are_reported(cli: Cli, home: Home) -> None:
    home.persona_file("coder").write_text("no toml")
    done = cli("report")
    assert done.returncode == 65
    assert "coder.toml: not valid TOML" in done.stderr
    assert "$0.8500 in 2 calls" in done.stdout
    answer = cli.json("report", code=65)
    assert [part.get("error", {}).get("code") for part in answer["personas"]] == [None, "persona.malformed"]
    assert cli("report", "hermes", "nobody").returncode == 66
    assert cli("report", "coder", "nobody", "hermes").returncode == 66, "the worst code wins"
    assert cli.json("report", "nobody", code=66)["error"]["code"] == "persona.not_found"
    assert cli("report", "--agent", "nobody").returncode == 66


def test_unreadable_rows_are_left_out_and_named(cli: Cli, ledger: Path) -> None:
    with ledger.open("ab") as file:
        file.write(b"no row\n" + Row(NOON, "hermes", "cli", "m", Decimal(1), "r").line())
    for args in ("", "--timezone Asia/Kolkata"):
        done = cli("report", "hermes", "--since", "2026-01-01", *args.split())
        assert done.returncode == 0
        assert f"warning: {ledger}: line 3 " in done.stderr
        assert "total $1.8500 in 3 calls" in done.stdout


def test_ledger_that_cannot_be_relied_on_is_65(cli: Cli, ledger: Path) -> None:
    ledger.write_bytes(b"")
    done = cli("report", "hermes")
    assert (done.returncode, done.stdout) == (65, "")
    assert "shorter (0 bytes) than its checkpoint" in done.stderr
    assert cli("report", "hermes", "--only-if", "block").returncode == 65


LEVELS: dict[str, tuple[str, ...]] = {"0.1": (), "0.75": ("warn",), "0.9": ("warn", "block")}


@pytest.mark.parametrize(("spent", "said"), LEVELS.items(), ids=LEVELS)
def test_only_if_says_nothing_while_all_is_well(
    spent: str, said: tuple[str, ...], home: Home, tmp_path: Path
) -> None:
    cli = Cli(home.root)
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal("0.9"), "warn_at": Decimal("0.8")})
    account.charge(Decimal(spent), model="m")
    file = tmp_path / "report.csv"
    for level in ("warn", "block"):
        for args in ((), ("--json",), ("-o", str(file))):
            done = cli("report", "--only-if", level, *args)
            is_said = level in said
            assert done.returncode == 0
            assert bool(done.stdout + done.stderr) == is_said
            assert file.exists() == (is_said and args[:1] == ("-o",))
            file.unlink(missing_ok=True)


def test_only_if_never_hides_damage(cli: Cli, ledger: Path, home: Home) -> None:
    assert cli("report", "--only-if", "block").stdout == ""
    with ledger.open("ab") as file:
        file.write(b"no row\n")
    done = cli("report", "--only-if", "block")
    assert (done.returncode, bool(done.stdout)) == (0, True)
    assert "is unreadable" in done.stderr
    home.persona_file("coder").write_text("no toml")
    assert cli("report", "--only-if", "warn").returncode == 65


ENDINGS = {
    ".txt": "agent hermes, ",
    ".csv": "persona,day,usd",
    ".md": "# Spend",
    ".json": "{",
    ".html": "<!doctype",
}


@pytest.mark.parametrize(("ending", "begin"), ENDINGS.items(), ids=ENDINGS)
def test_ending_of_a_file_picks_its_format(ending: str, begin: str, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / f"today{ending}"
    done = cli("report", "-o", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"wrote {file}\n")
    assert file.read_text().startswith(begin)
    assert file.stat().st_mode & 0o007 == 0
    file.chmod(0o644)
    assert cli("report", "-q", "-o", str(file), "--format", "json").stderr == ""
    assert json.loads(file.read_text())["agent"] == "hermes"
    assert file.stat().st_mode & 0o777 == 0o644, "whoever may read it may read the next"
    assert list(tmp_path.glob(".*")) == [], "no temporary stays"


def test_file_that_cannot_be_written_keeps_what_it_was(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "report.txt"
    file.write_text("yesterday")
    folder.chmod(0o555)
    done = cli("report", "-o", str(file), prefix=UNPRIVILEGED)
    folder.chmod(0o755)
    assert (done.returncode, done.stdout) == (77, "")
    assert str(file) in done.stderr
    assert file.read_text() == "yesterday"
    done = cli("report", "-o", str(tmp_path / "none" / "report.txt"))
    assert (done.returncode, str(tmp_path / "none" / "report.txt") in done.stderr) == (74, True)
    full = f"ulimit -f 0; exec {COMMAND} report -o {file}"
    done_full = subprocess.run(["bash", "-c", full], env=cli.environment(), capture_output=True, check=False)
    assert done_full.returncode == 74
    assert file.read_text() == "yesterday"
    assert [path.name for path in folder.iterdir()] == ["report.txt"]


def test_cron_gets_fixed_columns_in_ascii(cli: Cli, home: Home) -> None:
    Account(home, "hermes").charge(Decimal("0.01"), model="Ωmega/漢字")

    def under_cron(**env: str) -> list[str]:
        done = subprocess.run(
            [
                "env",
                "-i",
                *(f"{name}={value}" for name, value in env.items()),
                str(COMMAND),
                "report",
                "--root",
                str(cli.root),
                "--by",
                "model",
            ],
            env={"TERM": "xterm", "COLUMNS": "20", "LANG": "de_DE.UTF-8", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    for lines in (under_cron(), under_cron(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")):
        assert not [line for line in lines if line != line.rstrip() or "\x1b" in line]
    assert "\n".join(lines).isascii()
    table = lines[-5:]
    assert "\\u03a9mega/\\u6f22\\u5b57" in table[3]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_terminal_shows_bars_and_whole_amounts_at_any_width(columns: int, cli: Cli) -> None:
    text = on_terminal(cli, "report", "hermes", "--by", "model", columns=columns)
    plain = ESCAPE.sub("", text)
    assert "██████████░░" in plain
    for word in ("$0.8500", "$199.1500", "openai/gpt-4.1", "70.6%", "85%"):
        assert word in plain.split()
    assert "\x1b[33m██████████░░" in text
    heads = [line for line in plain.splitlines() if not re.match("agent|hermes|  at this pace", line)]
    assert max(map(len, heads)) <= columns
    assert "\x1b" not in on_terminal(cli, "report", env={"NO_COLOR": "1"}, columns=columns)
