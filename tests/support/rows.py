"""Ledger rows as text: good, damaged, and unreadable in every way."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from hypothesis import strategies as st

from hal0_budget.model.records import Row
from tests.conftest import NOON

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


def row(number: int, ts: datetime = NOON) -> Row:
    cost = Decimal(number) / 1000
    return Row(ts, "hermes", "openrouter", f"maker/model-{number % 7}", cost, f"gen-{number}")
