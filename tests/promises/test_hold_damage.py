"""Holds survive what the ledger survives: open holds under a hard cap, their journal changed in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hal0_budget import Home
from tests.conftest import Proof
from tests.support.hold_files import (
    HOLDS,
    LEDGER,
    LEFT,
    Case,
    Change,
)

pytestmark = pytest.mark.promise(16)

NO_ROOM = ", none of which made room for a call"


@pytest.fixture(params=[True, False], ids=["with a ledger", "without a ledger"])
def case(request: pytest.FixtureRequest, home: Home) -> Case:
    return Case(home, with_ledger=request.param)


def test_flipped_bit_of_the_journal_makes_no_room_and_is_named(case: Case, proof: Proof) -> None:
    journal = case.good[HOLDS]
    bits = range(0, len(journal) * 8, proof.size(97, 1))
    for bit in bits:
        byte, mask = bit // 8, 1 << bit % 8
        case.put((HOLDS, journal[:byte] + bytes([journal[byte] ^ mask]) + journal[byte + 1 :]))
        assert case.refuses(), f"bit {bit}"
        assert case.is_named(), f"bit {bit}"
    proof.counted(len(bits), "flipped bits of a journal of holds" + NO_ROOM)


def test_cut_of_the_journal_at_any_byte_makes_no_room_and_is_named(case: Case, proof: Proof) -> None:
    journal = case.good[HOLDS]
    ends = [end + 1 for end, byte in enumerate(journal[:-1]) if byte == ord("\n")]
    near_ends = {size for end in ends for size in (end - 1, end, end + 1)}
    sizes = sorted({*range(0, len(journal) - 1, proof.size(67, 1)), *near_ends, len(journal) - 2})
    for size in sizes:
        case.put((HOLDS, journal[:size]))
        assert case.refuses(), f"{size} bytes"
        assert case.is_named(), f"{size} bytes"
    proof.counted(len(sizes), "cuts of a journal of holds" + NO_ROOM)


def test_journal_that_lacks_only_its_last_newline_counts_whole(case: Case) -> None:
    case.put((HOLDS, case.good[HOLDS][:-1]))
    assert case.judges_as_before()
    account = case.account()
    assert account.reserve(LEFT, hold_id="open-3").hold is not None
    assert [hold.hold_id for hold in case.account().holds()] == ["open-1", "open-2", "open-3"]
    assert not case.is_named()


def dropped(lines: list[bytes], at: int) -> list[bytes]:
    return lines[:at] + lines[at + 1 :]


def doubled(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[: at + 1], *lines[at:]]


def swapped(lines: list[bytes], at: int) -> list[bytes]:
    other = (at + 1) % len(lines)
    found = list(lines)
    found[at], found[other] = lines[other], lines[at]
    return found


@pytest.mark.parametrize("change", [dropped, doubled, swapped])
def test_line_that_is_dropped_doubled_or_moved_makes_no_room_and_is_named(
    change: Callable[[list[bytes], int], list[bytes]], case: Case, proof: Proof
) -> None:
    lines = case.good[HOLDS].splitlines(keepends=True)
    for at in range(len(lines)):
        case.put((HOLDS, b"".join(change(lines, at))))
        assert case.refuses(), f"line {at + 1}"
        assert case.is_named(), f"line {at + 1}"
    proof.counted(len(lines), "moved lines of a journal of holds" + NO_ROOM)


def test_digit_that_is_changed_makes_no_room_and_is_named(case: Case, proof: Proof) -> None:
    journal = case.good[HOLDS]
    digits = [at for at, byte in enumerate(journal) if chr(byte).isdigit()][:: proof.size(19, 1)]
    for at in digits:
        for digit in {b"0", b"%d" % ((journal[at] - ord("0") + 7) % 10)} - {journal[at : at + 1]}:
            case.put((HOLDS, journal[:at] + digit + journal[at + 1 :]))
            assert case.refuses(), f"byte {at}"
            assert case.is_named(), f"byte {at}"
    proof.counted(len(digits), "changed digits of a journal of holds" + NO_ROOM)


def test_journal_that_is_gone_empty_older_or_of_another_account_makes_no_room_and_is_named(
    case: Case, proof: Proof
) -> None:
    replacements = case.replacements(HOLDS)
    assert len(replacements) >= 8
    for label, journal in replacements.items():
        case.put((HOLDS, journal))
        assert case.refuses(), label
        assert case.is_named(), label
    proof.counted(len(replacements), "other journals of holds" + NO_ROOM)


def pairs_of(case: Case, file: str) -> Iterator[tuple[str, Change, Change]]:
    """Every change of a file with every change of another one, and what to call the two."""
    first = {**case.replacements(file), "cut": case.good[file][:-20]}
    for label, data in first.items():
        for other in sorted(case.good.keys() - {file}):
            for other_label, other_data in case.replacements(other).items():
                yield f"{file} {label}, {other} {other_label}", (file, data), (other, other_data)


def assert_pairs_make_no_room(case: Case, file: str, proof: Proof) -> None:
    pairs = [pair for pair in pairs_of(case, file) if "of another" in pair[0]]
    pairs += [pair for pair in pairs_of(case, file) if "of another" not in pair[0]][:: proof.size(3, 1)]
    for label, one, two in pairs:
        case.put(one, two)
        assert case.refuses(), label
    proof.counted(len(pairs), "changes of two files at once" + NO_ROOM)


def test_journal_and_another_file_that_are_changed_at_once_make_no_room(case: Case, proof: Proof) -> None:
    assert_pairs_make_no_room(case, HOLDS, proof)


def test_ledger_and_another_file_that_are_changed_at_once_make_no_room(home: Home, proof: Proof) -> None:
    assert_pairs_make_no_room(Case(home, with_ledger=True), LEDGER, proof)


def test_any_other_file_that_is_changed_makes_no_room(case: Case) -> None:
    for name in case.good.keys() - {HOLDS}:
        for label, data in case.replacements(name).items():
            case.put((name, data))
            assert case.refuses(), f"{name} {label}"


def test_derived_file_or_lock_that_is_gone_changes_no_verdict(case: Case) -> None:
    for name in case.good.keys() - {HOLDS, LEDGER}:
        case.put((name, None))
        assert case.judges_as_before(), name
        assert not case.is_named(), name
