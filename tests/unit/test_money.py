"""Money is exact from the text on, and what is not an amount is refused before anything is written."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hal0_budget import BudgetError, Home, parse_usd
from hal0_budget.cli.app import invoke
from hal0_budget.cli.options import Output
from hal0_budget.model.money import add, checked_usd, dollars, multiply, percent, plain, subtract, total
from tests.conftest import Cli, Proof
from tests.support.hostile import HOSTILE
from tests.support.ledgers import files

pytestmark = pytest.mark.promise(9)

FINEST = "0." + "0" * 339 + "1"
LONGEST = "999999999." + "9" * 340

DIGITS = st.text("0123456789", min_size=1, max_size=9)
PLACES = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=340).map(".{}".format))
AMOUNTS = st.one_of(
    st.builds(str.__add__, DIGITS, PLACES),
    st.builds("{}.{}e-{}".format, DIGITS, DIGITS, st.integers(0, 300)),
    st.builds("{}e+{}".format, st.text("0123456789", min_size=1, max_size=3), st.integers(0, 6)),
    st.just(FINEST),
    st.just(LONGEST),
)

CAPS = ("per-call", "hourly", "daily", "weekly", "monthly", "lifetime", "warn-at")


def test_amount_keeps_its_exact_value_through_parsing_and_printing(proof: Proof) -> None:
    seen = set()

    # More than are promised, because some come twice.
    @settings(max_examples=proof.size(500, 103_000), deadline=None)
    @given(AMOUNTS)
    def is_exact(text: str) -> None:
        printed, shown = plain(parse_usd(text)), dollars(parse_usd(text))
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", printed)
        assert re.fullmatch(r"\$[0-9]+\.[0-9]{4,}", shown), "a person reads another number of digits"
        assert Fraction(printed) == Fraction(shown[1:]) == Fraction(text)
        assert parse_usd(printed) == parse_usd(text)
        seen.add(text)

    is_exact()
    proof.counted(len(seen), "generated amounts, exact as they are read and printed")


def test_sums_are_exact(proof: Proof) -> None:
    added = 0

    @settings(max_examples=proof.size(500, 20_000), deadline=None)
    @given(st.lists(AMOUNTS, max_size=30))
    @example([LONGEST, FINEST, "0.1"] * 10)
    def is_exact(texts: list[str]) -> None:
        nonlocal added
        added += len(texts)
        assert Fraction(total([parse_usd(text) for text in texts])) == sum(map(Fraction, texts))

    is_exact()
    proof.counted(added, "generated amounts, exact in sums")


def test_sum_difference_and_product_of_two_amounts_are_exact(proof: Proof) -> None:
    @settings(max_examples=proof.size(500, 20_000), deadline=None)
    @given(AMOUNTS, AMOUNTS)
    @example(LONGEST, FINEST)
    def is_exact(left: str, right: str) -> None:
        usd, other = parse_usd(left), parse_usd(right)
        assert Fraction(add(usd, other)) == Fraction(left) + Fraction(right)
        assert Fraction(subtract(usd, other)) == Fraction(left) - Fraction(right)
        assert Fraction(multiply(usd, other)) == Fraction(left) * Fraction(right)

    is_exact()


def test_whatever_is_accepted_means_what_it_says(proof: Proof) -> None:
    @settings(max_examples=proof.size(500, 20_000), deadline=None)
    @given(st.text(st.sampled_from("0123456789.eE+-_ \n,\u0663\uff15x"), max_size=12))
    def means_it(text: str) -> None:
        try:
            usd = parse_usd(text)
        except ValueError:
            return
        assert re.fullmatch(r"[0-9.eE+-]+", text)
        assert text[0] not in "+-"
        assert Fraction(usd) == Fraction(text)

    means_it()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("5", "5"),
        ("0", "0"),
        ("0.250", "0.250"),
        (".25", "0.25"),
        ("007", "7"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1.5e-07", "0.00000015"),
        ("0e-9", "0"),
        ("0e99", "0"),
        ("1e9", "1000000000"),
        ("1000000000.000", "1000000000.000"),
        (FINEST, FINEST),
        (LONGEST, LONGEST),
    ],
)
def test_plain_decimals_are_accepted_up_to_both_limits(text: str, printed: str) -> None:
    assert plain(parse_usd(text)) == printed


@pytest.mark.parametrize(
    ("share", "shown"), [("0.8", "80%"), ("1", "100%"), ("0.125", "12.5%"), ("0.001", "0.1%")]
)
def test_share_is_shown_as_an_exact_percentage(share: str, shown: str) -> None:
    assert percent(Decimal(share)) == shown


@pytest.mark.parametrize("text", ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "-1", "-1e-300", "1e10"])
def test_decimal_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        checked_usd(Decimal(text))


def test_negative_zero_loses_its_sign() -> None:
    assert plain(checked_usd(Decimal("-0.00"))) == "0"


def test_every_way_to_ask_refuses_every_hostile_amount_and_writes_nothing(home: Home, proof: Proof) -> None:
    assert len(set(HOSTILE)) >= 200
    before = files(home.root)
    asked = [(["check", "hermes", f"--estimate={text}"], "budget.invalid_estimate") for text in HOSTILE]
    asked += [
        (["charge", "hermes", "--model=m", f"--cost={text}"], "budget.invalid_charge") for text in HOSTILE
    ]
    asked += [
        (["set", "hermes", f"--{cap}={text}"], "budget.invalid")
        for cap, text in zip(itertools.cycle(CAPS), HOSTILE[::4], strict=False)
    ]
    accepted = []
    for line, code in asked:
        try:
            invoke(["--root", str(home.root), *line], Output())
        except BudgetError as error:
            assert (error.code, error.exit_code) == (code, 64), line
        else:
            accepted.append(line)
    assert accepted == []
    assert files(home.root) == before
    proof.counted(len(asked), "hostile amounts on command lines, 0 accepted")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("check hermes --estimate 1e400", "budget.invalid_estimate"),
        ("check hermes --estimate=", "budget.invalid_estimate"),
        ("charge hermes --model m --cost -5", "budget.invalid_charge"),
        ("charge hermes --model m --cost 5,00", "budget.invalid_charge"),
        ("charge hermes --model m --cost \u0665", "budget.invalid_charge"),
        ('set hermes --daily "5"', "budget.invalid"),
        ("set hermes --lifetime 1000000000.01", "budget.invalid"),
        ("set hermes --warn-at 1.01", "budget.invalid"),
    ],
)
def test_command_that_is_given_no_amount_ends_in_64_and_writes_nothing(
    cli: Cli, line: str, code: str
) -> None:
    before = files(cli.root)
    answer = cli.json(*line.split(" "), code=64)
    assert answer["error"]["code"] == code
    assert files(cli.root) == before
