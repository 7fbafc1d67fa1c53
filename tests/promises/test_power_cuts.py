"""A power cut at any moment: nothing acknowledged is lost, and nothing is damaged.

Each story is recorded once undisturbed, and once for each kill and each failed fsync. A model of the disk,
`tests/support/disk_model.py`, says what a power cut can leave at each call.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import Cli, Proof
from tests.support.crash_judge import problems, reboot
from tests.support.crash_states import MEMORY, Case, Explorer, Story, lay
from tests.support.crash_steps import (
    HOLDS,
    NO_ROW,
    appended,
    batched,
    capped,
    charged,
    emptied,
    filled,
    lapsed,
    made,
    ran,
    read,
    released,
    removed,
    repaired,
    reserved,
    slept,
    text,
    voided,
)
from tests.support.faults import missing

pytestmark = pytest.mark.promise(17)

START = (made(), capped("1000"))
SPENT = (*START, charged("r1", "0.5"))
HELD = (*SPENT, reserved("h1", "0.25"), reserved("h2", "2"))
EXPIRED = (*SPENT, reserved("h1", "0.25", "1s"), slept("1.1"))
TEAR = '{"ts":"2026-05-29T12:00:00Z","persona_id":"her'

STORIES = (
    Story("init", (), (made(),), (made(), capped("1000"))),
    Story("set", START, (capped("50"), capped("1000")), (read(), charged("r9", "4"))),
    Story(
        "charge, the first",
        (*START, removed("hermes/personas/hermes")),
        (charged("r1", "0.5"), charged("r2", "1")),
        (charged("r3", "2"), read()),
    ),
    Story(
        "charge behind a tear",
        (*SPENT, text(TEAR)),
        (charged("r2", "1"),),
        (read(), charged("r2", "1"), charged("r3", "2")),
    ),
    Story(
        "charge behind a checkpoint",
        (*SPENT, charged("r2", "1"), read()),
        (charged("r3", "2"), read("show"), charged("r4", "8")),
        (read(), charged("r3", "2"), reserved("h9", "4")),
    ),
    Story(
        "reserve",
        START,
        (reserved("h1", "0.25"), reserved("h2", "0.5")),
        (read(), reserved("h3", "1"), charged("r1", "2", "h3")),
    ),
    Story(
        "reserve after a charge",
        SPENT,
        (reserved("h1", "0.25"), reserved("h2", "1")),
        (reserved("h3", "2"), read(), charged("r9", "4")),
    ),
    Story(
        "charge of a hold",
        HELD,
        (charged("r2", "1", "h1"), charged("r3", "4", "h2")),
        (reserved("h3", "8"), read(), charged("r4", "16")),
    ),
    Story(
        "charge of a hold, retried",
        HELD,
        (charged("r2", "1", "h1"),),
        (charged("r2", "1", "h1"), charged("r4", "16")),
    ),
    Story(
        "holds given back",
        (*SPENT, lapsed("h1", "0.25"), reserved("h2", "2"), slept("1.1")),
        (charged("r2", "1"),),
        (read(), reserved("h3", "8"), charged("r4", "16", "h2")),
    ),
    Story("release", HELD, (released("h1"),), (read(), reserved("h3", "8"), charged("r4", "16"))),
    Story("expiry", EXPIRED, (charged("r2", "1"),), (charged("r3", "2"), read(), reserved("h2", "4"))),
    Story(
        "charge of an expired hold",
        (*EXPIRED, charged("r2", "1")),
        (charged("r3", "2", "h1", is_late=True),),
        (read(), charged("r3", "2", "h1", is_late=True), reserved("h2", "4")),
    ),
    Story("batch", SPENT, (batched(),), (read(), batched(), charged("r9", "4"))),
    Story("void", SPENT, (voided("r1", "0.5"),), (read(), charged("r9", "4"), voided("r1", "0.5"))),
    Story("run", SPENT, (ran("0.25"),), (read(), charged("r9", "4"), reserved("h9", "8"))),
    Story(
        "repair",
        (*SPENT, text(NO_ROW), charged("r2", "1")),
        (repaired(),),
        (read(), repaired(), charged("r9", "4")),
        is_damaged=True,
    ),
    Story(
        "repair of the journal of holds",
        (*HELD, text(NO_ROW, HOLDS)),
        (repaired(),),
        (read(), repaired(), charged("r9", "4")),
        is_damaged=True,
    ),
    Story(
        "repair of an emptied ledger",
        (*SPENT, emptied("r1")),
        (repaired(),),
        (read(), repaired(), charged("r9", "4")),
        is_damaged=True,
    ),
    Story(
        "journal of holds that is shortened",
        (*HELD, reserved("h4", "16"), filled()),
        (reserved("h3", "8"), released("h1"), charged("r2", "1", "h2")),
        (read(), reserved("h5", "4"), released("h4")),
    ),
    Story(
        "rows of hal0",
        SPENT,
        (appended("a1", "0.25"), read(), charged("r2", "1"), appended("a2", "2"), read("show")),
        (read(), charged("r3", "4"), reserved("h9", "8")),
    ),
    Story(
        "the first row is of hal0",
        START,
        (
            appended("a1", "0.25"),
            read(),
            reserved("h1", "1"),
            appended("a2", "2"),
            read(),
            charged("r1", "4"),
        ),
        (read("show"), charged("r3", "8")),
    ),
)

# Those that `make test` has time for, each with one kill and one failed fsync.
QUICK = ("charge, the first", "charge of a hold", "repair", "rows of hal0")
FIRST = ("mkdir", "write spend.jsonl", "fsync spend.jsonl")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every story in `make prove`, the quick ones in `make test`."""
    is_full = metafunc.config.getoption("--prove")
    stories = [story for story in STORIES if is_full or story.name in QUICK]
    if "story" in metafunc.fixturenames:
        metafunc.parametrize("story", stories, ids=[story.name for story in stories])


@pytest.fixture(scope="module")
def judges() -> Iterator[ProcessPoolExecutor]:
    """Processes that judge cases, as on a machine that was started again."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=reboot) as pool:
        yield pool


def need_strace() -> None:
    """Skip a test where there is no strace."""
    if shutil.which("strace") is None:
        missing("strace")


def cases_of(story: Story, folder: Path, proof: Proof) -> list[Case]:
    """The cases of a story, and where there is no time for all, every nth."""
    need_strace()

    def is_struck(call: str, number: int) -> bool:
        return proof.is_full or (call.startswith(FIRST) and number == 0)

    cases = list(Explorer(story, folder).cases(is_struck))
    plain = [case for case in cases if case.is_plain]
    others = [case for case in cases if not case.is_plain]
    return every_nth(plain, proof.size(80, 600)) + every_nth(others, proof.size(20, 300))


def every_nth(cases: list[Case], most: int) -> list[Case]:
    """So many cases at most, spread evenly."""
    return cases[:: (len(cases) - 1) // most + 1]


def test_power_cut_loses_nothing_and_damages_nothing(
    story: Story, judges: ProcessPoolExecutor, proof: Proof
) -> None:
    with TemporaryDirectory(prefix="power-cut-", dir=MEMORY) as folder:
        cases = cases_of(story, Path(folder), proof)
        found = [problem for some in judges.map(problems, cases, chunksize=20) for problem in some]
    assert not found, "\n".join([f"{len(found)} problems in {len(cases)} states", *found[:10]])
    proof.counted(len(cases), "crash states, none of which lost what was acknowledged or was damaged")


def test_installed_command_answers_after_a_power_cut(proof: Proof) -> None:
    need_strace()
    (story,) = [story for story in STORIES if story.name == "charge of a hold"]
    with TemporaryDirectory(prefix="power-cut-", dir=MEMORY) as folder:
        cases = list(Explorer(story, Path(folder)).cases(lambda _call, _number: False))
        some = every_nth(cases, proof.size(4, 100))
        for number, case in enumerate(some):
            disk = Path(folder) / f"state {number}"
            lay(case.tree, disk)
            cli = Cli(disk / "agents")
            assert cli("check", "hermes", "--estimate", "0.01").returncode == 0, case.how
            assert cli("show", "hermes").stderr == "", case.how
    proof.counted(len(some), "crash states, asked with the installed commands, check and show")
