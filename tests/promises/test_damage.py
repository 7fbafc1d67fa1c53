"""Damage is never read as room to spend: 50 acknowledged rows under a hard cap, damaged in every way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from hal0_budget import Account, BudgetError, Home, Row
from hal0_budget.stores.files.checkpoint import CheckpointLog
from tests.conftest import NOON, Cli, Proof

pytestmark = pytest.mark.promise(3)

ROWS = 50
FREE = Row(NOON, "hermes", "cli", "m", Decimal(0), "free").line()
LEFT = Decimal("1.00")
NO_ROOM = ", none of which made room for a call"
OTHERS = "other changes of them"
# A clock that steps back makes a reader count the rows again.
CLOCKS = {"the same day": NOON, "ten days back": NOON - timedelta(days=10)}


def lay(ledger: Path, data: bytes) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(data)


class Case:
    """A ledger of 50 rows, all acknowledged, with its checkpoint, and $1.00 left of every cap."""

    def __init__(self, home: Home, ledger: Path) -> None:
        account = Account(home, "hermes", clock=lambda: NOON)
        costs = [Decimal(f"0.{number:02}") for number in range(50, 50 + ROWS)]
        lay(ledger, b"".join(Row(NOON, "hermes", "cli", "m", cost, f"r{cost}").line() for cost in costs[:-1]))
        account.charge(costs[-1], model="m", request_id="the last")
        self.home = home
        self.spent = sum(costs)
        caps = dict.fromkeys(("daily_usd", "monthly_usd", "lifetime_usd"), self.spent + LEFT)
        account.set_budget(caps)
        assert account.check(LEFT).verdict.level == "allow"
        self.ledger, self.checkpoint = ledger, ledger.with_name("spend.checkpoint")
        self.good, self.mark = ledger.read_bytes(), self.checkpoint.read_bytes()
        self.rows = self.good.splitlines(keepends=True)
        assert len(self.rows) == ROWS
        assert len(self.good) > 4096 + len(self.rows[0]), "the checkpoint covers all bytes by its checksum"

    def refuses(self, now: datetime = NOON) -> bool:
        """Whether `check` refuses what does not fit; a checkpoint that it made is not smaller."""
        account = Account(self.home, "hermes", clock=lambda: now)
        try:
            refused = account.check(LEFT + Decimal("0.01")).verdict.level == "block"
        except BudgetError as error:
            refused = error.code == "ledger.damaged"
        if self.checkpoint.read_bytes() != self.mark:
            after = CheckpointLog(self.checkpoint).load()
            assert after.checkpoint is not None
            assert after.checkpoint.tally.lifetime >= self.spent, "a smaller checkpoint was made"
            self.checkpoint.write_bytes(self.mark)
        return refused


@pytest.fixture
def case(home: Home, ledger: Path) -> Case:
    return Case(home, ledger)


def some_bits(case: Case, proof: Proof) -> Iterator[int]:
    """Every bit of the first row and the last, and one of every other byte between; in full every bit."""
    if proof.is_full:
        yield from range(len(case.good) * 8)
        return
    size, edge = len(case.good), len(case.rows[0])
    yield from range(edge * 8)
    yield from (byte * 8 + byte // 2 % 8 for byte in range(edge, size - edge, 2))
    yield from range((size - edge) * 8, size * 8)


def test_flipped_bit_never_makes_room(case: Case, proof: Proof) -> None:
    bits = list(some_bits(case, proof))
    with case.ledger.open("r+b", buffering=0) as file:
        for bit in bits:
            byte, mask = bit // 8, 1 << bit % 8
            os.pwrite(file.fileno(), bytes([case.good[byte] ^ mask]), byte)
            assert case.refuses(), f"bit {bit}"
            os.pwrite(file.fileno(), case.good[byte : byte + 1], byte)
    assert case.ledger.read_bytes() == case.good
    proof.counted(len(bits), "flipped bits of 50 rows" + NO_ROOM)


def test_flipped_bit_makes_no_room_for_a_clock_that_steps_back(case: Case, proof: Proof) -> None:
    flips = range(0, len(case.good), proof.size(11, 1))
    with case.ledger.open("r+b", buffering=0) as file:
        for byte in flips:
            os.pwrite(file.fileno(), bytes([case.good[byte] ^ 1]), byte)
            assert case.refuses(CLOCKS["ten days back"]), f"byte {byte}"
            os.pwrite(file.fileno(), case.good[byte : byte + 1], byte)
    proof.counted(len(flips), OTHERS + NO_ROOM)


def test_truncation_at_any_byte_makes_no_room(case: Case, proof: Proof) -> None:
    for size in range(len(case.good) - 1, -1, -1):
        os.truncate(case.ledger, size)
        assert case.refuses(), f"{size} bytes"
    proof.counted(len(case.good), "truncations of 50 rows" + NO_ROOM)


def dropped(rows: list[bytes], row: int) -> list[bytes]:
    return rows[:row] + rows[row + 1 :]


def duplicated(rows: list[bytes], row: int) -> list[bytes]:
    return [*rows[: row + 1], *rows[row:]]


def swapped(rows: list[bytes], row: int) -> list[bytes]:
    other = (row + 7) % len(rows)
    rows[row], rows[other] = rows[other], rows[row]
    return rows


def replaced_by_a_free_call(rows: list[bytes], row: int) -> list[bytes]:
    """A row of the same length that costs nothing."""
    rows[row] = rows[row].replace(b'"cost_usd":0.', b'"cost_usd":0e')
    return rows


@pytest.mark.parametrize("now", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("damage", [dropped, duplicated, swapped, replaced_by_a_free_call])
def test_row_that_is_dropped_doubled_moved_or_changed_makes_no_room(
    damage: Callable[[list[bytes], int], list[bytes]], now: datetime, case: Case, proof: Proof
) -> None:
    for row in range(ROWS):
        lines = damage(list(case.rows), row)
        assert lines != case.rows
        case.ledger.write_bytes(b"".join(lines))
        assert case.refuses(now), f"row {row + 1}"
    proof.counted(ROWS, OTHERS + NO_ROOM)


@pytest.mark.parametrize("now", CLOCKS.values(), ids=CLOCKS)
def test_older_copy_makes_no_room_even_once_it_has_grown_again(
    now: datetime, case: Case, proof: Proof
) -> None:
    tails = (b"", FREE, FREE * ROWS, FREE * 2 * ROWS)
    for kept in range(ROWS):
        for tail in tails:
            case.ledger.write_bytes(b"".join(case.rows[:kept]) + tail)
            assert case.refuses(now), f"{kept} rows and {len(tail)} bytes"
    proof.counted(ROWS * len(tails), OTHERS + NO_ROOM)


def delete(path: Path) -> None:
    path.unlink()


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def zero_fill(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def fill_with_newlines(path: Path) -> None:
    path.write_bytes(b"\n" * path.stat().st_size)


@pytest.mark.parametrize("damage", [delete, put_a_folder, link_to_nothing, zero_fill, fill_with_newlines])
@pytest.mark.parametrize("now", CLOCKS.values(), ids=CLOCKS)
def test_ledger_that_is_gone_or_another_thing_makes_no_room(
    damage: Callable[[Path], None], now: datetime, case: Case, proof: Proof
) -> None:
    damage(case.ledger)
    assert case.refuses(now)
    proof.counted(1, OTHERS + NO_ROOM)


class Damage(NamedTuple):
    """What the ledger is replaced by, and what a charge says about it."""

    ledger: Callable[[Case], bytes | None]
    says: str


OTHER = "not the one of"
CHARGED = {
    "deleted": Damage(lambda _: None, "shorter"),
    "emptied": Damage(lambda _: b"", "shorter"),
    "an older copy": Damage(lambda case: b"".join(case.rows[:20]), "shorter"),
    "a row dropped": Damage(lambda case: b"".join(dropped(case.rows, 30)), OTHER),
    "cut in a row": Damage(lambda case: case.good[:-70], OTHER),
    "a row doubled": Damage(lambda case: b"".join(duplicated(case.rows, 9)), OTHER),
    "a bit flipped": Damage(lambda case: case.good[:-9] + b"X" + case.good[-8:], OTHER),
}


@pytest.mark.parametrize("damage", CHARGED.values(), ids=CHARGED)
def test_charge_on_a_damaged_ledger_records_says_so_and_forgets_nothing(
    damage: Damage, case: Case, cli: Cli
) -> None:
    before = damage.ledger(case)
    case.ledger.unlink()
    if before is not None:
        case.ledger.write_bytes(before)
    assert cli("check", "hermes", "--estimate", "0.01").returncode == 65
    done = cli("charge", "hermes", "--cost", "0.01", "--model", "m", "--request-id", "after the damage")
    assert done.returncode == 0
    assert damage.says in done.stderr
    after = case.ledger.read_bytes()
    assert after.startswith(before or b"")
    assert after.endswith(b'"request_id":"after the damage"}\n')
    assert case.checkpoint.read_bytes() == case.mark
    assert case.refuses()
    case.ledger.write_bytes(after + FREE * 2 * ROWS)
    assert case.refuses(), "a ledger that outgrew its checkpoint was believed"
    assert cli("check", "hermes", "--estimate", "0.01").returncode == 65
