"""The journal of holds: what its fast reader takes, the strict one reads alike."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hal0_budget.store import holds
from hal0_budget.store.holds import Closing, Hold, Holds, HoldsDamaged
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
) | st.builds(Closing, names, st.sampled_from(["settled", "released", "expired"]), st.none() | names)


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Lines of a journal, some of them damaged in a place."""
    lines = b"".join(entry.line() for entry in draw(st.lists(entries, min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 2))):
        at, bits = (
            draw(st.integers(0, len(lines))),
            st.sampled_from([b"9", b"-", b'"', b"\n", b"}", b"e", b"\xb2"]),
        )
        lines = lines[:at] + draw(bits) + lines[at + draw(st.integers(0, 1)) :]
    return lines[: lines.rfind(b"\n") + 1]


@settings(max_examples=400, deadline=None)
@given(blocks())
@example(Hold("h", Decimal(1), NOON, NOON, "book", "s", "m").line().replace(b'"usd":1', b'"usd":01'))
@example(b'{"closed":"","how":"settled","request_id":null}\n')
@example(Hold("h", Decimal(1), NOON, NOON, "book", "s", "m").line().replace(b"2026-05-29", b"2026-13-29"))
def test_what_the_fast_reader_takes_the_strict_one_reads_alike(block: bytes) -> None:
    assert read(block, many=0) == read(block, many=len(block))


def read(block: bytes, *, many: int) -> object:
    """A journal of that block, each block longer than `many` bytes read fast: all that it says, or what
    is wrong with it.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(holds, "_MANY", many)
        path = Path(folder) / "spend.holds"
        path.write_bytes(block)
        journal = Holds(path)
        try:
            journal.read()
        except HoldsDamaged as error:
            return str(error)
        all_open = journal.open()
        assert [journal.find(hold.hold_id) for hold in all_open] == all_open
        ends = [len(journal.expired(time)) for time in sorted(hold.expires for hold in all_open)]
        return all_open, list(journal.closed.items()), journal.total, ends


def test_what_this_program_writes_takes_the_fast_path() -> None:
    hold = Hold(
        "hold_1", Decimal("0.05"), NOON, NOON + timedelta(hours=1), "release", "openrouter", "openai/gpt-5"
    )
    written: list[Hold | Closing] = [
        hold,
        Closing("hold_1", "settled", "gen-1"),
        Closing("hold_2", "expired"),
    ]
    block = b"".join(entry.line() for entry in written)
    fast = holds._plain_lines(block)
    assert fast is not None
    assert "".join(f"{line[0]}\n" for line in fast).encode() == block


def test_damaged_line_among_many_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "spend.holds"
    lines = [Hold(f"h{n}", Decimal("0.01"), NOON, NOON, "book", "s", "m").line() for n in range(50)]
    path.write_bytes(b"".join(lines))
    sound = Holds(path)
    sound.read()
    assert (len(sound.open()), sound.total) == (50, Decimal("0.50"))
    lines[30] = lines[30].replace(b"0.01", b"")
    path.write_bytes(b"".join(lines))
    with pytest.raises(HoldsDamaged, match="line 31 is unreadable"):
        Holds(path).read()
