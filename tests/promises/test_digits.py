"""A number or a day is written in ASCII digits, without signs, separators or blanks, in every option."""

from __future__ import annotations

import pytest

from tests.conftest import SAMPLES, Cli, Proof

pytestmark = pytest.mark.promise(9)

PRICES = f"--prices {SAMPLES}/prices/openrouter.json"
# Where a number stands, what it is there, and the same in digits that are not ASCII.
NUMBERS = {
    "input tokens": f"check hermes --model m --output-tokens 1 {PRICES} --input-tokens={{}}",
    "output tokens": f"reserve hermes --model m --input-tokens 1 {PRICES} --output-tokens={{}}",
    "lock timeout": "charge hermes --cost 1 --model m --lock-timeout={}",
    "rows": "log hermes -n{}",
    "amount": "charge hermes --model m --cost={}",
    "estimate": "check hermes --estimate={}",
    "cap": "set hermes --daily={}",
    "share": "set hermes --warn-at={}",
    "time to live": "reserve hermes --estimate 1 --ttl={}s",
    "last days": "report --since={}d",
    "last weeks of the log": "log hermes --since={}w",
    "month": "simulate hermes --daily 1 --since=2026-0{}-01",
    "day": "report --until=2026053{}",
}
HOSTILE = (
    *(
        "\u0661",
        "\uff11",
        "\u0967",
        "\U0001d7cf",
        "\u00b9",
        "\u2460",
        "1\u0661",
        "+1",
        "-1",
        "1_0",
        "1_1",
        "_1",
        "1_",
    ),
    *(
        " 1",
        "1 ",
        "1\n",
        "\t1",
        "\u00a01",
        "0x1",
        "0b1",
        "1e",
        "1,0",
        "1'0",
        "",
        "nan",
        "inf",
        "Infinity",
        "--1",
        "1.",
        "1.e1",
    ),
)


@pytest.mark.parametrize("place", NUMBERS)
def test_number_that_is_not_written_in_plain_ascii_digits_is_refused(
    cli: Cli, place: str, proof: Proof
) -> None:
    # Every text is tried somewhere, and each place with some of them; in full all of them everywhere.
    first, step = [*NUMBERS].index(place) % 5, proof.size(5, 1)
    for text in HOSTILE[first % step :: step]:
        done = cli(*(word.replace("{}", text) for word in NUMBERS[place].split()))
        assert (done.returncode, done.stdout) == (64, ""), (text, done.stderr)
    assert not list(cli.root.rglob("spend.jsonl"))


def test_numbers_in_ascii_digits_are_taken(cli: Cli) -> None:
    for place in ("lock timeout", "rows", "amount", "estimate", "cap", "share", "time to live", "last days"):
        done = cli(*NUMBERS[place].replace("{}", "1").split())
        assert done.returncode in {0, 10, 20}, (place, done.stderr)
    for text in ("0", "0.5", ".5", "5.25", "3600", "0010"):
        assert cli("init", "--lock-timeout", text).returncode == 0


def test_numbers_out_of_range_are_refused(cli: Cli) -> None:
    for line in (
        *("init --lock-timeout 3600.1", "init --lock-timeout 99999", f"log hermes -n {'9' * 19}"),
        f"check hermes --model m --output-tokens 1 --input-tokens 1000000000001 {PRICES}",
    ):
        assert cli(*line.split()).returncode == 64
