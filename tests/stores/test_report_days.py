"""The days in the cache make a second report cheap, and are never believed against the ledger."""

from __future__ import annotations

import json
import os
import re
import shutil
from binascii import crc32
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest

from hal0_budget import BudgetError, Home, Report, Row, report
from hal0_budget.stores.files import day_sums
from hal0_budget.stores.files.cache import Cache
from hal0_budget.stores.files.cache_parts import crc_of
from hal0_budget.stores.files.sums import sums_of
from tests.conftest import NOON, Cli

UNPRIVILEGED = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

MUTATING = re.compile(
    r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|p?write|rename|link|truncate|ch(mod|own)|fallocate"
)
ROWS = 7000
SPENT = Decimal(ROWS) * Decimal("0.25")


def row(number: int, **changes: Any) -> bytes:
    ts = NOON - timedelta(minutes=number % 3000)
    whole = Row(ts, "hermes", "openrouter", f"model/{number % 3}", Decimal("0.25"), f"gen-{number:016x}")
    return whole._replace(**changes).line()


DATA = b"".join(map(row, range(ROWS)))
assert len(DATA) > day_sums.WORTHWHILE


@pytest.fixture
def long(ledger: Path) -> Path:
    """The cache of a ledger that is long enough for days to be kept in it."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    return ledger.with_name("spend.cache")


def made(home: Home, zone: tzinfo = UTC) -> Report:
    return report(home, ["hermes"], by=("model", "day"), zone=zone, clock=lambda: NOON)


def total(found: Report) -> Decimal:
    """What all is spent; fails where a persona could not be read."""
    assert not found.failures, found.failures[0].error.message
    return found.total.usd


def scans() -> Any:
    """Whoever reads a block of rows within it fails."""
    return mock.patch.object(day_sums, "sums_of", side_effect=AssertionError("rows were read"))


def test_second_report_reads_no_rows_but_new_ones(home: Home, ledger: Path, long: Path) -> None:
    first = made(home)
    assert total(first) == SPENT
    assert long.stat().st_mode & 0o7 == 0
    with scans():
        assert made(home) == first
    with ledger.open("ab") as file:
        file.write(row(ROWS, cost_usd=Decimal(7)))
    with mock.patch.object(day_sums, "sums_of", wraps=sums_of) as scanned:
        assert total(made(home)) == SPENT + 7
    assert [len(call.args[0]) for call in scanned.call_args_list] == [len(row(ROWS, cost_usd=Decimal(7)))]


def test_days_of_a_short_ledger_are_not_kept(home: Home, ledger: Path, long: Path) -> None:
    ledger.write_bytes(DATA[: day_sums.WORTHWHILE - 1])
    assert total(made(home)) > 0
    assert not long.exists()


def forged(change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Days that are not what was written, with right checksums."""

    def forge(path: Path) -> None:
        with closing(Cache(path)) as cache, cache.writing() as parts:
            meta = parts.meta()
            assert meta is not None
            key, body = next(parts.all("days"))
            names = json.loads(body)
            change(names)
            parts.put("days", key, json.dumps(names).encode())
            crc = 0
            for number, data in parts.all("days"):
                crc = crc32(b"%d" % crc_of(parts.nonce, "days", number, data), crc)
            parts.save(meta._replace(days_crc=crc))

    return forge


def with_sum(place: int, value: object) -> Callable[[Path], None]:
    """Days whose first sum has another value at that place."""
    return forged(lambda names: next(iter(names[0][3].values())).__setitem__(place, value))


def stale(path: Path) -> None:
    """A day as it was before: another part with the right checksum, and not the one written last."""
    with closing(Cache(path)) as cache, cache.writing() as parts:
        assert parts.meta() is not None
        key, body = next(parts.all("days"))
        parts.put("days", key, body.replace(b"model/0", b"model/9"))


STATES: dict[str, Callable[[Path], object]] = {
    "less money": with_sum(0, "0.01"),
    "money that is no number": with_sum(0, "NaN"),
    "fewer calls": with_sum(1, 1),
    "calls that are no number": with_sum(1, None),
    "no names": forged(list.clear),
    "names that are none": forged(lambda names: names.append(5)),
    "a day as it was before": stale,
}


@pytest.mark.parametrize("spoil", STATES.values(), ids=STATES)
def test_whatever_the_days_in_the_cache_say_the_answer_is_the_same(
    spoil: Callable[[Path], object], home: Home, long: Path
) -> None:
    first = made(home)
    spoil(long)
    assert made(home) == first
    with scans():
        assert made(home) == first


def test_days_of_another_ledger_are_not_believed(home: Home, ledger: Path, long: Path) -> None:
    """One that is as long, ends alike and has as many rows; the checkpoint is that of the new one."""
    assert total(made(home)) == SPENT
    ledger.write_bytes(row(0, cost_usd=Decimal("0.50")).replace(b"0.50", b"0.75") + DATA[len(row(0)) :])
    ledger.with_name("spend.checkpoint").unlink()
    assert long.exists()
    assert total(made(home)) == SPENT + Decimal("0.50")
    with scans():
        assert total(made(home)) == SPENT + Decimal("0.50")


def test_days_of_the_same_money_for_other_models_are_not_believed(
    home: Home, ledger: Path, long: Path
) -> None:
    made(home)
    assert long.exists()
    ledger.write_bytes(DATA.replace(b"model/", b"other/"))
    for name in ("spend.checkpoint", "spend.lock", ".spend.lock.link"):
        ledger.with_name(name).unlink()
    assert {group.keys[0][:6] for group in made(home).groups} == {"other/"}


def test_ledger_unlike_its_checkpoint_is_damaged(home: Home, ledger: Path, long: Path) -> None:
    assert total(made(home)) == SPENT
    ledger.write_bytes(DATA.replace(row(3000), row(3000, cost_usd=Decimal("0.75"))))
    assert total(made(home)) == SPENT, "what lies behind checkpoint and cache is verify's to find"
    long.unlink()
    (failure,) = made(home).failures
    assert (failure.error.code, failure.error.exit_code) == ("ledger.damaged", 65)
    assert "does not add up to its checkpoint" in failure.error.message
    (streamed,) = made(home, ZoneInfo("Asia/Kolkata")).failures
    assert streamed.error.message == failure.error.message
    assert not long.exists()


def test_shorter_ledger_is_damaged_whatever_the_cache_says(home: Home, ledger: Path, long: Path) -> None:
    made(home)
    assert long.exists()
    os.truncate(ledger, len(DATA) - 1)
    (failure,) = made(home).failures
    assert isinstance(failure.error, BudgetError)
    assert failure.error.code == "ledger.damaged"


def test_row_that_only_lacks_its_newline_is_counted_once(home: Home, ledger: Path, long: Path) -> None:
    ledger.write_bytes(DATA + row(ROWS)[:-1])
    assert total(made(home)) == SPENT + Decimal("0.25")
    with ledger.open("ab") as file:
        file.write(b"\n" + row(ROWS + 1))
    assert total(made(home)) == SPENT + Decimal("0.50")
    long.unlink(missing_ok=True)
    assert total(made(home)) == SPENT + Decimal("0.50")


def test_too_many_models_are_summed_all_the_same_and_not_kept(
    home: Home, ledger: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_sums, "_MOST_NAMED", 20_000)
    ledger.write_bytes(b"".join(row(number, model=f"model/{number}") for number in range(ROWS)))
    found = made(home)
    assert (total(found), len(found.groups)) == (SPENT, ROWS)
    assert not long.exists()


def test_reader_without_the_right_to_write_gets_the_answer(cli: Cli, long: Path) -> None:
    assert cli.json("report", "hermes", "--since", "2026-01-01")["total"]["usd"] == SPENT
    long.unlink()
    long.parent.chmod(0o550)
    done = cli("report", "hermes", "--since", "2026-01-01", prefix=UNPRIVILEGED)
    long.parent.chmod(0o770)
    assert (done.returncode, done.stderr) == (0, "")
    assert "$1750.0000" in done.stdout
    assert not long.exists()


@needs_strace
def test_report_killed_at_any_write_to_the_cache_leaves_answers_right(
    cli: Cli, home: Home, long: Path
) -> None:
    args = ("report", "hermes", "--since", "2026-01-01", "--json")
    for call, files in (("pwrite64", ["spend.cache"]), ("pwrite64", ["spend.cache-journal"]), ("unlink", [])):
        for number in (1, 2, 9):
            long.unlink(missing_ok=True)
            paths = [part for name in files for part in ("-P", str(long.with_name(name)))]
            strace = ("strace", "-f", "-qq", "-o", "/dev/null", *paths, "-e", f"trace={call}")
            killed = cli(*args, prefix=(*strace, "-e", f"inject={call}:signal=KILL:when={number}"))
            assert killed.returncode in {-9, 0}, killed.stderr
            assert total(made(home)) == SPENT
            with scans():
                assert total(made(home)) == SPENT


@needs_strace
@pytest.mark.promise(2)
@pytest.mark.parametrize("state", ["sound", "torn", "damaged"])
def test_report_never_changes_a_ledger_or_a_persona(
    state: str, cli: Cli, home: Home, ledger: Path, long: Path
) -> None:
    tail = {"sound": b"", "torn": row(0)[:50], "damaged": b"no row\n" + row(0)}[state]
    ledger.write_bytes(DATA + tail)
    log = long.with_name("strace.log")
    paths = (str(ledger), str(home.persona_file("hermes")))
    watched = [part for path in paths for part in ("-P", path)]
    strace = ("strace", "-f", "-qq", "-o", str(log), *watched, "-e", "trace=%file,%desc")
    done = cli("report", "--since", "2026-01-01", prefix=strace)
    assert done.returncode == 0
    assert done.stderr.count("is unreadable") == (state == "damaged")
    calls = log.read_text().splitlines()
    assert any("spend.jsonl" in call for call in calls)
    assert not [call for call in calls if MUTATING.search(call)]
    assert ledger.read_bytes() == DATA + tail
