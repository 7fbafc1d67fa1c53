"""`log`: the rows of a ledger, newest last: how many, since when, and what each of them says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hal0_budget import Account, Charge, Home, Tail
from hal0_budget.model.records import Entry, Row
from hal0_budget.stores.files import blocks
from hal0_budget.stores.files.torn_writes import seal_of
from tests.conftest import NOON, Cli, Proof, put_ledger
from tests.support.faults import Trace
from tests.support.rows import row
from tests.support.terminal import ESCAPE, on_terminal


@pytest.fixture
def rows(ledger: Path) -> list[Row]:
    """Thirty rows of hermes, one a day, the last one at noon."""
    found = [row(number, NOON - timedelta(days=30 - number)) for number in range(1, 31)]
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(b"".join(row.line() for row in found))
    return found


def ids(text: str) -> list[str]:
    return re.findall(r"\bgen-[0-9]+\b", text)


COUNTS = {
    "twenty by default": ((), 20),
    "none": (("-n", "0"), 0),
    "one": (("-n", "1"), 1),
    "all but one": (("-n", "29"), 29),
    "as many as there are": (("-n", "30"), 30),
    "more than there are": (("-n", "31"), 30),
    "a number without end": (("-n", "9" * 18), 30),
    "all": (("--last", "all"), 30),
    "since a day": (("--since", "2026-05-27"), 3),
    "since a day, the last of them": (("--since", "20260527", "-n", "2"), 2),
    "since a day, fewer than asked for": (("--since", "2026-05-29", "-n", "9"), 1),
    "since a day to come": (("--since", "2026-05-30"), 0),
}


@pytest.mark.parametrize(("args", "count"), COUNTS.values(), ids=COUNTS)
def test_last_rows_are_shown_newest_last(
    cli: Cli, rows: list[Row], args: tuple[str, ...], count: int
) -> None:
    done = cli("log", "hermes", *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(done.stdout) == [row.request_id for row in rows[30 - count :]]


def test_row_reads_as_columns_with_a_dash_for_what_is_not_there(cli: Cli, account: Account) -> None:
    account.charge(Decimal("0.0421"), model="m/one", request_id="first", surface="openrouter")
    account.charge(
        Decimal("12345.00000000000001"), model="m/two", request_id="second", cost_source="estimated"
    )
    assert cli("log", "hermes", env={"COLUMNS": "20", "TERM": "xterm"}).stdout.splitlines() == [
        f"2026-05-29T12:00:00Z     $0.0421  -            openrouter  {'m/one':<28}  first",
        f"2026-05-29T12:00:00Z  $12345.00000000000001  estimated    cli         {'m/two':<28}  second",
    ]


def test_what_takes_back_and_what_is_taken_back_are_marked(cli: Cli, account: Account) -> None:
    for name in ("right", "wrong"):
        account.charge(Decimal("0.5"), model="m", request_id=name)
    account.void("wrong", "typed twice")
    right, wrong, void = cli("log", "hermes").stdout.splitlines()
    assert right.endswith("  right")
    assert wrong.endswith("  wrong  voided")
    assert "   -$0.5000  " in void
    assert void.endswith("  void:wrong  voids wrong: typed twice")
    assert [row["voided"] for row in cli.json("log", "hermes")["rows"]] == [False, True, False]
    assert cli("log", "hermes", "-n", "1").stdout.splitlines() == [void]


def test_tokens_are_said_where_they_are_known(cli: Cli, ledger: Path) -> None:
    known = row(31)._replace(input_tokens=1200, cache_read_tokens=80, output_tokens=0, price="m: 1 in")
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(known.line())
    assert cli("log", "hermes").stdout.endswith("  gen-31  1200 in, 80 cached, 0 out\n")
    (body,) = cli.json("log", "hermes")["rows"]
    assert (body["input_tokens"], body["output_tokens"], body["price"]) == (1200, 0, "m: 1 in")
    assert "cache_write_tokens" not in body


def test_json_has_exactly_the_promised_keys(cli: Cli, account: Account) -> None:
    cost = Decimal("0.1000000000000000000000000000000001")
    account.charge(cost, model="m", request_id="r", cost_source="priced")
    assert cli.json("log", "hermes") == {
        "persona_id": "hermes",
        "rows": [
            {
                "ts": "2026-05-29T12:00:00+00:00",
                "surface": "cli",
                "model": "m",
                "cost_usd": cost,
                "request_id": "r",
                "voided": False,
                "cost_source": "priced",
            }
        ],
        "warnings": [],
    }
    assert cli.json("log", "coder") == {"persona_id": "coder", "rows": [], "warnings": []}


def test_since_finds_rows_wherever_they_stand(cli: Cli, ledger: Path) -> None:
    """A void has the time of what it takes back, and clocks step back."""
    days = (0, -40, 0, -3, 5, -2)
    found = [row(number, NOON + timedelta(days=day)) for number, day in enumerate(days)]
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(b"".join(row.line() for row in found))
    assert ids(cli("log", "hermes", "--since", "2026-05-27").stdout) == ["gen-0", "gen-2", "gen-4", "gen-5"]
    assert ids(cli("log", "hermes", "--since", "2026-05-27", "-n", "2").stdout) == ["gen-4", "gen-5"]


def test_since_means_the_days_of_utc(cli: Cli, ledger: Path) -> None:
    line = '{"ts":"%s","persona_id":"hermes","surface":"s","model":"m","cost_usd":1,"request_id":"gen-%d"}\n'
    times = ("2026-05-29T01:00:00+02:00", "2026-05-28T23:30:00-01:00", "2026-05-29T00:00:00Z")
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_text("".join(line % (ts, number) for number, ts in enumerate(times)))
    assert ids(cli("log", "hermes", "--since", "2026-05-29").stdout) == ["gen-1", "gen-2"]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ledger.write_bytes(row(7, today - timedelta(seconds=1)).line() + row(8, today).line())
    assert ids(cli("log", "hermes", "--since", "today").stdout) == ["gen-8"]


def test_unreadable_lines_are_skipped_and_named_by_their_byte(cli: Cli, ledger: Path) -> None:
    data = put_ledger(ledger, "damaged.jsonl")
    done = cli("log", "hermes", "-n", "all")
    shown = {warning["byte"]: warning["what"] for warning in findings(cli)}
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == cli.json("verify", "hermes", code=65)["personas"][0]["rows"]
    named = re.findall(
        r"^warning: (.*): the line at byte (\d+) is unreadable: (.*)$", done.stderr, re.MULTILINE
    )
    assert len(named) == done.stderr.count("\n") > 10
    assert {int(byte) for _, byte, _ in named} == set(shown)
    for path, byte, why in named:
        assert path == str(ledger)
        assert byte == "0" or data[int(byte) - 1] == ord("\n")
        assert why in shown[int(byte)]
    assert cli.json("log", "hermes", "-n", "all")["warnings"] == [
        line.removeprefix("warning: ") for line in done.stderr.splitlines()
    ]


def findings(cli: Cli) -> list[dict[str, Any]]:
    found = cli.json("verify", "hermes", code=65)["personas"][0]["findings"]
    return [finding for finding in found if finding["severity"] == "damage" and finding["byte"] is not None]


@pytest.mark.parametrize("command", ["log", "show", "report", "simulate"])
def test_ledger_that_is_gone_is_not_one_without_rows(
    command: str, cli: Cli, account: Account, ledger: Path
) -> None:
    assert cli(command, "hermes").returncode == 0
    account.charge(Decimal(1), model="m")
    ledger.unlink()
    done = cli(command, "hermes")
    assert (done.returncode, done.stdout) == (65, "")
    assert "the ledger is gone, and its checkpoint says that there was one" in done.stderr


@pytest.mark.usefixtures("rows")
def test_row_in_the_making_is_none_and_a_sealed_tear_neither(cli: Cli, ledger: Path) -> None:
    before, line = ledger.read_bytes(), row(31).line()
    ledger.write_bytes(before + line[:-2])
    assert ids(cli("log", "hermes", "-n", "2").stdout) == ["gen-29", "gen-30"]
    ledger.write_bytes(before + line[:-2] + seal_of(line[:-2]) + row(32).line())
    done = cli("log", "hermes", "-n", "2")
    assert (ids(done.stdout), done.stderr) == (["gen-30", "gen-32"], "")


@pytest.mark.usefixtures("rows")
def test_last_row_that_only_lacks_its_newline_is_a_row(cli: Cli, ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes() + row(31).line()[:-1])
    assert ids(cli("log", "hermes", "-n", "2").stdout) == ["gen-30", "gen-31"]


HOSTILE = "m\x1b[31m\r\u202e\x9b[bold]\u2028x"


def test_hostile_text_is_escaped_wherever_it_stands(cli: Cli, ledger: Path) -> None:
    ledger.parent.mkdir(exist_ok=True)
    hostile = Row(NOON, "hermes", HOSTILE, HOSTILE, Decimal(-1), HOSTILE, HOSTILE, None, HOSTILE, HOSTILE)
    ledger.write_bytes(hostile.line())
    shown = r"m\x1b[31m\r\u202e\x9b[bold]\u2028x"
    piped, seen = cli("log", "hermes").stdout, on_terminal(cli, "log", "hermes", columns=500)
    assert piped.count("\n") == seen.count("\n") == 1
    for text in (piped, ESCAPE.sub("", seen)):
        assert text.count(shown) == 6
        assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("columns", [1, 40, 60, 80, 200])
def test_amounts_and_ids_are_whole_on_any_terminal(cli: Cli, account: Account, columns: int) -> None:
    account.charge(Decimal("0.12345678901234567890"), model="a/b", request_id="r" * 90)
    text = ESCAPE.sub("", on_terminal(cli, "log", "hermes", columns=columns))
    assert {"$0.1234567890123456789", "r" * 90, "a/b", "2026-05-29T12:00:00Z"} <= set(text.split())
    if columns >= 60:
        assert [len(line) <= columns for line in text.splitlines()].count(False) == (columns < 94)


def test_terminal_gets_colour_and_a_pipe_none(cli: Cli, account: Account) -> None:
    account.charge(Decimal(1), model="m", cost_source="estimated")
    assert "\x1b[33mestimated" in on_terminal(cli, "log", "hermes")
    assert "\x1b[33mestimated" in cli("log", "hermes", "--color", "always").stdout
    plain = cli("log", "hermes").stdout
    assert "\x1b" not in plain
    assert on_terminal(cli, "log", "hermes", env={"NO_COLOR": "1"}) == plain


REFUSED = {
    "no such persona": ("hermse", 66, "persona.not_found"),
    "no such agent": ("hermes --agent nobody", 66, "agent.unknown"),
    "a negative number": ("hermes -n -1", 64, "usage"),
    "digits of another script": ("hermes -n \u0663", 64, "usage"),
    "no number": ("hermes -n some", 64, "usage"),
    "no day": ("hermes --since tomorrow", 64, "usage"),
    "the day after the last": ("hermes --since 2026-02-29", 64, "usage"),
}


@pytest.mark.parametrize(("line", "code", "error"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shown_says_why(cli: Cli, line: str, code: int, error: str) -> None:
    assert cli.json("log", *line.split(), code=code)["error"]["code"] == error


def test_what_is_no_ledger_is_65(cli: Cli, ledger: Path) -> None:
    ledger.parent.mkdir(exist_ok=True)
    ledger.symlink_to("/dev/zero")
    assert cli.json("log", "hermes", code=65)["error"]["code"] == "ledger.damaged"
    ledger.unlink()
    with ledger.open("wb") as file:
        file.truncate(1 << 40)
    for args in ((), ("-n", "all"), ("--follow",)):
        done = cli("log", "hermes", *args)
        assert (done.returncode, done.stdout) == (65, "")
        assert "is longer than 262144 bytes" in done.stderr


def given(tail: Tail) -> Iterator[str]:
    for found in tail.read():
        assert isinstance(found, Entry)
        yield found.row.request_id


@pytest.mark.parametrize("block", [400, 401, 511, 1024, 5000])
def test_lines_are_whole_wherever_blocks_end(
    account: Account, ledger: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    for size in range(0, 31, 3):
        ledger.write_bytes(b"".join(row.line() for row in rows[:size]))
        for last in (0, 1, 2, 5, size, size + 1, None):
            tail = account.tail(last)
            wanted = size if last is None else min(last, size)
            assert list(given(tail)) == [row.request_id for row in rows[size - wanted : size]]
            tail.close()


def test_library_gives_the_rows_that_came_since(account: Account) -> None:
    tail = account.tail(last=1, since=date(2026, 5, 29))
    assert list(given(tail)) == []
    account.charge_all(Charge(Decimal(1), "m", request_id=name) for name in ("one", "two"))
    assert list(given(tail)) == ["one", "two"]
    account.charge(Decimal(1), model="m", request_id="three")
    assert list(given(tail)) == ["three"]
    tail.close()
    assert list(given(account.tail(last=1))) == ["three"]


@pytest.fixture
def traced(cli: Cli, home: Home, tmp_path: Path) -> Trace:
    return Trace(cli, home, tmp_path / "strace.log")


@pytest.mark.promise(2)
@pytest.mark.usefixtures("rows")
def test_log_changes_neither_ledger_nor_persona(traced: Trace) -> None:
    for args in ((), ("-n", "all"), ("--since", "2026-05-20", "--json")):
        assert traced("all", "log", "hermes", *args).returncode == 0
        seen = [call for call in traced.calls() if "spend.jsonl" in call or "hermes.toml" in call]
        assert len([call for call in seen if "openat" in call]) == 1
        for call in seen:
            assert not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call)
            assert re.match(r"(openat|newfstatat|fstat|stat|pread64|lseek|fcntl|dup|close)\(", call)


@pytest.mark.promise(2)
@pytest.mark.usefixtures("rows")
def test_last_rows_of_a_long_ledger_cost_what_those_of_a_short_one_do(
    ledger: Path, traced: Trace, proof: Proof
) -> None:
    def bytes_read() -> int:
        assert len(ids(traced("pread64", "log", "hermes").stdout)) == 20
        return sum(int(call.rpartition("= ")[2]) for call in traced.calls())

    short = bytes_read()
    with ledger.open("ab") as file:
        file.writelines(row(number).line() for number in range(proof.size(30_000, 1_000_000)))
    long = bytes_read()
    assert short < long <= 3 * blocks.BLOCK
    proof.reached(f"{long} bytes read of {ledger.stat().st_size}")
