"""A torn tail never merges with, hides or deletes another row, whoever reads the ledger afterwards."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Row
from hal0_budget.stores.files import torn_writes
from hal0_budget.stores.files import writer as writer_module
from hal0_budget.stores.files.row_format import parse_row
from hal0_budget.stores.files.torn_writes import seal_of
from tests.conftest import Cli, Proof, forget_marks
from tests.support.ledgers import hal0_sum

pytestmark = pytest.mark.promise(2)

FIRST = Decimal("0.5")
LAST = Decimal("0.25")

# The last row of a ledger, in the shapes that we, hal0 and a newer hal0 write; none costs 0.25 or 0.5.
TORN = {
    "ours": '{"ts":"2026-05-29T12:00:00.000000+00:00","persona_id":"hermes","surface":"openrouter"'
    ',"model":"anthropic/claude-3.7-sonnet","cost_usd":0.0421,"request_id":"req_abc123"}',
    "hal0's, without fraction": '{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surface":"fusion"'
    ',"model":"m","cost_usd":3,"request_id":"gen-1764000051-34b7"}',
    "exponents": '{"ts":"2026-05-29T12:00:00+00:00","persona_id":"hermes","surface":"cli","model":"m"'
    ',"cost_usd":1.5e-07,"request_id":"r","score":-2.5E+10}',
    "escapes": '{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surface":"a\\\\\\"b\\n\\\\"'
    ',"model":"\\u00e9\\ud83d\\ude00\\ud83d\\ude00","cost_usd":1.25,"request_id":"\\u202e\\/"}',
    "raw UTF-8": '{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surface":"\u00e9\u20ac\u0800"'
    ',"model":"\U0001f600\U0010ffff\ud7ff","cost_usd":1.25,"request_id":"\u7f8e\u56fd"}',
    "keys of a newer hal0": '{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surface":"s","model":"m"'
    ',"cost_usd":1.25,"request_id":"r","hold_id":null,"cached":true,"final":false,"tokens":1200}',
    "a void": '{"ts":"2026-05-29T12:00:00Z","persona_id":"hermes","surface":"s","model":"m"'
    ',"cost_usd":-1.25,"request_id":"r","voids":"r0","reason":"typo"}',
}


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else finishes these tears, so none of a thousand is waited for."""
    monkeypatch.setattr(writer_module, "_TEAR_GRACE", 0)


def jq_sum(ledger: bytes) -> float:
    """The lifetime sum as an operator counts it; fails where a line is no JSON."""
    done = subprocess.run(
        ["jq", "-s", "map(.cost_usd)|add"], input=ledger, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def lay_and_charge(account: Account, ledger: Path, torn: bytes) -> bytes:
    """A ledger with a row and `torn` behind it, as it is after the next charge; sums proven exact."""
    ledger.unlink(missing_ok=True)
    forget_marks(ledger)
    account.charge(FIRST, model="m", request_id="first")
    before = ledger.read_bytes() + torn
    ledger.write_bytes(before)
    row = account.charge(LAST, model="m", request_id="last").row
    after = ledger.read_bytes()
    assert after.startswith(before), "the torn bytes were touched"
    assert after.endswith(b"\n" + row.line()), "the next row does not stand on a line of its own"
    return after


def assert_sum(account: Account, ledger: Path, expected: Decimal) -> None:
    """The sum is exact and nothing blocks, with the checkpoint and without."""
    for _ in ("from the checkpoint", "first scan"):
        statement = account.show()
        assert (statement.of("lifetime").spent, statement.warnings) == (expected, ())
        ledger.with_name("spend.checkpoint").unlink(missing_ok=True)


@pytest.mark.parametrize("text", TORN.values(), ids=TORN)
def test_row_cut_at_any_byte_is_sealed_for_every_reader(
    text: str, account: Account, ledger: Path, proof: Proof
) -> None:
    row = text.encode()
    seen = b""
    for cut in range(1, len(row)):
        after = lay_and_charge(account, ledger, row[:cut])
        assert_sum(account, ledger, FIRST + LAST)
        assert hal0_sum(after) == float(FIRST + LAST), row[:cut]
        seen += after
    # One run of jq over the lines of all ledgers, of which it must parse each.
    assert jq_sum(seen) == float(FIRST + LAST) * (len(row) - 1)
    proof.counted(len(row) - 1, "cuts of a last row, then charged: sums exact here, in hal0 and in jq")


def test_row_cut_at_any_byte_is_sealed_by_the_command(cli: Cli, ledger: Path, proof: Proof) -> None:
    row = TORN["ours"].encode()
    cli("charge", "hermes", "--cost", "0.5", "--model", "m")
    sound = {path: path.read_bytes() for path in ledger.parent.iterdir()}
    cuts = range(1, len(row), proof.size(37, 1))
    for cut in cuts:
        for path, data in sound.items():
            path.write_bytes(data)
        ledger.write_bytes(sound[ledger] + row[:cut])
        assert cli("charge", "hermes", "--cost", "0.25", "--model", "m").returncode == 0
        assert cli.json("show", "hermes")["spend"]["lifetime_usd"] == FIRST + LAST, row[:cut]
        assert ledger.read_bytes().startswith(sound[ledger] + row[:cut])
    proof.counted(len(cuts), "cuts charged and shown with the installed command")


@pytest.mark.parametrize("text", TORN.values(), ids=TORN)
def test_row_that_lacks_only_its_newline_counts_before_and_after(
    text: str, account: Account, ledger: Path
) -> None:
    cost = parse_row(text.encode()).cost_usd
    account.charge(Decimal(2), model="m")
    with ledger.open("ab") as file:
        file.write(text.encode())
    assert account.show().of("lifetime").spent == 2 + cost
    account.charge(LAST, model="m")
    assert_sum(account, ledger, 2 + cost + LAST)
    assert text.encode() + b"\n" in ledger.read_bytes()


def test_tear_in_a_seal_is_sealed_in_its_turn(account: Account, ledger: Path) -> None:
    fragment = TORN["ours"].encode()[:100]
    row = Row(account.clock(), "hermes", "cli", "m", Decimal("0.125"), "torn too")
    sealed = fragment + seal_of(fragment) + row.line()
    seen, total = b"", 0.0
    for cut in range(len(fragment), len(sealed)):
        after = lay_and_charge(account, ledger, sealed[:cut])
        is_whole = cut == len(sealed) - 1
        expected = FIRST + LAST + (row.cost_usd if is_whole else 0)
        assert_sum(account, ledger, expected)
        seen, total = seen + after, total + float(expected)
    assert jq_sum(seen) == total


NO_JSON = {
    "text": b"garbage",
    "zeros of a power cut": b"\0" * 100,
    "no UTF-8": b"\xff\xfe\x80",
    "a list": b"[1,2",
    "a string": b'"abc',
    "a number": b"12",
    "an end without a beginning": b'model":"m","cost_usd":5,"request_id":"r"}',
    "an object and more": b'{"cost_usd":5}x',
    "a byte order mark": b"\xef\xbb\xbf{",
    "a carriage return": b"\r",
    "a tear in an object within": b'{"ts":"2026-05-29T12:00:00Z","usage":{"in":1',
}


@pytest.mark.parametrize("fragment", NO_JSON.values(), ids=NO_JSON)
def test_fragment_that_begins_no_row_hides_none_either(
    fragment: bytes, account: Account, ledger: Path
) -> None:
    after = lay_and_charge(account, ledger, fragment)
    assert_sum(account, ledger, FIRST + LAST)
    assert hal0_sum(after) == float(FIRST + LAST)


def test_fragment_nested_too_deep_to_parse_is_sealed_all_the_same(account: Account, ledger: Path) -> None:
    lay_and_charge(account, ledger, b'{"a":' * 20_000)
    assert_sum(account, ledger, FIRST + LAST)


def test_whole_object_that_is_no_row_is_named_and_not_taken_for_a_tear(
    account: Account, ledger: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(100)})
    account.charge(FIRST, model="m")
    with ledger.open("ab") as file:
        file.write(TORN["ours"].replace("0.0421", "NaN").encode())
    for _ in ("at the end of the ledger", "before another row"):
        with pytest.raises(BudgetError, match=r"line 2 .* is unreadable: NaN"):
            account.check(Decimal(1))
        account.charge(LAST, model="m")


def test_row_of_another_writer_that_ends_while_we_wait_is_left_as_it_is(
    account: Account, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.charge(FIRST, model="m")
    row = TORN["hal0's, without fraction"].encode() + b"\n"
    with ledger.open("ab", buffering=0) as hal0:
        hal0.write(row[:70])
        monkeypatch.setattr(time, "sleep", lambda _: hal0.write(row[70:]))
        last = account.charge(LAST, model="m").row
    assert ledger.read_bytes().endswith(b"\n" + row + last.line())
    assert_sum(account, ledger, FIRST + 3 + LAST)


def test_row_of_another_writer_that_ends_as_we_seal_is_counted_once(
    account: Account, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.charge(FIRST, model="m")
    row = TORN["hal0's, without fraction"].encode() + b"\n"
    with ledger.open("ab", buffering=0) as hal0:
        hal0.write(row[:70])

        def too_late(fragment: bytes) -> bytes:
            hal0.write(row[70:])
            return seal_of(fragment)

        monkeypatch.setattr(torn_writes, "seal_of", too_late)
        account.charge(LAST, model="m")
    assert row in ledger.read_bytes()
    assert_sum(account, ledger, FIRST + 3 + LAST)
    assert hal0_sum(ledger.read_bytes()) == float(FIRST + 3 + LAST)


@pytest.mark.parametrize("cut", [20, 70, 135], ids=["in its time", "in a name", "in its id"])
def test_row_of_another_writer_that_ends_after_our_seal_is_never_silent(
    cut: int, account: Account, ledger: Path
) -> None:
    account.set_budget({"lifetime_usd": Decimal(100)})
    account.charge(FIRST, model="m")
    row = TORN["ours"].encode() + b"\n"
    with ledger.open("ab", buffering=0) as hal0:
        hal0.write(row[:cut])
        account.charge(LAST, model="m")
        hal0.write(row[cut:])
    with pytest.raises(BudgetError, match=r"line 4 .* is unreadable: not JSON"):
        account.check(Decimal(1))
    account.charge(LAST, model="m")
    assert account.show().of("lifetime").spent == FIRST + LAST + LAST


def write_half_a_row(file: Path) -> None:
    with file.open("ab") as torn:
        torn.write(TORN["ours"].encode()[:90])


@pytest.mark.parametrize("act", [write_half_a_row, lambda _: None], ids=["torn", "whole"])
def test_charges_after_charges_seal_only_what_is_torn(
    act: Callable[[Path], None], account: Account, ledger: Path
) -> None:
    for _ in range(5):
        account.charge(FIRST, model="m")
        act(ledger)
    account.charge(FIRST, model="m")
    marks = ledger.read_bytes().count(b'"torn":true}\n')
    assert marks == (5 if act is write_half_a_row else 0)
    assert_sum(account, ledger, 6 * FIRST)
