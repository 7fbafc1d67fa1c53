"""`verify` names every change by line and byte, changes nothing unasked, and repairs without losing."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from hal0_budget.stores.files.audit import audit
from tests.conftest import NOON, SAMPLES, Cli, put_ledger

ROWS = 50


@pytest.fixture
def lines(account: Account, ledger: Path) -> list[bytes]:
    """The lines of a ledger of 50 charges under a hard cap, its checkpoint and index in place."""
    account.set_budget({"lifetime_usd": Decimal(100)})
    for number in range(ROWS):
        account.charge(Decimal(number) / 100, model=f"model-{number}", request_id=f"r{number}")
    return ledger.read_bytes().splitlines(keepends=True)


def named(home: Home) -> list[tuple[str, int | None]]:
    """Severity and line of everything that an audit finds."""
    return [(found.severity, found.line) for found in audit(home, "hermes", NOON).findings]


def test_sound_ledger_is_clean(cli: Cli, lines: list[bytes]) -> None:
    done = cli("verify", "hermes")
    assert (done.returncode, done.stdout) == (0, f"hermes: ok; {len(lines)} rows on {len(lines)} lines\n")


@pytest.mark.promise(3)
def test_bad_lines_of_the_sample_are_named_without_a_checkpoint(home: Home, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    expected = json.loads((SAMPLES / "ledgers" / "damaged.expected.json").read_text())
    wanted = [("damage", bad["line"]) for bad in expected["lines"] if bad["damage"]]
    assert named(home) == wanted


def test_what_does_not_block_is_a_notice(cli: Cli, account: Account, ledger: Path) -> None:
    put_ledger(ledger, "torn.jsonl")
    torn = cli("verify", "hermes")
    assert (torn.returncode, "line 41" in torn.stdout) == (10, True)
    account.charge(Decimal(1), model="m", request_id="twice")
    sealed = cli("verify", "hermes")
    assert (sealed.returncode, "line 41" in sealed.stdout) == (10, True)
    with ledger.open("ab") as file:
        file.write(ledger.read_bytes().splitlines(keepends=True)[-1])
    account.charge(Decimal(1), model="m")
    assert "request id 'twice' stands on line 42 already" in cli("verify", "hermes").stdout


def test_repair_sets_bad_lines_aside_and_lets_the_gate_judge_again(cli: Cli, ledger: Path) -> None:
    data = put_ledger(ledger, "damaged.jsonl")
    cli("set", "hermes", "--lifetime", "100")
    assert cli("check", "hermes", "--estimate", "0.1").returncode == 65
    repaired = cli("verify", "hermes", "--repair")
    assert (repaired.returncode, repaired.stdout.count("quarantined")) == (0, 13)
    assert cli("check", "hermes", "--estimate", "0.1").returncode == 0
    bad = json.loads((SAMPLES / "ledgers" / "damaged.expected.json").read_text())["lines"]
    before = data.split(b"\n")
    aside = ledger.with_name("spend.jsonl.unreadable").read_bytes().split(b"\n")
    assert aside == [before[line["line"] - 1] for line in bad if line["damage"]] + [b""]
    assert len(ledger.read_bytes()) == len(data), "no other row moved"
    assert cli("verify", "hermes").returncode == 0


def test_repair_says_what_no_longer_counts(cli: Cli, ledger: Path, lines: list[bytes]) -> None:
    ledger.write_bytes(b"".join(lines[:-1]))
    assert cli("check", "hermes", "--estimate", "0.1").returncode == 65
    repaired = cli("verify", "hermes", "--repair")
    assert "$0.4900 of acknowledged charges are missing and no longer count" in repaired.stdout
    assert ledger.with_name("spend.checkpoint.bak").exists()
    assert cli("check", "hermes", "--estimate", "0.1").returncode == 0


def test_verify_writes_nothing_unasked(cli: Cli, home: Home, ledger: Path) -> None:
    put_ledger(ledger, "damaged.jsonl")
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert cli("verify").returncode == 65
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_malformed_persona_is_damage_and_a_near_miss_a_notice(cli: Cli, home: Home) -> None:
    path = home.persona_file("hermes")
    path.write_text(path.read_text() + "dialy_usd = 5\n")
    assert cli("verify", "hermes").returncode == 10
    path.write_text(path.read_text() + "daily_usd = true\n")
    done = cli("verify")
    assert done.returncode == 65
    assert "coder: ok;" in done.stdout


def test_large_ledger_needs_little_memory(cli: Cli, account: Account, ledger: Path) -> None:
    row = account.charge(Decimal("0.01"), model="m" * 100).row.line()
    with ledger.open("ab") as file:
        for number in range(100_000):
            file.write(row[:-4] + b'%05d"}\n' % number)
    script = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    done = cli("verify", "hermes", prefix=(sys.executable, "-c", script))
    code, megabytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert megabytes <= 80


def test_void_of_what_was_never_charged_is_damage_and_no_credit(
    cli: Cli, account: Account, ledger: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(1)})
    account.charge(Decimal("0.5"), model="m", request_id="r1")
    row = account.void("r1", "wrong")
    assert cli("verify", "hermes").returncode == 0
    with ledger.open("ab") as file:
        file.write(row._replace(cost_usd=Decimal(-5), request_id="void:x", voids="x").line())
    assert account.check(Decimal(1)).verdict.level == "allow"
    assert account.check(Decimal("1.01")).verdict.level == "block"
    done = cli("verify", "hermes")
    assert (done.returncode, "line 3" in done.stdout, "never charged" in done.stdout) == (65, True, True)
