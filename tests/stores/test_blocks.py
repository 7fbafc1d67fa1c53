"""Every reader of a ledger splits it into the same whole lines, wherever its blocks end."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Home, Row, report, simulate
from hal0_budget.errors import LedgerDamaged
from hal0_budget.stores.files import blocks as blocks_module
from hal0_budget.stores.files.blocks import (
    BLOCK,
    Blocks,
    LongLine,
    NotALedger,
    blocks_backwards,
    ended_blocks,
    numbered_lines,
)
from tests.conftest import NOON, Cli

SMALL = 8

LINES = st.lists(st.binary(max_size=SMALL - 1).filter(lambda line: b"\n" not in line), max_size=12)
RESTS = st.binary(max_size=SMALL - 1).filter(lambda rest: b"\n" not in rest)


@settings(deadline=None)
@given(LINES, RESTS)
@example([b"1234567", b"1234567"], b"1234567")
@example([b""] * 9, b"")
def test_blocks_hold_every_whole_line_once(lines: list[bytes], rest: bytes) -> None:
    text = b"".join(line + b"\n" for line in lines)
    with TemporaryFile() as file, mock.patch.object(blocks_module, "BLOCK", SMALL):
        file.write(text + rest)
        file.flush()
        forwards = Blocks(file.fileno())
        found = [*forwards]
        assert b"".join(found) == text
        assert all(block.endswith(b"\n") and len(block) <= SMALL for block in found)
        assert (forwards.rest, forwards.byte) == (rest, len(text))
        ended = b"".join(ended_blocks(file.fileno(), 0))
        assert ended == text + (rest + b"\n" if rest else b"")
        backwards = [*blocks_backwards(file.fileno(), len(text + rest))]
        assert b"".join(block for _, block in reversed(backwards)) == text + rest
        for byte, block in backwards:
            assert (text + rest)[byte:].startswith(block)
        numbered = [*numbered_lines(file.fileno())]
    assert [line for _, _, line, _ in numbered] == lines
    assert [number for number, *_ in numbered] == [*range(1, len(lines) + 1)]
    assert all(text[byte:].startswith(line + b"\n") for _, byte, line, _ in numbered)


@pytest.mark.parametrize("end", [b"\n", b""], ids=["with newline", "without newline"])
@pytest.mark.parametrize("before", [b"", b"a\n", b"a\nbc\n"])
def test_line_longer_than_a_block_is_refused_and_named(before: bytes, end: bytes) -> None:
    with TemporaryFile() as file, mock.patch.object(blocks_module, "BLOCK", SMALL):
        file.write(before + b"x" * 2 * SMALL + end)
        file.flush()
        with pytest.raises(LongLine, match=f"at byte {len(before)} is longer than {SMALL} bytes"):
            [*Blocks(file.fileno())]
        where = f"line {before.count(10) + 1} \\(byte {len(before)}\\)"
        with pytest.raises(LongLine, match=where):
            [*numbered_lines(file.fileno())]
        with pytest.raises(NotALedger, match="longer than"):
            [*blocks_backwards(file.fileno(), len(before) + 2 * SMALL + len(end))]


def test_blocks_read_on_in_a_file_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w+b", buffering=0) as file:
        file.write(b"a\nb")

        def lines() -> Iterator[bytes]:
            for block in Blocks(file.fileno()):
                yield block
                if block == b"a\n":
                    file.write(b"c\n")

        assert [*lines()] == [b"a\n", b"bc\n"]


def test_ledger_that_was_overwritten_by_one_long_line_is_refused(
    home: Home, account: Account, ledger: Path, cli: Cli
) -> None:
    """Long before what a checkpoint compares: the gate reads on behind it."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(Row(NOON, "hermes", "cli", "m", Decimal(1), "r").line() * 4000)
    account.show()
    with ledger.open("r+b") as file:
        file.write(b"\0" * (BLOCK + 1))
    with pytest.raises(LedgerDamaged, match=f"the line at byte 0 is longer than {BLOCK} bytes"):
        simulate(home, "hermes", {})
    failures = report(home, ["hermes"], clock=lambda: NOON).failures
    assert [failure.error.code for failure in failures] == ["ledger.damaged"]
    for command in ("simulate", "log", "verify"):
        every = ("-n", "all") if command == "log" else ()
        assert cli(command, "hermes", *every).returncode == 65
