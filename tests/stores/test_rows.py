"""A ledger line is a row in full or it is none; the fast reader never knows better than the strict."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hal0_budget import Account, BudgetError, Row
from hal0_budget.stores.files.row_format import is_hour, parse_row, plain_rows
from hal0_budget.stores.files.tally import Tally
from hal0_budget.strict_json import Unreadable
from tests.conftest import NOON, SAMPLES, Cli
from tests.support.rows import GOOD, UNREADABLE, nearly_rows, with_cost, with_ts


@pytest.mark.parametrize(("line", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_row_is_named_and_never_summed(line: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parse_row(line.encode())
    tally = Tally.starting("hermes", NOON)
    tally.take(f"{GOOD}\n{line}\n{GOOD}\n".encode())
    assert (tally.lifetime, tally.rows, tally.bad_count) == (Decimal("0.5"), 2, 1)
    assert tally.bad_lines[0].line == 2
    assert tally.bad_lines[0].byte == len(GOOD) + 1
    assert why in tally.bad_lines[0].why


@pytest.mark.parametrize("line", [b"\xff" + GOOD.encode(), GOOD.replace('"m"', '"\xe9"').encode("latin-1")])
def test_bytes_that_are_not_utf8_are_no_row(line: bytes) -> None:
    with pytest.raises(Unreadable, match="not UTF-8"):
        parse_row(line)


READABLE = {
    "an exponent as hal0 writes it": (with_cost("1.5e-07"), "12", "0.00000015"),
    "a capital exponent": (with_cost("25E-2"), "12", "0.25"),
    "a positive exponent": (with_cost("1e3"), "12", "1000"),
    "minus zero": (with_cost("-0.0"), "12", "0"),
    "the largest cost": (with_cost("1000000000"), "12", "1000000000"),
    "every digit of a double": (with_cost("0.30000000000000004"), "12", "0.30000000000000004"),
    "Z for the offset": (with_ts('"2026-05-29T12:30:00Z"'), "12", "0.25"),
    "another offset": (with_ts('"2026-05-29T12:30:00+02:00"'), "10", "0.25"),
    "keys of a newer hal0": (GOOD[:-1] + ',"hold_id":null,"tokens":{"in":[1,2]}}', "12", "0.25"),
    "a void": (with_cost("-0.25")[:-1] + ',"voids":"r0"}', "12", "-0.25"),
    "spaces, and a carriage return": (GOOD.replace(",", " , ") + "\r", "12", "0.25"),
    "raw UTF-8": (GOOD.replace('"m"', '"caf\u00e9 \U0001f600"'), "12", "0.25"),
    "half a surrogate pair": (GOOD.replace('"m"', '"\\ud83d"'), "12", "0.25"),
    "an empty model": (GOOD.replace('"m"', '""'), "12", "0.25"),
}


@pytest.mark.parametrize(("line", "hour", "cost"), READABLE.values(), ids=READABLE)
def test_what_other_writers_may_write_is_read_exactly(line: str, hour: str, cost: str) -> None:
    row = parse_row(line.encode())
    assert (row.ts.utcoffset(), row.ts.strftime("%H")) == (timedelta(0), hour)
    assert row.cost_usd == Decimal(cost)
    tally = Tally.starting("hermes", NOON)
    tally.take(f"{line}\n".encode())
    assert (tally.lifetime, tally.bad_count) == (Decimal(cost), 0)
    assert {key: Decimal(usd) for key, usd in tally.hours.items()} == {f"2026-05-29T{hour}": Decimal(cost)}


def test_all_of_hal0s_own_rows_take_the_fast_path() -> None:
    text = (SAMPLES / "ledgers" / "hal0.jsonl").read_text()
    assert len(plain_rows(text)) == text.count("\n") > 800


def test_row_with_all_that_a_reply_told_takes_the_fast_path_and_comes_back_whole() -> None:
    row = parse_row(GOOD.encode())._replace(
        cost_source="priced", hold_id="h1", price="input 3, output 15 USD/Mtok; genai-prices 0.2.3",
        input_tokens=0, cache_read_tokens=1920, cache_write_tokens=10, output_tokens=123456789,
    )  # fmt: skip
    assert parse_row(row.line()) == row
    assert [found[3:5] for found in plain_rows(row.line().decode())] == [("priced", "h1")]


@settings(max_examples=600, deadline=None)
@given(nearly_rows())
@example(with_ts('"2026-05-29T24:00:00Z"') + "\n")
@example(with_cost("0.25e-99") + "\n")
def test_what_the_fast_reader_takes_the_strict_one_reads_alike(text: str) -> None:
    lines = text.encode().decode("latin-1")
    taken = [(hour, cost) for hour, cost, *_ in plain_rows(lines) if is_hour(hour)]
    strict = []
    for line in text.encode().split(b"\n"):
        try:
            row = parse_row(line)
        except Unreadable:
            continue
        strict.append((row.ts.isoformat()[:13], row.cost_usd))
    for hour, cost in taken:
        assert (hour, Decimal(cost)) in strict
        strict.remove((hour, Decimal(cost)))


@settings(max_examples=150, deadline=None)
@given(st.lists(nearly_rows(), max_size=6))
def test_a_block_of_rows_adds_up_to_its_readable_lines(lines: list[str]) -> None:
    block = "".join(lines).encode()
    tally, expected = Tally.starting("hermes", NOON), Fraction(0)
    tally.take(block)
    for line in block.split(b"\n"):
        try:
            expected += Fraction(parse_row(line).cost_usd)
        except Unreadable:
            continue
    assert Fraction(tally.lifetime) == sum(map(Fraction, tally.days.values())) == expected
    assert (tally.size, tally.lines) == (len(block), block.count(b"\n"))


HOSTILE = {
    "newlines": 'a\nb\r\n{"cost_usd":-5}\n',
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "NUL and DEL": "a\0b\x7fc",
    "an escape sequence": "\x1b[2J\x9b1m",
    "bidi": "\u202egnp.exe\u2066\u200f",
    "quotes and backslashes": '\\"\\\\"},{\\u0022',
    "the mark of a tear": '"cost_usd":0,"torn":true}',
    "another cost": 'm","cost_usd":0,"request_id":"x"}',
    "emoji, to the longest": "\U0001f600" * 1024,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_one_row_and_comes_back_as_it_was(text: str, account: Account, ledger: Path) -> None:
    row = account.charge(Decimal("0.25"), model=text, surface=text, request_id=text).row
    data = ledger.read_bytes()
    assert data == row.line()
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert all(byte >= 0x20 for byte in data[:-1])
    assert parse_row(data) == row
    keys = ["ts", "persona_id", "surface", "model", "cost_usd", "request_id"]
    assert list(json.loads(data)) == keys
    assert json.loads(data)["model"] == text
    assert account.show().of("lifetime").spent == Decimal("0.25")


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.decimals(0, 10**9, places=9) | st.decimals(0, 1, places=340),
    st.datetimes(timezones=st.timezones()),
)
def test_every_row_comes_back_from_its_line(text: str, cost: Decimal, ts: datetime) -> None:
    try:
        ts = ts.astimezone(UTC)
    except OverflowError:
        ts = NOON
    row = Row(ts, "hermes", text, text, cost, text)
    assert parse_row(row.line()) == row


@pytest.mark.parametrize("part", ["model", "surface", "request_id"])
@pytest.mark.parametrize("text", ["\ud83d", "a\udcff", "", "x" * 1025], ids=["half", "byte", "none", "long"])
def test_text_that_no_row_can_hold_is_refused_and_nothing_is_written(
    part: str, text: str, account: Account, ledger: Path
) -> None:
    given = {"model": "m", "surface": "s", "request_id": "r", part: text}
    with pytest.raises(BudgetError) as caught:
        account.charge(Decimal(1), **given)
    assert (caught.value.code, caught.value.exit_code) == ("budget.invalid_charge", 64)
    assert not ledger.exists()


def test_bytes_on_the_command_line_that_are_not_utf8_are_refused(cli: Cli, ledger: Path) -> None:
    done = cli("charge", "hermes", "--cost", "1", "--model", "m\udcff", env={"LC_ALL": "C.UTF-8"})
    assert done.returncode == 64
    assert "not valid Unicode" in done.stderr
    assert not ledger.exists()
