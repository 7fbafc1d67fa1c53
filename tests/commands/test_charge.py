"""`charge`: the money is already gone, so it is recorded whatever else is wrong, once and exactly."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, init
from tests.conftest import SAMPLES, Cli, put_ledger

# What takes from root the right to write what its mode forbids.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()

SHOW_KEYS = ["persona_id", "budget", "spend", "remaining", "windows", "unconfirmed_usd", "warnings"]
CHARGE = ("charge", "hermes", "--cost", "0.10", "--model", "m", "--request-id", "r1")


def rows(ledger: Path) -> list[dict[str, object]]:
    """What the lines of the ledger hold."""
    return [json.loads(line) for line in ledger.read_text().splitlines()]


@pytest.mark.parametrize("option", ["--headers", "--estimate", "--prices", "--hold", "--from-response"])
def test_batch_stands_alone(option: str, cli: Cli, ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "batch").write_text('{"cost_usd":1,"model":"m"}\n')
    done = cli("charge", "hermes", "--batch", str(tmp_path / "batch"), option, "1")
    assert (done.returncode, ledger.exists()) == (64, False)


def test_row_has_the_six_keys_in_order_and_the_cost_digit_by_digit(cli: Cli, ledger: Path) -> None:
    line = "charge hermes --cost 4.210e-02 --surface fusion --model openai/gpt-4.1 --request-id gen-1"
    before = datetime.now(UTC)
    done = cli(*line.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "charged $0.0421 to hermes: request gen-1\n"
    found = re.fullmatch(
        r'\{"ts":"([^"]+\.\d{6}\+00:00)","persona_id":"hermes","surface":"fusion","model":"openai/gpt-4\.1"'
        r',"cost_usd":0\.04210,"request_id":"gen-1"\}\n',
        ledger.read_text(),
    )
    assert found
    assert before <= datetime.fromisoformat(found[1]) < before + timedelta(minutes=1)


def test_json_has_exactly_the_promised_keys(cli: Cli) -> None:
    cli.json("set", "hermes", "--lifetime", "1")
    answer = cli.json(*CHARGE)
    assert list(answer) == [*SHOW_KEYS, "recorded", "was_recorded", "overrun_usd", "row"]
    assert answer["recorded"] is True
    ts = datetime.fromisoformat(answer["row"].pop("ts"))
    assert ts.utcoffset() == timedelta(0)
    assert answer["row"] == {
        "surface": "cli",
        "model": "m",
        "cost_usd": Decimal("0.10"),
        "request_id": "r1",
    }
    assert answer["spend"] == dict.fromkeys(("today_usd", "mtd_usd", "lifetime_usd"), Decimal("0.10"))
    assert answer["remaining"] == {"lifetime_usd": Decimal("0.90")}


def test_request_id_that_nobody_gave_is_made_and_printed(cli: Cli, ledger: Path) -> None:
    printed = [cli(*CHARGE[:-2]).stdout.split()[-1] for _ in range(2)]
    assert [row["request_id"] for row in rows(ledger)] == printed
    assert len(set(printed)) == 2
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", made) for made in printed)


@pytest.mark.parametrize(
    "line",
    [
        "charge --model m --cost 0.1 hermes",
        "charge hermes --cost=0.1 --model=m",
        "--agent hermes charge --cost 0.1 hermes --model m",
        "-q charge hermes --cost 0.1 --model m",
    ],
)
def test_options_may_stand_anywhere(cli: Cli, ledger: Path, line: str) -> None:
    assert cli(*line.split()).returncode == 0
    assert len(rows(ledger)) == 1


def test_quiet_prints_nothing(cli: Cli) -> None:
    done = cli(*CHARGE, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ([], "usage"),
        (["--cost", "1"], "usage"),
        (["--model", "m"], "usage"),
        (["--cost", "1", "--model", ""], "budget.invalid_charge"),
        (["--cost", "1", "--model", "m" * 1025], "budget.invalid_charge"),
        (["--cost", "1", "--model", "m\udcff"], "budget.invalid_charge"),
        (["--cost", "1", "--model", "m", "--surface", ""], "budget.invalid_charge"),
        (["--cost", "1", "--model", "m", "--request-id", ""], "budget.invalid_charge"),
        (["--cost", "x", "--model", "--format nagios"], "budget.invalid_charge"),
        (["--cost", "1", "--model", "m", "--lock-timeout", "nan"], "usage"),
        (["--cost", "1", "--model", "m", "--lock-timeout", "inf"], "usage"),
        (["--cost", "1", "--model", "m", "--lock-timeout", "-1"], "usage"),
    ],
)
def test_charge_that_no_row_can_hold_is_64_and_leaves_no_ledger(
    cli: Cli, ledger: Path, args: list[str], code: str
) -> None:
    assert cli.json("charge", "hermes", *args, code=64)["error"]["code"] == code
    assert not ledger.exists()


@pytest.mark.parametrize(
    "text",
    [
        "--json",
        "--format nagios",
        "a\nb",
        '","cost_usd":0,"x":"',
        "\u202eexe",
        "\x1b[2J",
        "m" * 1024,
        "\U0001f4b8",
    ],
)
def test_whatever_a_model_is_called_it_is_one_row_and_one_line(cli: Cli, ledger: Path, text: str) -> None:
    made = f"r{text}"[:1024]
    done = cli("charge", "hermes", "--cost", "1", "--request-id", made, "--model", text, "--surface", text)
    assert done.returncode == 0
    assert done.stdout.startswith("charged $1.0000 to hermes: request r")
    assert done.stdout.count("\n") == 1
    assert done.stdout[:-1].isprintable()
    [row] = rows(ledger)
    assert (row["model"], row["surface"], row["request_id"], row["cost_usd"]) == (text, text, made, 1)


def test_persona_that_does_not_exist_is_66_and_nothing_is_made_for_it(cli: Cli, home: Home) -> None:
    error = cli.json("charge", "hermse", "--cost", "1", "--model", "m", code=66)["error"]
    assert (error["code"], error["details"]["nearest"]) == ("persona.not_found", "hermes")
    assert not home.spend_dir("hermse").exists()


def _replaced_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_text("["), id="not TOML"),
        pytest.param(lambda path: path.write_text("[persona]\nid = 'coder'\n"), id="another id"),
        pytest.param(lambda path: path.write_text("a = " + "[" * 99_999), id="nested too deep"),
        pytest.param(lambda path: path.write_text(f"a = 0x{'f' * 9999}"), id="huge integer"),
        pytest.param(lambda path: path.write_text("a = 1e9999999999999999999"), id="huge float"),
        pytest.param(lambda path: path.write_bytes(b"\xff"), id="not UTF-8"),
        pytest.param(_replaced_by_a_fifo, id="FIFO"),
    ],
)
def test_malformed_persona_is_charged_and_stderr_says_what_is_wrong(
    cli: Cli, home: Home, ledger: Path, damage: Callable[[Path], object]
) -> None:
    damage(home.persona_file("hermes"))
    done = cli(*CHARGE, "--json")
    assert done.returncode == 0
    assert done.stderr.startswith("hal0-budget: the charge is recorded, but the account cannot be read: ")
    assert str(home.persona_file("hermes")) in done.stderr
    answer = json.loads(done.stdout)
    assert list(answer) == [*SHOW_KEYS, "recorded", "was_recorded", "overrun_usd", "row"]
    assert answer["recorded"] is True
    unknown = {"budget", "spend", "remaining", "windows", "unconfirmed_usd", "overrun_usd"}
    assert {key for key in answer if answer[key] is None} == unknown
    assert [row["request_id"] for row in rows(ledger)] == ["r1"]


def test_persona_that_may_not_be_read_is_charged_all_the_same(cli: Cli, home: Home, ledger: Path) -> None:
    home.persona_file("hermes").chmod(0)
    done = cli(*CHARGE, prefix=UNPRIVILEGED)
    assert (done.returncode, len(rows(ledger))) == (0, 1)
    assert "Permission denied" in done.stderr


def test_damaged_ledger_is_appended_to_and_every_bad_line_is_said(cli: Cli, ledger: Path) -> None:
    before = put_ledger(ledger, "damaged.jsonl")
    expected = json.loads((SAMPLES / "ledgers" / "damaged.expected.json").read_text())
    done = cli(*CHARGE, "--json")
    assert done.returncode == 0
    assert ledger.read_bytes().startswith(before)
    assert json.loads(ledger.read_bytes().splitlines()[-1])["request_id"] == "r1"
    said = {int(number) for number in re.findall(r"line (\d+) \(byte \d+\) is unreadable", done.stderr)}
    assert said == {bad["line"] for bad in expected["lines"] if bad["damage"]}
    spend = json.loads(done.stdout, parse_float=Decimal)["spend"]
    assert spend["lifetime_usd"] == Decimal(expected["lifetime_usd"]) + Decimal("0.10")


def test_ledger_that_is_shorter_than_its_checkpoint_is_appended_to_and_stays_damaged(
    cli: Cli, account: Account, ledger: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(1)})
    account.charge(Decimal("0.9"), model="m")
    ledger.write_bytes(b"")
    done = cli(*CHARGE)
    assert done.returncode == 0
    assert "than its checkpoint" in done.stderr
    assert len(rows(ledger)) == 1
    assert cli("check", "hermes", "--estimate", "0.5").returncode == 65


@pytest.mark.parametrize("kind", ["FIFO", "folder"])
def test_what_is_no_file_cannot_be_charged_to(cli: Cli, ledger: Path, kind: str) -> None:
    ledger.parent.mkdir(exist_ok=True)
    if kind == "FIFO":
        os.mkfifo(ledger)
    else:
        ledger.mkdir()
    error = cli.json(*CHARGE, code=65)["error"]
    assert error["code"] == "ledger.damaged"
    assert error["message"].startswith(f"{ledger}: a {kind}, not a regular file")


def test_lock_that_another_process_holds_is_75_and_leaves_no_row(
    cli: Cli, account: Account, ledger: Path
) -> None:
    account.charge(Decimal(1), model="m")
    before = ledger.read_bytes()
    with ledger.with_name("spend.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli.json(*CHARGE, "--lock-timeout", "0.05", code=75)["error"]["code"] == "lock.timeout"
        assert cli(*CHARGE, "--lock-timeout", "0").returncode == 75
    assert ledger.read_bytes() == before
    assert cli(*CHARGE, "--lock-timeout", "0").returncode == 0


@pytest.mark.parametrize("where", ["ledger", "folder"])
def test_ledger_that_may_not_be_written_is_77_and_stays_as_it_was(
    cli: Cli, account: Account, ledger: Path, where: str
) -> None:
    if where == "ledger":
        account.charge(Decimal(1), model="m")
        ledger.chmod(0o444)
    else:
        shutil.rmtree(ledger.parent, ignore_errors=True)
        account.home.personas.chmod(0o555)
    before = ledger.read_bytes() if where == "ledger" else b""
    done = cli(*CHARGE, "--json", prefix=UNPRIVILEGED)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")
    assert (ledger.read_bytes() if ledger.exists() else b"") == before


def test_ledger_is_below_the_root_wherever_the_persona_files_are(
    cli: Cli, home: Home, tmp_path: Path
) -> None:
    apart = Home(home.root, "other", tmp_path / "apart")
    init(apart, ["sage"])
    env = {"HAL0_AGENT": "other", "HAL0_PERSONAS_DIR": str(apart.personas)}
    assert cli("charge", "sage", "--cost", "1", "--model", "m", env=env).returncode == 0
    assert len(rows(home.root / "other" / "personas" / "sage" / "spend.jsonl")) == 1


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_jq_sums_the_ledger_as_show_does(cli: Cli, account: Account, ledger: Path) -> None:
    put_ledger(ledger, "torn.jsonl")
    for cost in ("0.25", "1.5e-7", "0", "1000000"):
        assert cli("charge", "hermes", "--cost", cost, "--model", "m").returncode == 0
    summed = subprocess.check_output(["jq", "-s", "map(.cost_usd)|add", str(ledger)], text=True)
    # jq adds binary doubles; ours is exact.
    assert float(summed) == pytest.approx(float(account.show().of("lifetime").spent or 0), rel=1e-12)


@pytest.mark.parametrize(
    "prefix", [("env", "-i"), ("env", "-i", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")]
)
def test_records_in_an_empty_environment_and_without_utf_8(
    cli: Cli, ledger: Path, prefix: tuple[str, ...]
) -> None:
    done = cli(*CHARGE, "--root", str(cli.root), prefix=prefix)
    assert (done.returncode, done.stderr, len(rows(ledger))) == (0, "", 1)
