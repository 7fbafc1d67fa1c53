"""A root, agent or folder of ledgers that is missing is never a fresh budget."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, init
from tests.conftest import Cli, Proof

pytestmark = pytest.mark.promise(15)

COMMANDS = (
    *("check hermes", "check hermes --estimate 0.1", "reserve hermes --estimate 0.1 --hold-id h"),
    *(
        "charge hermes --cost 0.1 --model m",
        "charge hermes --cost 0.1 --model m --hold h1",
        "show",
        "show hermes",
    ),
    *(
        "set hermes --daily 5",
        "set hermes --daily 5 --dry-run",
        "release hermes h1",
        "void hermes r1 --reason x",
    ),
    *(
        "run hermes --estimate 0.1 -- true",
        "log hermes",
        "report",
        "report hermes",
        "simulate hermes --daily 1",
    ),
    *("verify", "verify hermes", "verify hermes --repair", ""),
)


@pytest.fixture
def apart(tmp_path: Path) -> Home:
    """An agent whose persona files are elsewhere; hermes has spent all that it may."""
    home = Home(tmp_path / "agents", "hermes", tmp_path / "personas")
    init(home)
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal(1), model="m", request_id="r1")
    return home


def away(path: Path) -> None:
    path.rename(path.with_name("away"))


def file_there(path: Path) -> None:
    away(path)
    path.touch()


def link_to_nowhere(path: Path) -> None:
    away(path)
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    away(path)
    path.symlink_to(path.name)


def empty_mount(path: Path) -> None:
    away(path)
    path.mkdir()


# Asks for personas, if there is no argument.
COMPLETION = {"_HAL0_BUDGET_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hal0-budget check "}

THINGS = {
    "missing": away,
    "a file": file_there,
    "a link to nowhere": link_to_nowhere,
    "a link to itself": link_to_itself,
}
PLACES = {"root": "", "agent": "hermes", "folder of ledgers": "hermes/personas"}


def snapshot(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("lay", THINGS.values(), ids=THINGS)
def test_no_command_takes_missing_ledgers_for_nothing_spent(
    apart: Home, tmp_path: Path, place: str, lay: Callable[[Path], None], proof: Proof
) -> None:
    lay(apart.root / place)
    before = snapshot(tmp_path)
    cli = Cli(apart.root)
    # Each place and thing with some of the commands; in full with all of them.
    first = ([*PLACES.values()].index(place) + list[Callable[[Path], None]](THINGS.values()).index(lay)) % 4
    for command in [*COMMANDS][first % proof.size(4, 1) :: proof.size(4, 1)]:
        done = cli(*shlex.split(command), env={"HAL0_PERSONAS_DIR": str(apart.personas), **COMPLETION})
        assert (done.returncode, done.stdout) == (66, ""), (command, done.stderr)
        assert "no agent 'hermes'" in done.stderr
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("place", ["", "hermes"])
def test_empty_mount_point_is_no_fresh_budget(apart: Home, tmp_path: Path, place: str) -> None:
    empty_mount(apart.root / place)
    before = snapshot(tmp_path)
    done = Cli(apart.root)("check", "hermes", env={"HAL0_PERSONAS_DIR": str(apart.personas)})
    assert done.returncode == 66
    assert snapshot(tmp_path) == before


def test_misspelt_agent_is_told_the_likely_one(apart: Home) -> None:
    cli = Cli(apart.root)
    for env in ({"HAL0_PERSONAS_DIR": str(apart.personas)}, {}):
        done = cli("reserve", "hermes", "--estimate", "1", env={"HAL0_AGENT": "hermse", **env})
        assert done.returncode == 66
        assert "did you mean agent 'hermes'" in done.stderr
        assert [path.name for path in apart.root.iterdir()] == ["hermes"]


def test_missing_root_names_the_option_and_the_variable(apart: Home, tmp_path: Path) -> None:
    done = Cli(tmp_path / "nowhere")("check", "hermes", env={"HAL0_PERSONAS_DIR": str(apart.personas)})
    assert done.returncode == 66
    assert f"{tmp_path / 'nowhere'} does not exist" in done.stderr
    assert "--root or HAL0_BUDGET_ROOT" in done.stderr


def test_command_that_is_advised_makes_the_folders_and_no_persona(apart: Home) -> None:
    shutil.rmtree(apart.root)
    before = sorted(apart.personas.iterdir())
    cli = Cli(apart.root)
    done = cli("check", "hermes", env={"HAL0_PERSONAS_DIR": str(apart.personas)})
    command = done.stderr.strip().partition("to create it: hal0-budget ")[2]
    assert cli(*command.split()).returncode == 0
    assert sorted(apart.personas.iterdir()) == before
    assert cli("check", "hermes", env={"HAL0_PERSONAS_DIR": str(apart.personas)}).returncode == 0


def test_folder_of_one_persona_is_made_by_its_first_charge(apart: Home) -> None:
    receipt = Account(apart, "coder").charge(Decimal(1), model="m")
    assert not receipt.was_recorded
    assert (apart.spend_dir("coder") / "spend.jsonl").exists()


def test_account_that_lives_on_sees_that_the_root_has_gone(apart: Home) -> None:
    account = Account(apart, "hermes")
    assert account.check().verdict.level == "block"
    away(apart.root)
    calls: tuple[Callable[[], object], ...] = (
        account.check, account.show, account.holds, account.tail,
        lambda: account.reserve(Decimal(1)), lambda: account.charge(Decimal(1), model="m"),
        lambda: account.release("h"), lambda: account.void("r1", "x"),
        lambda: account.set_budget({"daily_usd": None}),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(BudgetError) as caught:
            call()
        assert caught.value.code == "agent.unknown"
    assert not os.path.lexists(apart.root)


def test_linked_folders_are_folders(apart: Home) -> None:
    for path in (apart.agent_dir / "personas", apart.agent_dir, apart.root):
        moved = path.with_name(f"{path.name}-moved")
        path.rename(moved)
        path.symlink_to(moved.name)
    assert Account(apart, "hermes").check().verdict.level == "block"
