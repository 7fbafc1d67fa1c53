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
from hal0_budget.stores.files.row_format import Unreadable, is_hour, parse_row, plain_rows
from hal0_budget.stores.files.tally import Tally
from tests.conftest import NOON, SAMPLES, Cli

GOOD = (
    '{"ts":"2026-05-29T12:30:00.000000+00:00","persona_id":"hermes","surface":"cli","model":"m"'
    ',"cost_usd":0.25,"request_id":"r"}'
)


def with_cost(text: str) -> str:
    """The good row with another text where its cost stands."""
    return GOOD.replace("0.25", text)


def with_ts(text: str) -> str:
    """The good row with another text where its time stands, quotes included."""
    return GOOD.replace('"2026-05-29T12:30:00.000000+00:00"', text)


UNREADABLE = {
    "no JSON": ("not json", "not JSON"),
    "half a row": (GOOD[:60], "not JSON"),
    "two rows glued": (GOOD + GOOD, "not JSON"),
    "a row glued to a tear": (GOOD[:60] + GOOD, "not JSON"),
    "trailing garbage": (GOOD + "x", "not JSON"),
    "a comment": (GOOD + " // paid", "not JSON"),
    "single quotes": (GOOD.replace('"', "'"), "not JSON"),
    "zero filled": ("\0" * 64, "not JSON"),
    "a byte order mark": ("\ufeff" + GOOD, "not JSON"),
    "a raw control character in a string": (GOOD.replace('"m"', '"\x01"'), "not JSON"),
    "nested too deep": ("[" * 100_000, "nested too deep"),
    "a list": (f"[{GOOD}]", "not an object"),
    "a string": ('"5"', "not an object"),
    "a number": ("5", "not an object"),
    "null": ("null", "not an object"),
    "no keys": ("{}", "no ts"),
    "no ts": (GOOD.replace('"ts"', '"at"'), "no ts"),
    "no persona_id": (GOOD.replace("persona_id", "persona"), "no persona_id"),
    "no surface": (GOOD.replace("surface", "service"), "no surface"),
    "no model": (GOOD.replace("model", "name"), "no model"),
    "no cost_usd": (GOOD.replace("cost_usd", "cost"), "no cost_usd"),
    "no request_id": (GOOD.replace("request_id", "id"), "no request_id"),
    "a persona that is no string": (GOOD.replace('"hermes"', "null"), "persona_id is not a string"),
    "a surface that is no string": (GOOD.replace('"cli"', "1"), "surface is not a string"),
    "a model that is no string": (GOOD.replace('"m"', '["m"]'), "model is not a string"),
    "a request id that is no string": (GOOD.replace('"r"', "7"), "request_id is not a string"),
    "a key twice": (GOOD.replace('"cost_usd":0.25', '"cost_usd":9,"cost_usd":0.25'), "stands twice"),
    "a key twice, spelt apart": (GOOD.replace('{"ts"', '{"t\\u0073":"x","ts"'), "stands twice"),
    "a key twice within": (GOOD[:-1] + ',"usage":{"in":1,"in":2}}', "stands twice"),
    "a time without offset": (with_ts('"2026-05-29T12:30:00"'), "not a time with an offset"),
    "a day": (with_ts('"2026-05-29"'), "not a time with an offset"),
    "an hour of 24": (with_ts('"2026-05-29T24:30:00Z"'), "not a time with an offset"),
    "a 30 February": (with_ts('"2026-02-30T00:00:00Z"'), "not a time with an offset"),
    "a year 0": (with_ts('"0000-01-01T00:00:00Z"'), "not a time with an offset"),
    "a time before the year 1": (with_ts('"0001-01-01T00:00:00+23:59"'), "not a time with an offset"),
    "a time after the year 9999": (with_ts('"9999-12-31T23:59:59-23:59"'), "not a time with an offset"),
    "a time in seconds": (with_ts("1779926400"), "not a time with an offset"),
    "an empty time": (with_ts('""'), "not a time with an offset"),
    "a null time": (with_ts("null"), "not a time with an offset"),
    "NaN": (with_cost("NaN"), "NaN is not a number of JSON"),
    "Infinity": (with_cost("Infinity"), "Infinity is not a number of JSON"),
    "minus Infinity": (with_cost("-Infinity"), "-Infinity is not a number of JSON"),
    "NaN in a key we do not know": (GOOD[:-1] + ',"score":NaN}', "NaN is not a number of JSON"),
    "true": (with_cost("true"), "not a number"),
    "false": (with_cost("false"), "not a number"),
    "null cost": (with_cost("null"), "not a number"),
    "a cost in quotes": (with_cost('"0.25"'), "not a number"),
    "a list of costs": (with_cost("[0.25]"), "not a number"),
    "a negative cost": (with_cost("-0.25"), "negative"),
    "a void of nothing": (with_cost("-0.25")[:-1] + ',"voids":""}', "negative"),
    "a void that is no id": (with_cost("-0.25")[:-1] + ',"voids":true}', "negative"),
    "a void beyond all": (with_cost("-1e10")[:-1] + ',"voids":"r0"}', "out of range"),
    "1e400": (with_cost("1e400"), "out of range"),
    "a cent too much": (with_cost("1000000000.01"), "out of range"),
    "finer than a double": (with_cost("1e-341"), "out of range"),
    "5,000 digits": (with_cost("9" * 5000), "out of range"),
    "an exponent of 30 digits": (with_cost("1e" + "9" * 30), "not JSON"),
    "a leading plus": (with_cost("+1"), "not JSON"),
    "a leading zero": (with_cost("01"), "not JSON"),
    "a bare point": (with_cost(".5"), "not JSON"),
    "a trailing point": (with_cost("5."), "not JSON"),
    "an underscore": (with_cost("1_0"), "not JSON"),
    "hexadecimal": (with_cost("0x10"), "not JSON"),
    "a decimal comma": (with_cost("0,25"), "not JSON"),
    "Arabic digits": (with_cost("\u0661"), "not JSON"),
    "fullwidth digits": (with_cost("\uff11"), "not JSON"),
}


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


# What a row is damaged with: characters that mean something, and what breaks a careless pattern.
BITS = st.sampled_from([
    *"0123456789.-+eETZ:{}[],\"\\ \t\r\x00\x7fxN\xe9\u0661\n",
    "\\u0041", "00", "24", "null", "e5", '"cost_usd":9,', '"ts":"', ',"torn":true}', GOOD,
])  # fmt: skip


@st.composite
def nearly_rows(draw: st.DrawFn) -> str:
    """A row as hal0 or we write it, damaged in up to three places, with its newline."""
    digits = st.integers(0, 99)
    ts = f"{draw(st.sampled_from(['2026', '0000', '9999', '2024']))}-{draw(digits):02}-{draw(digits):02}"
    ts += f"T{draw(digits):02}:{draw(digits):02}:{draw(digits):02}"
    good = draw(st.booleans())
    ts = "2026-05-29T12:30:59" if good else ts
    ts += draw(st.sampled_from(["+00:00", "Z", ".000001+00:00", ".5Z", "", "+01:00"]))
    cost = draw(
        st.sampled_from(["0", "5", "0.25", "1.5e-07", "0.30000000000000004", "999999999.9", "1e-99"])
        | st.sampled_from(["5e9", "1E+10", "1e99", "-0.25", "1000000000.5", "NaN", "true"])
    )
    line = with_ts(f'"{ts}"').replace("0.25", cost)
    if draw(st.booleans()):
        more = ',"cost_source":"priced","hold_id":"h","price":"p","input_tokens":7,"output_tokens":0}'
        line = line[:-1] + more
    for _ in range(draw(st.integers(0, 3))):
        at, width = draw(st.integers(0, len(line))), draw(st.integers(0, 2))
        line = line[:at] + draw(BITS) + line[at + width :]
    return line + "\n"


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
