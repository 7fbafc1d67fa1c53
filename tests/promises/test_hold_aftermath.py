"""A damaged journal of holds: charges are recorded, nothing is booked, and a repair says what is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from hal0_budget import Home
from hal0_budget.cli.app import invoke
from hal0_budget.cli.options import Output
from hal0_budget.cli.render.emit import Result
from tests.conftest import Cli
from tests.support.hold_files import HOLDS, LEDGER, LEFT, TOO_MUCH, Case, changed, files_of, lay, refused

pytestmark = pytest.mark.promise(16)

CENT = Decimal("0.01")
DAY = timedelta(days=1)


@pytest.fixture(params=[True, False], ids=["with a ledger", "without a ledger"])
def case(request: pytest.FixtureRequest, home: Home) -> Case:
    return Case(home, with_ledger=request.param)


def lines_of(case: Case) -> list[bytes]:
    return case.good[HOLDS].splitlines(keepends=True)


def without(case: Case, at: int) -> bytes:
    lines = lines_of(case)
    del lines[at]
    return b"".join(lines)


def with_a_flip(case: Case, at: int) -> bytes:
    """The journal with a bit flipped in the middle of a line."""
    lines = lines_of(case)
    middle = len(lines[at]) // 2
    lines[at] = lines[at][:middle] + bytes([lines[at][middle] ^ 1]) + lines[at][middle + 1 :]
    return b"".join(lines)


class Damage(NamedTuple):
    """What the journal is replaced by, and whether an open hold is lost with it."""

    journal: Callable[[Case], bytes | None]
    loses_a_hold: bool = True


DAMAGES = {
    "removed": Damage(lambda _: None),
    "emptied": Damage(lambda _: b""),
    "zeros": Damage(lambda case: bytes(len(case.good[HOLDS]))),
    "an older copy": Damage(lambda case: case.moments[-3].get(HOLDS)),
    "the last line lost": Damage(lambda case: without(case, -1)),
    "the last line cut": Damage(lambda case: case.good[HOLDS][:-30]),
    "a digit of the last amount changed": Damage(lambda case: case.good[HOLDS].replace(b"0.75", b"0.25")),
    "of another persona": Damage(lambda case: case.foreign["of another persona"][HOLDS]),
    "of another agent": Damage(lambda case: case.foreign["of another agent"][HOLDS]),
    "the first line flipped": Damage(lambda case: with_a_flip(case, 0), loses_a_hold=False),
    "the third line flipped": Damage(lambda case: with_a_flip(case, 2), loses_a_hold=False),
    "the third line lost": Damage(lambda case: without(case, 2), loses_a_hold=False),
}


def rows_of(case: Case) -> list[dict[str, Any]]:
    """The rows of the ledger; every line must be JSON, or blank."""
    path = case.folder / LEDGER
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.strip()]


def repaired(home: Home) -> tuple[int, list[str]]:
    """The exit code of `verify --repair`, and the lines that say that holds were given up, in dollars."""
    result = invoke(["--root", str(home.root), "verify", "hermes", "--repair"], Output())
    assert isinstance(result, Result)
    done = [line for line in result.lines if line.startswith("repaired:")]
    return result.exit_code, [line for line in done if "hold" in line and "$" in line]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_journal_records_charges_books_nothing_and_is_repaired_once(
    damage: Damage, case: Case, home: Home
) -> None:
    case.put((HOLDS, damage.journal(case)))
    before = rows_of(case)
    later = case.account(2 * DAY)
    later.charge(CENT, model="m", request_id="plain")
    later.charge(CENT, model="m", request_id="of a hold", hold_id="open-1")
    assert case.account().charge(CENT, model="m", request_id="plain").was_recorded
    added = [(row["request_id"], row.get("hold_id")) for row in rows_of(case)[len(before) :]]
    assert added == [("plain", None), ("of a hold", "open-1")]
    assert refused(case.account(), CENT)
    assert case.is_named()

    code, given_up = repaired(home)
    assert code in {0, 10}
    assert bool(given_up) or not damage.loses_a_hold, "nothing is said of what is lost"
    after = {name: data for name, data in files_of(case.folder).items() if name in (LEDGER, HOLDS)}
    assert case.account().check(Decimal(0)).verdict.level == "allow"
    code, given_up = repaired(home)
    assert (code in {0, 10}, given_up) == (True, [])
    assert {name: data for name, data in files_of(case.folder).items() if name in after} == after
    hold = case.account().reserve(Decimal(0), hold_id="after-the-repair").hold
    assert hold is not None
    case.account().charge(Decimal(0), model="m", hold_id=hold.hold_id)


def test_damaged_journal_ends_the_gate_in_65_and_a_charge_of_a_hold_in_0(case: Case, cli: Cli) -> None:
    case.put((HOLDS, without(case, -1)))
    for gate in ("check", "reserve"):
        done = cli(gate, "hermes", "--estimate", str(TOO_MUCH))
        assert (done.returncode, HOLDS in done.stderr) == (65, True), done
    found = cli("verify", "hermes")
    assert (found.returncode, f"{HOLDS}:" in found.stdout) == (65, True), found
    done = cli("charge", "hermes", "--cost", "0.01", "--model", "m", "--request-id", "r", "--hold", "open-2")
    assert (done.returncode, HOLDS in done.stderr) == (0, True), done
    assert rows_of(case)[-1]["hold_id"] == "open-2"


@pytest.mark.parametrize("name", ["spend.lock", "spend.checkpoint"])
def test_file_that_was_removed_guards_the_journal_again_after_the_next_hold(name: str, case: Case) -> None:
    """Each of two files says how far the journal had grown, so that one that is lost opens nothing."""
    case.put((name, None))
    before = files_of(case.folder)[HOLDS]
    account = case.account()
    assert account.reserve(LEFT, hold_id="open-3").hold is not None
    guarded = files_of(case.folder)
    for other in ("spend.lock", "spend.checkpoint"):
        for journal in (before, None, b""):
            lay(case.folder, changed(guarded, (HOLDS, journal), (other, None)))
            assert refused(account, CENT), other
            assert refused(case.account(), CENT), other


def test_copy_from_before_the_journal_was_shortened_makes_no_room(home: Home) -> None:
    case = Case(home, with_ledger=True)
    account = case.account()
    longest = last = case.good
    for number in range(150):
        # With long names, the journal is soon shortened to what is open.
        account.reserve(CENT, hold_id=f"h-{number}", model="m" * 500)
        account.release(f"h-{number}")
        last = files_of(case.folder)
        longest = max(longest, last, key=lambda files: len(files[HOLDS]))
    assert len(last[HOLDS]) < len(longest[HOLDS]), "the journal was not shortened"
    assert case.judges_as_before()
    assert account.reserve(LEFT, hold_id="open-3").hold is not None
    case.good = files_of(case.folder)
    for files in (longest, last, *case.moments):
        for name in ("spend.lock", "spend.checkpoint", HOLDS):
            case.put((HOLDS, files.get(HOLDS)), (name, files.get(name)))
            assert refused(case.account(), CENT)
            assert refused(account, CENT)
