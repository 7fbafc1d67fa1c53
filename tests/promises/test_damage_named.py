"""Every change of a ledger is named: 50 rows under a hard cap, damaged in every way, then verified."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from hal0_budget.stores.files.audit import audit
from hal0_budget.stores.files.row_format import is_blank, parse_row
from hal0_budget.strict_json import Unreadable
from tests.conftest import NOON, Cli, Proof, forget_marks

pytestmark = pytest.mark.promise(3)

ROWS = 50
NAMED = "other changes of them, each named by verify"


@pytest.fixture
def lines(account: Account, ledger: Path) -> list[bytes]:
    """The lines of a ledger of 50 charges under a hard cap, its checkpoint in place."""
    account.set_budget({"lifetime_usd": Decimal(100)})
    for number in range(ROWS):
        # With one bit flipped, J and * end a line.
        account.charge(Decimal(number) / 100, model=f"J*-{number}", request_id=f"r{number}")
    return ledger.read_bytes().splitlines(keepends=True)


def named(home: Home) -> list[tuple[str, int | None]]:
    """Severity and line of everything that an audit finds."""
    return [(found.severity, found.line) for found in audit(home, "hermes", NOON).findings]


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is another; at the end it is what it was."""
    with path.open("r+b", buffering=0) as file:
        (good,) = os.pread(file.fileno(), 1, bit // 8)
        os.pwrite(file.fileno(), bytes([good ^ 1 << bit % 8]), bit // 8)
        yield
        os.pwrite(file.fileno(), bytes([good]), bit // 8)


def test_every_flipped_bit_is_named_by_its_line(
    home: Home, ledger: Path, lines: list[bytes], proof: Proof
) -> None:
    whole = b"".join(lines)
    bits = range(0, len(whole) * 8, proof.size(97, 1))
    for bit in bits:
        with flipped(ledger, bit):
            found = named(home)
        assert "damage" in [severity for severity, _ in found], bit
        # Without its newline the last line is none; that it is gone is said of the whole ledger.
        line = whole.count(b"\n", 0, bit // 8) + 1 if bit < (len(whole) - 1) * 8 else None
        assert line in [line for _, line in found], bit
    proof.counted(len(bits), "flipped bits of 50 rows, each named by verify with its line")


def test_every_flipped_bit_that_leaves_no_row_is_named_without_a_checkpoint(
    home: Home, ledger: Path, lines: list[bytes], proof: Proof
) -> None:
    forget_marks(ledger)
    whole = b"".join(lines)
    bits = range(0, len(whole) * 8, proof.size(97, 1))
    unreadable = 0
    for bit in bits:
        with flipped(ledger, bit):
            found = [line for severity, line in named(home) if severity == "damage"]
            lines = ledger.read_bytes().split(b"\n")[:-1]
        assert found == [number for number, line in enumerate(lines, 1) if not is_own_row(line)], bit
        unreadable += bool(found)
    assert unreadable > len(bits) / 2
    proof.counted(unreadable, "flipped bits that left a line unreadable, each named without a checkpoint")


def is_own_row(line: bytes) -> bool:
    try:
        return is_blank(line) or parse_row(line).persona_id == "hermes"
    except Unreadable:
        return False


@pytest.mark.parametrize("change", ["drop", "duplicate", "swap"])
def test_every_moved_line_is_named(
    home: Home, ledger: Path, lines: list[bytes], change: str, proof: Proof
) -> None:
    numbers = sorted({0, 1, ROWS - 2, ROWS - 1, *range(0, ROWS, proof.size(24, 1))})
    for number in numbers:
        changed = list(lines)
        match change:
            case "drop":
                del changed[number]
            case "duplicate":
                changed.insert(number, changed[number])
            case "swap":
                other = number - 1 if number else 1
                changed[number], changed[other] = changed[other], changed[number]
        ledger.write_bytes(b"".join(changed))
        # A copy of the last row is what hal0 leaves when it records a call twice: not damage, but named.
        severities = {"damage", "notice"} if (change, number) == ("duplicate", ROWS - 1) else {"damage"}
        found = [line for severity, line in named(home) if severity in severities]
        assert found, number
        if change != "drop" or number != ROWS - 1:
            assert any(line is not None and abs(line - number - 1) <= 1 for line in found), number
    proof.counted(len(numbers), NAMED)


def test_every_truncation_is_named(home: Home, ledger: Path, lines: list[bytes], proof: Proof) -> None:
    whole = b"".join(lines)
    sizes = range(0, len(whole), proof.size(97, 1))
    for size in sizes:
        ledger.write_bytes(whole[:size])
        assert ("damage", None) in named(home), size
    proof.counted(len(sizes), "truncations of 50 rows, each named by verify")


def grown_again(copy: bytes, lines: list[bytes]) -> bytes:
    """An older copy that hal0 appended to: as many rows as there were, and more."""
    free = b"".join(line.replace(b'"r', b'"s') for line in lines)
    return copy + free


@pytest.mark.parametrize("after", [lambda copy, _: copy, grown_again], ids=["as it was", "grown again"])
def test_every_older_copy_is_named(
    home: Home,
    ledger: Path,
    lines: list[bytes],
    after: Callable[[bytes, list[bytes]], bytes],
    proof: Proof,
) -> None:
    copies = range(0, ROWS, proof.size(7, 1))
    for kept in copies:
        ledger.write_bytes(after(b"".join(lines[:kept]), lines))
        assert "damage" in [severity for severity, _ in named(home)], kept
    proof.counted(len(copies), NAMED)


def test_ledger_that_is_gone_is_named(home: Home, ledger: Path, lines: list[bytes], proof: Proof) -> None:
    assert lines
    ledger.unlink()
    assert named(home) == [("damage", None)]
    proof.counted(1, NAMED)


def test_command_names_the_line_of_a_flipped_bit_and_the_gate_makes_no_room(
    cli: Cli, ledger: Path, lines: list[bytes], proof: Proof
) -> None:
    whole = b"".join(lines)
    bits = range(300, (len(whole) - len(lines[-1])) * 8, proof.size(32_001, 1201))
    for bit in bits:
        with flipped(ledger, bit):
            assert cli("check", "hermes", "--estimate", "87.76").returncode in {20, 65}, bit
            done = cli("verify", "hermes")
        assert done.returncode == 65, bit
        line = whole.count(b"\n", 0, bit // 8) + 1
        assert f"line {line} (byte" in done.stdout, bit
    proof.counted(len(bits), "flipped bits with the installed commands, check and verify")
