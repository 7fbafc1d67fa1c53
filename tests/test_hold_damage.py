"""Holds survive what the ledger survives: open holds under a hard cap, their journal changed in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.clock import utc_now
from hal0_budget.stores.files.audit import audit
from tests.conftest import Clock, Proof

pytestmark = pytest.mark.promise(16)

LEDGER, HOLDS = "spend.jsonl", "spend.holds"
LEFT = Decimal("0.10")
TOO_MUCH = LEFT + Decimal("0.01")
MINUTE, DAY = timedelta(minutes=1), timedelta(hours=24)
NO_ROOM = ", none of which made room for a call"

# The contents of a folder by file name, and a change of one of them: None removes the file.
Files = dict[str, bytes]
Change = tuple[str, bytes | None]


def files_of(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def lay(folder: Path, files: Files) -> None:
    """Make the folder hold these files and no others."""
    before = files_of(folder)
    for name in before.keys() - files.keys():
        (folder / name).unlink()
    for name, data in files.items():
        if before.get(name) != data:
            (folder / name).write_bytes(data)


def changed(files: Files, *changes: Change) -> Files:
    found = {**files, **dict(changes)}
    return {name: data for name, data in found.items() if data is not None}


def refused(account: Account, usd: Decimal) -> bool:
    """Whether `check` blocks a call, or says that it cannot tell."""
    try:
        return account.check(usd).verdict.level == "block"
    except BudgetError as error:
        return error.exit_code == 65


def tell_story(
    home: Home, persona: str, *, with_ledger: bool, share: Decimal = Decimal(1)
) -> Iterator[Clock]:
    """Make holds that are settled, booked, released and given back, and two that stay open; step by step."""
    clock = Clock()
    clock.now = utc_now() - 5 * MINUTE
    account = Account(home, persona, clock=clock)

    def reserve(hold_id: str, usd: str, ttl: timedelta = DAY, **options: object) -> Clock:
        hold = account.reserve(Decimal(usd) * share, hold_id=hold_id, ttl=ttl, **options).hold  # type: ignore[arg-type]
        assert hold is not None
        return clock

    def charge(usd: str, request_id: str, hold_id: str | None = None) -> Clock:
        account.charge(Decimal(usd) * share, model="m", request_id=request_id, hold_id=hold_id)
        return clock

    if with_ledger:
        yield charge("0.20", "first")
        yield reserve("settled", "1.00")
        yield charge("0.50", "settles", "settled")
        yield reserve("booked", "0.25", MINUTE)
    yield reserve("released", "1.00")
    account.release("released")
    yield clock
    yield reserve("given-back", "1.00", MINUTE, on_expiry="release")
    clock.now += 2 * MINUTE
    yield reserve("open-1", "2.00")
    if with_ledger:
        yield charge("0.30", "last")
    yield reserve("open-2", "0.75")


class Case:
    """A persona with $0.10 left of its cap: its folder now, and at each earlier moment."""

    def __init__(self, home: Home, *, with_ledger: bool) -> None:
        self.home, self.folder = home, home.spend_dir("hermes")
        spent, held = Decimal("1.25") if with_ledger else Decimal(0), Decimal("2.75")
        Account(home, "hermes").set_budget({"lifetime_usd": spent + held + LEFT})
        self.moments: list[Files] = []
        for clock in tell_story(home, "hermes", with_ledger=with_ledger):
            self.moments.append(files_of(self.folder))
            self.now = clock.now
        # Accounts that hold less: another persona, and the same persona of another agent.
        other = home._replace(agent="other")
        init(other)
        self.foreign: dict[str, Files] = {}
        for name, (owner, persona) in {"persona": (home, "coder"), "agent": (other, "hermes")}.items():
            for _ in tell_story(owner, persona, with_ledger=with_ledger, share=Decimal("0.01")):
                pass
            self.foreign[f"of another {name}"] = files_of(owner.spend_dir(persona))
        # It has seen the files before they change.
        self.watcher = self.account()
        assert self.judges_as_before()
        self.good = files_of(self.folder)

    def account(self, later: timedelta = timedelta(0)) -> Account:
        return Account(self.home, "hermes", clock=lambda: self.now + later)

    def refuses(self) -> bool:
        """Whether one who looked before, one who looks now and the next all refuse what does not fit."""
        return all(refused(account, TOO_MUCH) for account in (self.watcher, self.account(), self.account()))

    def judges_as_before(self) -> bool:
        """Whether what fits exactly is allowed, and nothing more."""
        accounts = (self.watcher, self.account())
        return self.refuses() and all(account.check(LEFT).verdict.level == "allow" for account in accounts)

    def is_named(self) -> bool:
        """Whether `verify` names the journal of holds as damaged."""
        found = audit(self.home, "hermes", self.now).findings
        return any(one.severity == "damage" and one.path.endswith(HOLDS) for one in found)

    def put(self, *changes: Change) -> None:
        """Lay the folder as it was, but for these changes."""
        lay(self.folder, changed(self.good, *changes))

    def replacements(self, name: str) -> dict[str, bytes | None]:
        """What a file may be replaced by: nothing, an empty file, each older copy, another account's."""
        found: dict[str, bytes | None] = {"removed": None, "emptied": b""}
        for number, files in enumerate(self.moments, 1):
            if name in files and files[name] not in (*found.values(), self.good[name]):
                found[f"older, of moment {number}"] = files[name]
        found |= {label: files[name] for label, files in self.foreign.items() if name in files}
        return found


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
