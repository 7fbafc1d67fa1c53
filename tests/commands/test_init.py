"""`init`: persona files to start from, and nothing that exists is lost or rewritten unasked."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tomli

from hal0_budget import Account, BudgetError, Home
from hal0_budget.cli.app import invoke
from hal0_budget.cli.options import Output
from tests.conftest import SAMPLES, Cli

# What takes from root the right to write what its mode forbids.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """The command on a root that does not exist yet."""
    return Cli(tmp_path / "new" / "agents")


def personas_of(cli: Cli, agent: str = "hermes") -> Path:
    """Where the persona files of an agent are."""
    return cli.root / agent / "personas"


def files(root: Path) -> dict[Path, bytes]:
    """Every file below `root` with its bytes."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_makes_the_root_two_personas_and_the_name_of_the_active_one(bare: Cli) -> None:
    personas = personas_of(bare)
    done = bare("init")
    assert (done.returncode, done.stderr) == (0, "")
    names = ("hermes.toml", "coder.toml", "active.txt")
    assert done.stdout.splitlines() == [f"created {personas / name}" for name in names]
    assert (personas / "active.txt").read_text() == "hermes\n"
    assert (personas / "hermes.toml").read_bytes() == (SAMPLES / "personas" / "hermes.toml").read_bytes()
    coder = tomli.loads((personas / "coder.toml").read_text())["persona"]
    assert (coder["id"], coder["memory"]) == ("coder", {"namespace": "private:coder"})
    assert coder["budget"] == {"hard_cap": True}
    assert [bare("check", name).returncode for name in ("hermes", "coder")] == [0, 0]


def test_json_names_each_file_and_what_was_done_with_it(bare: Cli) -> None:
    personas = personas_of(bare)
    answer = bare.json("init", "sage")
    made = [personas / "sage.toml", personas / "active.txt"]
    assert answer == {
        "agent": "hermes",
        "files": [{"path": str(path), "state": "created", "saved_as": None, "warnings": []} for path in made],
    }
    again = bare.json("init", "sage", "--repair")["files"]
    assert again == [
        {"path": str(path), "state": "repaired", "saved_as": f"{path}.bak", "warnings": []} for path in made
    ]


def test_first_of_the_personas_named_becomes_active(bare: Cli) -> None:
    assert bare("init", "sage", "poet", "sage").returncode == 0
    made = sorted(path.name for path in personas_of(bare).iterdir() if path.is_file())
    assert made == ["active.txt", "poet.toml", "sage.toml"]
    assert (personas_of(bare) / "active.txt").read_text() == "sage\n"


def test_what_exists_is_left_as_it_is(cli: Cli, home: Home) -> None:
    home.persona_file("hermes").write_text("mine")
    home.persona_file("coder").unlink()
    home.active_file.write_text("coder\n")
    done = cli("init")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["kept", "created", "kept"]
    assert home.persona_file("hermes").read_text() == "mine"
    assert home.active_file.read_text() == "coder\n"


def test_repair_keeps_readable_caps_and_the_old_file(cli: Cli, home: Home) -> None:
    path = home.persona_file("hermes")
    path.write_text(
        '[persona]\nid = "hermes"\n[persona.budget]\n'
        'daily_usd = 5.00\nwarn_at = 0.8\nhard_cap = false\nrollover = "later"\n'
    )
    path.chmod(0o600)
    before = path.read_bytes()
    answer = cli.json("init", "hermes", "--repair")
    saved = {"path": str(path), "state": "repaired", "saved_as": f"{path}.bak", "warnings": []}
    assert answer["files"][0] == saved
    assert Path(f"{path}.bak").read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    repaired = tomli.loads(path.read_text(), parse_float=Decimal)["persona"]
    assert repaired["budget"] == {
        "daily_usd": Decimal("5.00"),
        "warn_at": Decimal("0.8"),
        "hard_cap": False,
        "rollover": "later",
    }
    assert repaired["tools"] == {"allowed": ["*"]}


def test_repair_never_waits_for_a_fifo_nor_loses_what_it_cannot_save(cli: Cli, home: Home) -> None:
    path = home.persona_file("hermes")
    path.unlink()
    os.mkfifo(path)
    done = cli("init", "--repair")
    assert (done.returncode, done.stdout) == (74, "")
    assert "a FIFO, not a regular file" in done.stderr
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_ledger_of_a_persona_survives_its_repair(cli: Cli, home: Home, account: Account) -> None:
    account.charge(Decimal("0.7"), model="m")
    assert cli("init", "--repair").returncode == 0
    assert Account(home, "hermes").show().of("lifetime").spent == Decimal("0.7")


def test_others_may_neither_read_nor_enter_what_is_made_whatever_the_umask(bare: Cli) -> None:
    assert bare("init", prefix=("sh", "-c", 'umask 0; exec "$@"', "sh")).returncode == 0
    made = [bare.root, *bare.root.rglob("*")]
    assert len(made) > 5
    assert not [path for path in made if path.stat().st_mode & 0o007]


@pytest.mark.parametrize(
    ("args", "env", "where"),
    [
        (["init", "--agent", "other"], {}, "other"),
        (["--agent", "other", "init"], {}, "other"),
        (["init", "--agent", "other"], {"HAL0_AGENT": "third"}, "other"),
        (["init"], {"HAL0_AGENT": "third"}, "third"),
    ],
)
def test_agent_is_the_one_that_is_named(bare: Cli, args: list[str], env: dict[str, str], where: str) -> None:
    assert bare(*args, env=env).returncode == 0
    assert [path.name for path in bare.root.iterdir()] == [where]


def test_persona_files_go_where_hal0_keeps_them_and_nothing_else_does(bare: Cli, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    assert bare("init", "sage", "--personas-dir", str(apart)).returncode == 0
    assert sorted(path.name for path in apart.iterdir()) == [".sage.lock", "active.txt", "sage.toml"]
    assert not (personas_of(bare) / "sage.toml").exists()


HOSTILE_IDS = [
    "",
    "../x",
    "a/b",
    "/x",
    ".x",
    "-x",
    "_x",
    "a b",
    "a\\b",
    "*",
    "x\n",
    "x\0",
    "x" * 65,
    "\u0435",
    "x\udcff",
]
COMMANDS: dict[str, list[str]] = {
    "init": ["init"],
    "show": ["show"],
    "set": ["set", "--daily", "1"],
    "check": ["check"],
    "charge": ["charge", "--cost", "1", "--model", "m"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_id_outside_the_pattern_is_64_and_no_file_is_made(cli: Cli, command: str) -> None:
    before = files(cli.root.parent)
    for text in HOSTILE_IDS:
        for who in (["--agent=hermes", "--", text], [f"--agent={text or '-'}", "--", "hermes"]):
            with pytest.raises(BudgetError) as caught:
                invoke(["--root", str(cli.root), *COMMANDS[command], *who], Output())
            assert (caught.value.code, caught.value.exit_code) == ("id.invalid", 64), who
    assert files(cli.root.parent) == before


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("command", ["init", "check", "charge"])
def test_no_file_is_touched_for_an_id_outside_the_pattern(cli: Cli, command: str, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    tracer = ("strace", "-f", "-qq", "-s", "999", "-e", "trace=%file", "-o", str(log))
    assert cli(*COMMANDS[command], "../outside", prefix=tracer).returncode == 64
    touched = [line for line in log.read_text().splitlines() if "execve" not in line]
    assert touched
    assert not [line for line in touched if "outside" in line or str(cli.root) in line]


def test_one_bad_id_among_good_ones_makes_nothing(bare: Cli) -> None:
    assert bare("init", "sage", "../poet").returncode == 64
    assert not bare.root.exists()


@pytest.mark.parametrize("text", ["x" * 64, "0", "x..y-z_"])
def test_every_id_within_the_pattern_works(bare: Cli, text: str) -> None:
    assert bare("init", text).returncode == 0
    assert bare("charge", text, "--cost", "1", "--model", "m").returncode == 0
    assert bare.json("show", text)["spend"]["lifetime_usd"] == 1


@pytest.mark.parametrize("line", ["init --bogus", "init --lock-timeout nan", "init --root="])
def test_line_that_does_not_parse_is_64_and_makes_nothing(bare: Cli, line: str) -> None:
    assert bare.json(*line.split(), code=64)["error"]["code"] == "usage"
    assert not bare.root.exists()


def test_lock_that_another_process_holds_is_75(cli: Cli, home: Home) -> None:
    before = files(cli.root)
    with (home.spend_dir("hermes") / "spend.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer: dict[str, Any] = cli.json("init", "--repair", "--lock-timeout", "0.05", code=75)
    assert answer["error"]["code"] == "lock.timeout"
    assert files(cli.root) == before


def test_root_that_may_not_be_written_is_77(bare: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = bare("init", "--json", prefix=UNPRIVILEGED)
    tmp_path.chmod(0o700)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (77, "permission.denied")
    assert list(tmp_path.iterdir()) == []


def test_file_in_place_of_a_folder_is_a_failure_that_names_it(bare: Cli) -> None:
    bare.root.mkdir(parents=True)
    (bare.root / "hermes").write_text("")
    done = bare("init")
    assert (done.returncode, str(bare.root / "hermes") in done.stderr) == (74, True)


def test_quiet_prints_nothing(bare: Cli) -> None:
    done = bare("init", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (personas_of(bare) / "coder.toml").exists()
