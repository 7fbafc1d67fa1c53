"""Text and amounts from a hostile source."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

WORDS = """
nan NaN NAN -nan +nan snan sNaN nan123 inf Inf INF -inf +inf infinity Infinity -Infinity 1.#INF 1.#QNAN
null None true false True yes five zero e E . .. - + -- ++ , _ ~ $ NaN() 0/0 1/3 1/0
-5 -0 -0.0 -0.01 -.5 +5 +0 +0.01 --5 ++5 +-5 5- 5+ (5) -1e-9 -1e400 -999999999999 1-1 2*3 5! 5%
1e400 1e999 1E400 1e+400 9e99 1e1000 1e99999 1e-341 1e-400 1e-999 1e-1000 1e99999999999999999999
1e-99999999999999999999 1000000000.01 1000000001 1e10 9999999999 1e9.0 1e 1e+ 1e- e5 .e5 5.e5 5e5.5 1ee5
1e5e5 1e1_0 1e0x1 1e٣
5,00 5,000 5.000,00 5.0.0 1,5 ,5 5, 5. 0. . 5..0 .5. 1_000 1_0 _1 1_ 1__0 1'000 1.000.000 0.1.2
0x1 0X1F 0x 0b1 0o7 0x1p3 #1 \\x35 5f 5d 5L 5j 5n 5.0f 5USD USD5 $5 5$ €5 £5 5€ 5c 5¢ 1k 1M 1m
½ ¼ ² 5² ⁵ Ⅴ ⑤ ❺ 五 伍 ５ ５．０ 5．0 5·0 5٫0 5٬0 −5 ﹣5 ‐5 –5 ∞ ٠٫٥ 5\u0301 5\u20e3
"5" '5' `5` [5] {5} <5> |5| 5; 5;5 5|5 5&5 $(5) ${5} %35 &#53; \\5 5\\ =5 ==5 @5 5:00 5am
"""  # noqa: RUF001, to look like a digit or a sign is what they are here for


SPACES = " \t\n\r\v\f\0\b\x1b\x1c\x1f\x7f\x85\xa0\u1680\u2003\u2028\u2029\u200b\u200e\u202e\u3000\ufeff"


HOSTILE = [
    "",
    "5" * 5000,
    "0" * 5000,
    "0." + "1" * 5000,
    "1e" + "9" * 5000,
    "0" * 400 + "5",
    "0." + "0" * 340 + "1",
    "1000000000." + "0" * 339 + "1",
    "5 5",
    "5 USD",
    "1 000",
    "5\udcff",
    *WORDS.split(),
    *(f"{space}5" for space in SPACES),
    *(f"5{space}" for space in SPACES),
    *SPACES,
    *(char for char in map(chr, range(128, 0x20000)) if unicodedata.decimal(char, None) == 5),
]


# What a terminal, a log, a shell, a renderer or a reader of JSON lines might take for its own.
SNIPPETS = (
    "\x1b[31m", "\x1b]0;title\x07", "\x1bc", "\x9b2J", "\x9d", "\a", "\b", "\t", "\v", "\f", "\x7f",
    "\n", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\n}", '\n{"ts":', '","cost_usd":0,"x":"',
    "\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\u061c", "\u200b", "\u00ad", "\ufeff", "\U000e0041",
    "[bold red]", "[/]", "[link=https://evil.example]", "[bold]x[/bold]", ":smile:", "{0}", "%s", "%(x)s",
    "$(id)", "`id`", "'", '"', "\\", "\\n", "|", " | daily=0", "<b>", "=1+1", "é", "e\u0301", "漢", "💸", " ",
)  # fmt: skip


hostile = st.lists(
    st.sampled_from(SNIPPETS) | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    min_size=1,
    max_size=8,
).map("".join)


def assert_inert(text: str) -> None:
    """No character but the newline is one that a terminal obeys, or that hides or reorders text."""
    kinds = {
        f"U+{ord(char):04X} {unicodedata.category(char)}"
        for char in text
        if char != "\n" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    }
    assert not kinds, f"{kinds} in {text!r}"
