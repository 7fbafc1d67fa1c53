"""The fast readers take only lines that the strict parser takes, on every version of Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget.model.records import Row
from hal0_budget.stores.files import row_format as rows_module
from hal0_budget.stores.files.row_format import is_hour, parse_row, plain_costs, plain_facts, plain_rows
from hal0_budget.strict_json import Unreadable
from tests.conftest import SAMPLES

SIX_KEYS = (
    '{"ts":"2026-05-29T12:30:00.000000+00:00","persona_id":"hermes","surface":"cli","model":"m"'
    ',"cost_usd":12.25,"request_id":"r"}'
)
EXPONENT = SIX_KEYS.replace("12.25", "1.5e-07").replace(".000000+00:00", "Z")
WHOLE_DOLLARS = SIX_KEYS.replace("12.25", "5")
ALL_KEYS = (
    SIX_KEYS[:-1] + ',"cost_source":"priced","hold_id":"h1","price":"p","input_tokens":70'
    ',"cache_read_tokens":0,"cache_write_tokens":5,"output_tokens":12}'
)
SOME_KEYS = SIX_KEYS[:-1] + ',"hold_id":"h1","output_tokens":12}'
ROWS = [SIX_KEYS, EXPONENT, WHOLE_DOLLARS, ALL_KEYS, SOME_KEYS]

# What stands where it does not belong: characters with a meaning in JSON, in numbers and in times.
PIECES = [*'.eE-+0159,:"{}[]\\TZx \t\r\x00\x7f\n\xe9', "e-", ".5", '","', "\u0661", ',"hold_id":"h"']

# What each reader gives for a row as the strict parser reads it.
Reader = Callable[[str], list[tuple[str, ...]]]
READERS: dict[Reader, Callable[[Row], tuple[object, ...]]] = {
    plain_costs: lambda row: (_hour(row), row.cost_usd),
    plain_rows: lambda row: (
        _hour(row), row.cost_usd, row.request_id, row.cost_source or "", row.hold_id or "",
    ),
    plain_facts: lambda row: (
        row.ts.isoformat()[:19], row.surface, row.model, row.cost_usd, row.cost_source or "",
        *(_shown(count) for count in (
            row.input_tokens, row.cache_read_tokens, row.cache_write_tokens, row.output_tokens,
        )),
    ),
}  # fmt: skip
COST_AT: dict[Reader, int] = {plain_costs: 1, plain_rows: 1, plain_facts: 3}


def _hour(row: Row) -> str:
    return row.ts.isoformat()[:13]


def _shown(count: int | None) -> str:
    return "" if count is None else str(count)


def strictly_read(text: str) -> list[Row]:
    found = []
    for line in text.encode("latin-1").split(b"\n"):
        try:
            found.append(parse_row(line))
        except Unreadable:
            continue
    return found


def check_against_the_strict_parser(text: str) -> None:
    strict = strictly_read(text)
    for reader, expected in READERS.items():
        allowed = [expected(row) for row in strict]
        at = COST_AT[reader]
        for found in reader(text):
            if is_hour(found[0][:13]):
                taken = (*found[:at], Decimal(found[at]), *found[at + 1 :])
                assert taken in allowed, (reader.__name__, text)


def near_rows(row: str) -> Iterator[str]:
    """The row cut at each byte, without each byte, and with each piece before and over each byte."""
    for at in range(len(row) + 1):
        yield row[:at]
        yield row[:at] + row[at + 1 :]
        for piece in PIECES:
            yield row[:at] + piece + row[at:]
            yield row[:at] + piece + row[at + 1 :]


@pytest.mark.parametrize("row", ROWS, ids=["six", "exponent", "whole", "all", "some"])
def test_no_fast_reader_takes_a_near_row_that_the_strict_parser_refuses(row: str) -> None:
    for near in near_rows(row):
        text = near.encode().decode("latin-1") + "\n"
        if any(reader(text) for reader in READERS):
            check_against_the_strict_parser(text)


# Ends of a cost and of a key that versions of Python before 3.11.5 took for whole ones.
HALVES = [
    *(SIX_KEYS.replace("12.25", cost) for cost in ("5.", "12.", "0.", "5e-", "5.5e-", "5.e-7", "5e", "05")),
    *(SIX_KEYS.replace(".000000+", part) for part in (".+", ".00000+", ".0000000+")),
    *(SIX_KEYS[:-1] + more for more in (',"cost_source":"}', ',"cost_source":"a}', ',"hold_id":"}')),
    *(SIX_KEYS[:-1] + more for more in (',"price":"}', ',"input_tokens":}', ',"output_tokens":}')),
    *(SIX_KEYS[:-1] + more for more in (',"input_tokens":01}', ',"output_tokens":-1}', ",}")),
]  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
def test_half_a_part_of_a_row_is_no_part(half: str) -> None:
    assert [reader(half + "\n") for reader in READERS] == [[], [], []]


@pytest.mark.parametrize("row", [ALL_KEYS, SOME_KEYS, *ROWS])
def test_whole_rows_are_taken_by_the_readers_that_know_their_keys(row: str) -> None:
    assert len(plain_rows(row + "\n")) == len(plain_facts(row + "\n")) == 1
    assert len(plain_costs(row + "\n")) == (row.count('":') == 6)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_rows_with_many_faults_are_read_alike(data: st.DataObject) -> None:
    lines = []
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.sampled_from(ROWS))
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, len(line)))
            width = data.draw(st.integers(0, 12))
            line = line[:at] + data.draw(st.sampled_from(["", *PIECES])) + line[at + width :]
        lines.append(line)
    check_against_the_strict_parser("\n".join(lines).encode().decode("latin-1") + "\n")


def test_hal0s_own_rows_are_all_read_alike() -> None:
    text = (SAMPLES / "ledgers" / "hal0.jsonl").read_text()
    assert len(plain_costs(text)) == len(plain_facts(text)) == len(strictly_read(text))
    check_against_the_strict_parser(text)


@pytest.mark.parametrize("source", [Path(rows_module.__file__)], ids=lambda path: path.name)
def test_no_pattern_repeats_a_group_possessively(source: Path) -> None:
    assert not re.findall(r"\)(?:[?*+]|\{[^}]*\}+)\+", source.read_text())
