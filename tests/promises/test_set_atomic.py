"""`set` loses no edit, keeps the file's owner, mode and links, and leaves the old bytes or the new."""

from __future__ import annotations

import os
import resource
import stat
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.model.budget import KEYS
from hal0_budget.stores.files import persona_edit
from hal0_budget.stores.files.persona_file import read_persona
from tests.conftest import Cli, Proof
from tests.support.processes import in_processes

pytestmark = pytest.mark.promise(11)

# Only root may give files to another user, or become one.
IS_ROOT = os.geteuid() == 0
OWNER, GROUP = (1234, 1235) if IS_ROOT else (os.getuid(), os.getgid())
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if IS_ROOT else ()


@pytest.mark.parametrize(
    "agents", [("hermes",), ("hermes", "talaria")], ids=["one agent", "two agents that share personas"]
)
def test_every_edit_of_many_setters_at_once_is_kept(
    agents: tuple[str, ...], home: Home, proof: Proof
) -> None:
    """Each edit says what it changed: the edits of a key, end to end, lead from no value to the last."""
    setters, edits = proof.size(8, 32), proof.size(10, 50)
    keys = [key for key in KEYS if key != "hard_cap"]
    for agent in agents:
        init(Home(home.root, agent, home.personas), ["hermes"])

    def work(setter: int) -> str:
        mine = Home(home.root, agents[setter % len(agents)], home.personas)
        account, key = Account(mine, "hermes", lock_timeout=60), keys[setter % len(keys)]
        done = []
        for edit in range(1, edits + 1):
            value = Decimal(setter * edits + edit) / 10_000
            (changed,) = account.set_budget({key: value}).changes.items()
            assert changed[0] == key
            assert changed[1][1] == value
            done.append(f"{key} {changed[1][0]} {value}")
        return ",".join(done)

    steps = [step.split() for line in in_processes(setters, work) for step in line.split(",")]
    assert len(steps) == setters * edits
    budget = tomllib.loads(home.persona_file("hermes").read_text(), parse_float=str)["persona"]["budget"]
    kept = 0
    for key in keys:
        leads = {old: new for of, old, new in steps if of == key}
        value = "None"
        while value in leads:
            value, kept = leads.pop(value), kept + 1
        assert budget[key] == value
    assert kept == len(steps)
    assert sorted(os.listdir(home.personas)) == [
        ".hermes.lock",
        "active.txt",
        "coder",
        "coder.toml",
        "hermes",
        "hermes.toml",
    ]
    proof.reached(f"{setters} setters x {edits} of {len(agents)} agent(s): {kept} of {len(steps)} kept")


def test_mode_and_owner_are_kept(home: Home, cli: Cli) -> None:
    path = home.persona_file("hermes")
    os.chmod(path, 0o604)
    os.chown(path, OWNER, GROUP)
    assert cli("set", "hermes", "--daily", "5").returncode == 0
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o604, OWNER, GROUP)
    assert "daily_usd = 5.0" in path.read_text()


def test_symlink_stays_a_symlink_and_its_target_changes(home: Home, cli: Cli) -> None:
    path = home.persona_file("hermes")
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir()
    target = path.rename(elsewhere / "kept in git.toml")
    os.chown(target, OWNER, GROUP)
    (elsewhere / "link").symlink_to(target.name)
    path.symlink_to("../../elsewhere/link")
    assert cli("set", "hermes", "--daily", "5").returncode == 0
    assert os.readlink(path) == "../../elsewhere/link"
    assert os.readlink(elsewhere / "link") == target.name
    assert not target.is_symlink()
    assert target.stat().st_uid == OWNER
    assert "daily_usd = 5.0" in target.read_text()
    assert sorted(os.listdir(elsewhere)) == ["kept in git.toml", "link"]


def rename_over(path: Path) -> None:
    new = path.with_name("theirs")
    new.write_bytes(path.read_bytes())
    new.rename(path)


def append_comment(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"# theirs\n")


def rewrite_in_the_same_size(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace("Hermes", "Hermas"))


REWRITES: dict[str, Callable[[Path], None]] = {
    "renamed over": rename_over,
    "appended to": append_comment,
    "rewritten in the same size": rewrite_in_the_same_size,
}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_file_that_another_program_rewrote_meanwhile_is_left_to_it(
    home: Home, rewrite: Callable[[Path], None]
) -> None:
    # Long before the rewrite: a file system may tell times apart by milliseconds only.
    os.utime(home.persona_file("hermes"), (0, 0))
    read = read_persona(home, "hermes")
    text = persona_edit.edited(read, {"daily_usd": Decimal(5)})
    rewrite(read.path)
    theirs = read.path.read_bytes()
    with pytest.raises(BudgetError) as caught:
        persona_edit.write(read, text)
    assert (caught.value.code, caught.value.exit_code) == ("persona.changed", 75)
    assert read.path.read_bytes() == theirs
    Account(home, "hermes").set_budget({"daily_usd": Decimal(5)})
    assert b"daily_usd = 5.0" in read.path.read_bytes()


def half_written(temporary: Path) -> None:
    temporary.write_bytes(b"[persona]\nid = ")
    temporary.chmod(0o000)


def link_to_another_file(temporary: Path) -> None:
    (temporary.parent / "victim").write_text("untouched")
    temporary.symlink_to("victim")


@pytest.mark.parametrize("leave", [half_written, link_to_another_file])
def test_temporary_file_that_a_crash_left_is_harmless(
    home: Home, cli: Cli, leave: Callable[[Path], None]
) -> None:
    path = home.persona_file("hermes")
    leave(path.with_name(".hermes.toml.new"))
    assert cli("set", "hermes", "--daily", "5").returncode == 0
    assert "daily_usd = 5.0" in path.read_text()
    assert not os.path.lexists(path.with_name(".hermes.toml.new"))
    assert all(victim.read_text() == "untouched" for victim in home.personas.glob("victim"))


@pytest.mark.parametrize("limit", [0, 1, 300])
def test_edit_that_does_not_fit_on_the_disk_leaves_the_old_file_and_nothing_else(
    home: Home, cli: Cli, limit: int
) -> None:
    path = home.persona_file("hermes")
    before = path.read_bytes()
    assert len(before) > limit
    done = cli(
        "set",
        "hermes",
        "--daily",
        "5",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 74
    assert path.read_bytes() == before
    assert not os.path.lexists(path.with_name(".hermes.toml.new"))
    assert cli("set", "hermes", "--daily", "5").returncode == 0


@pytest.fixture
def public_home() -> Iterator[Home]:
    """An agent below folders that every user may enter, its files those of `nobody`, or ours without root."""
    with TemporaryDirectory() as folder:
        home = Home(Path(folder) / "agents")
        init(home)
        for path in (Path(folder), *Path(folder).rglob("*")):
            if IS_ROOT:
                os.chown(path, 65534, 65534)
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield home


@pytest.mark.parametrize(
    "args", [("set", "hermes", "--daily", "5"), ("init", "--repair")], ids=["set", "init"]
)
def test_read_only_folder_is_permission_denied(public_home: Home, args: tuple[str, ...]) -> None:
    cli, path = Cli(public_home.root), public_home.persona_file("hermes")
    before = path.read_bytes()
    assert cli("set", "hermes", "--warn-at", "0.5", "--dry-run", prefix=NOBODY).returncode == 0
    public_home.personas.chmod(0o555)
    done = cli(*args, prefix=NOBODY)
    assert done.returncode == 77
    assert "Permission denied" in done.stderr
    assert path.read_bytes() == before
    public_home.personas.chmod(0o755)
    assert cli(*args, prefix=NOBODY).returncode == 0


@pytest.mark.parametrize("target", ["hermes.toml", "nowhere.toml"])
@pytest.mark.parametrize("args", ["show", "check", "charge --cost 1 --model m", "set --daily 5"])
def test_link_that_leads_to_no_file_is_no_persona(home: Home, cli: Cli, args: str, target: str) -> None:
    path = home.persona_file("hermes")
    path.unlink()
    path.symlink_to(target)
    command, *options = args.split()
    done = cli(command, "hermes", *options)
    assert done.returncode in {65, 66}
    assert str(path) in done.stderr
    assert os.readlink(path) == target
    assert not (home.spend_dir("hermes") / "spend.jsonl").exists()
    assert not (home.personas / "nowhere.toml").exists()
