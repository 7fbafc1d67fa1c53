"""The journal of holds: what its fast reader takes, the strict one reads alike."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hal0_budget.model.records import Closing, Hold
from hal0_budget.stores.files import hold_state
from hal0_budget.stores.files.hold_format import Header, chained, plain_lines
from hal0_budget.stores.files.holds import Holds
from tests.conftest import NOON

names = st.text(st.sampled_from('ab1 _-"\\é\n'), min_size=1, max_size=6)
entries = st.builds(
    Hold,
    names,
    st.decimals(0, 1000, places=6),
    st.timedeltas(timedelta(days=-2000), timedelta(days=2000)).map(NOON.__add__),
    st.just(NOON + timedelta(minutes=15)),
    st.sampled_from(["book", "release"]),
    names,
    names,
    st.integers(0, 2**40),
) | st.builds(Closing, names, st.sampled_from(["settled", "released", "expired"]), st.none() | names)


def journal(*entries: Hold | Closing) -> bytes:
    """A whole journal of the persona `hermes`."""
    return chained((Header("0a1b", "hermes", 1), *entries), 0)


def one(**changes: object) -> Hold:
    """A hold like any other, but for `changes`."""
    return Hold("h", Decimal(1), NOON, NOON, "book", "s", "m")._replace(**changes)  # type: ignore[arg-type]


def path_in(folder: Path) -> Path:
    """Where the journal of the persona `hermes` is below `folder`."""
    path = folder / "hermes" / "spend.holds"
    path.parent.mkdir()
    return path


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Lines of a journal, some of them damaged in a place."""
    lines = journal(*draw(st.lists(entries, min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 2))):
        at, bits = (
            draw(st.integers(0, len(lines))),
            st.sampled_from([b"9", b"-", b'"', b"\n", b"}", b"e", b"\xb2"]),
        )
        lines = lines[:at] + draw(bits) + lines[at + draw(st.integers(0, 1)) :]
    return lines[: lines.rfind(b"\n") + 1]


@settings(max_examples=400, deadline=None)
@given(blocks())
@example(journal(one()).replace(b'"usd":1', b'"usd":01'))
@example(journal(Closing("", "settled")))
@example(journal(one()).replace(b"2026-05-29", b"2026-13-29"))
@example(journal(one(), one()).replace(b'"usd":1', b'"usd":2', 1))
def test_what_the_fast_reader_takes_the_strict_one_reads_alike(block: bytes) -> None:
    assert read(block, many=0) == read(block, many=len(block))


def read(block: bytes, *, many: int) -> object:
    """A journal of that block, each block longer than `many` bytes read fast: all that it says, or what
    is wrong with it.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(hold_state, "_MANY", many)
        path = path_in(Path(folder))
        path.write_bytes(block)
        journal = Holds(path)
        journal.read()
        all_open = journal.open()
        assert [journal.find(hold.hold_id) for hold in all_open] == all_open
        ends = [len(journal.expired(time)) for time in sorted(hold.expires for hold in all_open)]
        return (
            journal.damage,
            all_open,
            list(journal.closed.items()),
            journal.total,
            journal.ledger_size(),
            ends,
            journal.mark()._replace(held=""),
        )


def test_what_this_program_writes_takes_the_fast_path() -> None:
    hold = Hold(
        "hold_1", Decimal("0.05"), NOON, NOON + timedelta(hours=1), "release", "openrouter", "openai/gpt-5"
    )
    written: list[Hold | Closing] = [
        hold,
        Closing("hold_1", "settled", "gen-1"),
        Closing("hold_2", "expired"),
    ]
    block = chained(tuple(written), 7)
    fast = plain_lines(block)
    assert fast is not None
    assert "".join(f'{line[0]},"crc32":"{line[9]}"}}\n' for line in fast).encode() == block


def test_damaged_line_among_many_is_named_by_its_number(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    lines = lines_of(0, 50).splitlines(keepends=True)
    path.write_bytes(b"".join(lines))
    sound = Holds(path)
    sound.read()
    assert (len(sound.open()), sound.total) == (50, Decimal("0.50"))
    assert sound.damage is None
    lines[30] = lines[30].replace(b"0.01", b"")
    path.write_bytes(b"".join(lines))
    damaged = Holds(path)
    damaged.read()
    assert "line 31 is unreadable" in str(damaged.damage)
    assert len(damaged.open()) == 49


def lines_of(first: int, count: int, *closings: Closing) -> bytes:
    """A journal that opens `count` holds, then has `closings`."""
    return journal(
        *(one(hold_id=f"h{n}", usd=Decimal("0.01")) for n in range(first, first + count)), *closings
    )


def test_journal_that_was_shortened_and_grew_again_in_the_same_place_is_read_afresh(tmp_path: Path) -> None:
    """A file system gives the number of a file that is gone to the next."""
    path = path_in(tmp_path)
    path.write_bytes(lines_of(1000, 20))
    journal = Holds(path)
    journal.read()
    number = path.stat().st_ino
    path.write_bytes(lines_of(2000, 30).replace(b'"generation":1', b'"generation":2'))
    assert path.stat().st_ino == number
    journal.read()
    assert [hold.hold_id for hold in journal.open()] == [f"h{n}" for n in range(2000, 2030)]
    assert journal.total == Decimal("0.30")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, RecursionError])
def test_reading_that_was_interrupted_knows_nothing_and_is_repeated(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_in(tmp_path)
    path.write_bytes(lines_of(0, 50))
    journal = Holds(path)

    def fail(_: object) -> Decimal:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(hold_state, "total", fail)
        with pytest.raises(error):
            journal.read()
    journal.read()
    assert (len(journal.open()), journal.total) == (50, Decimal("0.50"))


def test_damaged_journal_is_not_shortened_and_its_line_keeps_its_number(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.write_bytes(lines_of(0, 601, *(Closing(f"h{n}", "settled") for n in range(600))))
    journal = Holds(path)
    journal.read()
    whole = path.read_bytes() + b"garbage\n"
    path.write_bytes(whole)
    for _ in range(6):
        journal.read()
        assert "line 1203 is unreadable" in str(journal.damage)
    journal.append(Closing("h600", "settled"))
    after = path.read_bytes()
    assert after.startswith(whole)
    assert after.count(b"\n") == 1204
    assert journal.open() == []
    assert "line 1203 is unreadable" in str(journal.damage)


def test_long_journal_is_shortened_to_what_is_open_and_the_newest_ends(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.write_bytes(lines_of(0, 601, *(Closing(f"h{n}", "settled") for n in range(599))))
    journal, reader = Holds(path), Holds(path)
    journal.read()
    reader.read()
    journal.append(Closing("h599", "settled"))
    assert path.read_bytes().count(b"\n") == 102
    assert journal.mark().generation == 2
    for one in (journal, reader, Holds(path)):
        one.read()
        assert ([hold.hold_id for hold in one.open()], one.total) == (["h600"], Decimal("0.01"))
        assert list(one.closed)[-100:] == [f"h{n}" for n in range(500, 600)]


GOOD = chained((one(),), 0)
HOSTILE = {
    "an amount as text": GOOD.replace(b":1,", b':"1",'),
    "no amount": GOOD.replace(b":1,", b":null,"),
    "an amount that is true": GOOD.replace(b":1,", b":true,"),
    "an id that is an object": GOOD.replace(b'"h"', b"{}"),
    "a model that is a list": GOOD.replace(b'"m"', b"[]"),
    "another way to expire": GOOD.replace(b"book", b"burn"),
    "a resolution of a list": b'{"closed":[],"how":"settled","request_id":null}\n',
    "a resolution by an object": b'{"closed":"h","how":{},"request_id":null}\n',
    "a resolution by a number": b'{"closed":"h","how":"settled","request_id":1}\n',
    "a later version": b'{"journal":"0a","persona_id":"hermes","generation":2,"version":3}\n',
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("many", [0, 100_000], ids=["fast", "strict"])
def test_hostile_line_is_damage_that_is_named(
    line: bytes, many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_state, "_MANY", many)
    path = path_in(tmp_path)
    path.write_bytes(journal(one(hold_id="g")) + line)
    damaged = Holds(path)
    damaged.read()
    assert "line 3 is unreadable" in str(damaged.damage)
    assert [hold.hold_id for hold in damaged.open()] == ["g"]
