"""Six formats of one report: each says the same, and no text in any of them is more than text."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hal0_budget import Account, Home, Report, Row, init, report
from hal0_budget.cli.commands.report import Format, text_of
from hal0_budget.cli.render.emit import printable
from hal0_budget.cli.render.report_text import width
from hal0_budget.reporting.grouping import By
from tests.conftest import NOON, Proof, forget_marks
from tests.support.hostile import SNIPPETS, assert_inert

ALL: tuple[Format, ...] = ("plain", "table", "csv", "markdown", "html", "json")
BY: tuple[By, ...] = ("model", "surface", "source")
FORMULA = set("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# What a page, a sheet or a mail might take for its own, beside what a terminal does.
MARKUP = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</td></tr></table>", "<!--", "-->", "&lt;",
    "&#60;", "\" onmouseover=\"x", "' style='x", "</style>", "</title>", "]]>", "<", ">", "&", "a,b", '""',
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\uff1d1+1", " =1", "''=1", "**b**", "~~x~~", "_x_",
    "[x](javascript:x)", "![i](http://e)", "https://evil.example", "www.evil.example", "`c`", "# h", "- x",
    "1. x", "|x|", "\\|", "\\",
)  # fmt: skip


def hostile_names(count: int) -> list[str]:
    """Distinct names made of what means something to somebody."""
    chance = random.Random(count)
    parts = (*SNIPPETS, *MARKUP)
    found: dict[str, None] = {}
    while len(found) < count:
        name = "".join(
            chance.choice(parts) if chance.random() < 0.8 else chr(chance.randrange(1, 0xD7FF))
            for _ in range(chance.randrange(1, 6))
        )
        found[name] = None
    return list(found)


def spent_on(home: Home, names: list[str]) -> Report:
    """A report of one call for each name: as its model, its surface and the source of its cost."""
    path = home.spend_dir("hermes") / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        Row(NOON, "hermes", name, name, Decimal(len(names) - number), "r", name)
        for number, name in enumerate(names)
    ]
    path.write_bytes(b"".join(row.line() for row in rows))
    forget_marks(path)
    found = report(home, ["hermes"], by=BY, clock=lambda: NOON)
    assert len(found.groups) == len(names)
    return found


class Elements(HTMLParser):
    """What a page is made of: its elements with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag, *(name for name, _ in attrs)] += 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.found["a comment", data] += 1


@pytest.mark.promise(13)
def test_hostile_names_are_text_in_every_format(home: Home, proof: Proof) -> None:
    count, batch = proof.size(1500, 100_000), 500
    names = hostile_names(count)
    Account(home, "hermes").set_budget({"daily_usd": Decimal(1)})
    harmless = Elements(text_of(spent_on(home, [f"n{number}" for number in range(batch)]), "html")).found
    for start in range(0, count, batch):
        part = names[start : start + batch]
        found = spent_on(home, part)
        cells = [printable(name) for name in part]

        page = Elements(text_of(found, "html"))
        assert page.found == harmless
        assert [text for text in page.text if text in set(cells)] == [cell for cell in cells for _ in BY]

        lines = text_of(found, "csv").split("\r\n")
        assert len(lines) == batch + 2
        for cell, row in zip(cells, csv.reader(io.StringIO("\r\n".join(lines[1:-1]))), strict=True):
            assert not FORMULA & {row[0][:1], row[0].lstrip()[:1]}
            assert row[0].removeprefix("'") == cell.removeprefix("'")
            assert row[0] == row[1] == row[2]

        lines = text_of(found, "markdown").splitlines()
        assert not [line for line in lines if "<" in line or ">" in line or "://" in line]
        table = lines[-batch - 3 :]
        assert {line.count("|") for line in table} == {len(BY) + 4}
        bare = [re.sub(r"&#\d+;", "", line) for line in table]
        assert not [line for line in bare if re.search(r"(?<!\\)[*_\[\]~#!`&]|\\[^*_\[\]~#!]", line)]

        assert [group["model"] for group in json.loads(text_of(found, "json"))["groups"]] == part
        assert_inert("".join(page.text[-len(BY) * batch * 2 :]))
        for form in ALL if start == 0 else ALL[:1]:
            assert_inert(text_of(found, form).replace("\r\n", "\n"))
    proof.reached(f"{count:,} names in CSV, HTML and Markdown")


def test_hostile_warning_is_text_on_a_page(tmp_path: Path) -> None:
    """A misspelt key is quoted by a warning, and a folder's name by a failure."""
    home = Home(tmp_path / "<b>|x&\n[y]")
    init(home, ["hermes", "coder"])
    home.persona_file("coder").write_text("<i>no toml</i>")
    with home.persona_file("hermes").open("a") as file:
        file.write('"<u>dialy_usd|" = 5\n')
    found = report(home, clock=lambda: NOON)
    page = text_of(found, "html")
    tags = {element[0] for element in Elements(page).found}
    assert not tags & {"b", "i", "u"}
    assert "&lt;u&gt;dialy_usd|" in page
    assert "&lt;b&gt;|x&amp;\\n[y]/hermes/personas/coder.toml: " in page
    assert "<b>" not in text_of(found, "markdown")
    assert "dialy\\_usd&#124;" in text_of(found, "markdown")


@pytest.fixture
def spending(home: Home) -> Report:
    """Two personas, one at its cap, with every source of a cost, a void and tokens."""
    sources = (None, "reported", "priced", "estimated", "unconfirmed", "other")
    rows = [
        Row(
            NOON - timedelta(days=number), "hermes", "openrouter", "openai/gpt-4.1", Decimal("0.25"),
            f"r{number}", source, input_tokens=1000, output_tokens=7,
        )
        for number, source in enumerate(sources)
    ]  # fmt: skip
    rows.append(rows[0]._replace(cost_usd=Decimal("-0.25"), request_id="void:r0", voids="r0"))
    path = home.spend_dir("hermes") / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(row.line() for row in rows))
    Account(home, "hermes").set_budget({"lifetime_usd": Decimal(1), "daily_usd": Decimal("0.2")})
    return report(home, since="7d", until="today", by=("day", "model"), clock=lambda: NOON)


FORMATS: tuple[Format, ...] = ("plain", "table", "markdown", "html")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_for_people_says_the_same(form: Format, spending: Report) -> None:
    text = text_of(spending, form)
    words = " ".join(Elements(text).text) if form == "html" else text
    words = re.sub(r"\s+", " ", words.replace("\\", ""))
    for part in (
        "(7 days, UTC)",
        "6 calls, 1 voided",
        "$1.2500",
        "2026-05-29",
        "openai/gpt-4.1",
    ):
        assert part in words
    assert "reported $0.2500, priced $0.2500, told $0.0000, estimated $0.2500, unconfirmed $0.2500" in words
    assert "other $0.2500" in words
    assert "lifetime cap $1.0000 is used up: spent $1.2500" in words
    assert "125%" in words
    assert "input tokens" in words
    assert "cache" not in words, "columns that say nothing are left out"


def test_page_stands_alone(spending: Report) -> None:
    page = text_of(spending, "html")
    tags = {element[0] for element in Elements(page).found}
    assert tags <= {
        "html", "head", "meta", "title", "style", "body", "table", "thead", "tbody", "tr", "th", "td",
        "h1", "h2", "p", "span", "div", "b",
    }  # fmt: skip
    assert not re.search(r"https?:|url\(|@import|src=|href=", page)
    assert '<html lang="en">' in page
    assert re.search(r"<title>Spend of hermes, 2026-05-23 to 2026-05-29", page)
    assert 'role="img" aria-label="Spend a day of hermes. ' in page
    assert "6 of 7 days above" not in page
    assert "5 of 7 days above the daily cap of $0.2000, the dashed line." in page


def columns(text: str) -> Iterator[int]:
    """Where the last number of each row of the last table of a plain report ends."""
    table = text.rstrip("\n").rpartition("\n\n")[2].splitlines()
    return (width(line) for line in table)


def test_plain_columns_are_aligned_whatever_the_letters_are(home: Home) -> None:
    names = ["a", "漢字", "e\u0301", "💸", "\u202e", "x" * 80]
    found = spent_on(home, names)
    assert len(set(columns(text_of(found, "plain")))) == 1
    ascii_text = text_of(found, "plain", "ascii")
    assert ascii_text.isascii()
    assert len(set(columns(ascii_text))) == 1
    assert not [line for line in ascii_text.splitlines() if line != line.rstrip()]
    assert "x" * 80 in ascii_text


def test_csv_numbers_are_exact_and_stay_numbers(home: Home) -> None:
    path = home.spend_dir("hermes") / "spend.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    row = Row(NOON, "hermes", "cli", "-1", Decimal("0.00000015"), "r", input_tokens=3)
    path.write_bytes(row.line() + row._replace(cost_usd=Decimal(-5), voids="x").line())
    found = report(home, by=("model",), clock=lambda: NOON)
    assert text_of(found, "csv") == (
        "model,usd,calls,voids,share,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens\r\n"
        "'-1,-4.99999985,1,1,,3,0,0,0\r\n"
    )


def test_empty_report_is_one_in_every_format(home: Home) -> None:
    found = report(home, clock=lambda: NOON)
    assert text_of(found, "csv").count("\r\n") == 1
    assert "Nothing was spent." in text_of(found, "html")
    assert "$0.0000 in 0 calls" in text_of(found, "plain")
    assert json.loads(text_of(found, "json"))["groups"] == []
