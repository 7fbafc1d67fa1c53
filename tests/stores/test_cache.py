"""The cache is never believed against the ledger: one id is one row, and sums are right."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest

from hal0_budget import Account, Charge, Home, Row, report
from hal0_budget.stores.files import id_scan, lookup
from hal0_budget.stores.files.audit import audit
from hal0_budget.stores.files.cache import Cache, CacheUnavailable
from hal0_budget.stores.files.catch_up import SLICE, catch_up
from hal0_budget.stores.files.lookup import RowFinder
from hal0_budget.stores.files.repair import repair
from hal0_budget.stores.files.segments import hash_of
from hal0_budget.stores.files.trail import LENGTH
from tests.conftest import NOON, Cli, Proof

COST = Decimal("0.25")
ROWS = 7000


def row(number: int, persona: str = "hermes") -> Row:
    ts = NOON - timedelta(minutes=number % 3000)
    return Row(ts, persona, "openrouter", f"model/{number % 3}", COST, f"gen-{number:016x}")


def lines(rows: int, persona: str = "hermes") -> bytes:
    return b"".join(row(number, persona).line() for number in range(rows))


DATA = lines(ROWS)


def report_of(home: Home) -> object:
    return report(home, ["hermes"], by=("model", "day"), clock=lambda: NOON)


def retry(home: Home, number: int, persona: str = "hermes") -> bool:
    """Record a row again; whether it was found on record."""
    account = Account(home, persona, clock=lambda: NOON)
    return account.charge(
        COST, model=f"model/{number % 3}", surface="openrouter", request_id=f"gen-{number:016x}"
    ).was_recorded


def build(ledger: Path) -> None:
    """Have the cache cover all of a ledger."""
    with closing(Cache(ledger.with_name("spend.cache"))) as cache, ledger.open("rb") as file:
        catch_up(cache, file.fileno(), 0)


def covered(path: Path) -> int:
    with closing(Cache(path, is_read_only=True)) as cache, cache.reading() as parts:
        meta = parts.meta()
        return meta.covered.size if meta is not None else 0


@pytest.fixture
def cache(home: Home, ledger: Path) -> Path:
    """The cache of a ledger of 7,000 rows: request ids, lines and days."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    assert retry(home, 0)
    report_of(home)
    build(ledger)
    return ledger.with_name("spend.cache")


def test_charges_build_the_cache_in_slices_and_every_id_is_known(home: Home, ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    cache = ledger.with_name("spend.cache")
    account = Account(home, "hermes", clock=lambda: NOON)
    for number in range(len(DATA) // SLICE + 2):
        account.charge(COST, model="m", request_id=f"new{number}")
        assert covered(cache) >= min(len(DATA), SLICE * (number + 1)) - LENGTH
    assert cache.stat().st_mode & 0o7 == 0
    assert all(retry(home, number) for number in range(0, ROWS, 501))
    with mock.patch.object(id_scan.IdScan, "run", side_effect=lambda begin, *_: begin) as scans:
        assert retry(home, 17)
    assert min(call.args[0] for call in scans.call_args_list) >= len(DATA) - LENGTH


def test_small_ledger_has_no_cache(cli: Cli, ledger: Path) -> None:
    for _ in range(2):
        assert cli("charge", "hermes", "--cost", "1", "--model", "m", "--request-id", "r").returncode == 0
    assert sorted(path.name for path in ledger.parent.iterdir()) == [
        ".spend.lock.link",
        "spend.checkpoint",
        "spend.jsonl",
        "spend.lock",
    ]


def test_what_former_versions_kept_is_removed(home: Home, ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    for name in ("spend.index", "spend.summary"):
        ledger.with_name(name).write_bytes(b"x")
    Account(home, "hermes").charge(COST, model="m", request_id="r")
    assert ledger.with_name("spend.cache").exists()
    assert not ledger.with_name("spend.index").exists()
    assert not ledger.with_name("spend.summary").exists()


@pytest.mark.promise(3)
def test_no_flipped_bit_of_the_cache_records_an_id_twice_or_makes_a_sum_wrong(
    home: Home, ledger: Path, cache: Path, proof: Proof
) -> None:
    right, data = report_of(home), cache.read_bytes()
    flips = proof.size(60, 1_600)
    slowest = 0.0
    named = 0
    for number in range(flips):
        bit = number * (len(data) * 8) // flips + number % 8
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(flipped)
        start = time.monotonic()
        assert retry(home, (number * 37) % ROWS), bit
        slowest = max(slowest, time.monotonic() - start)
        assert report_of(home) == right, bit
        assert ledger.read_bytes() == DATA, bit
        if number % 10 == 0:
            cache.write_bytes(flipped)
            found = audit(home, "hermes", NOON)
            assert not found.is_damaged, bit
            named += bool(found.findings)
        for path in cache.parent.glob("spend.cache*"):
            path.unlink()
    assert named > flips // 10 * 0.6
    proof.counted(flips, "flipped bits of the cache: no id twice, no sum wrong")
    proof.at_most(round(slowest, 2), "s at the slowest retry beside a flipped cache")


def test_no_flipped_bit_fails_the_command(cli: Cli, ledger: Path, cache: Path, proof: Proof) -> None:
    data = cache.read_bytes()
    flips = proof.size(8, 60)
    for number in range(flips):
        flipped = bytearray(data)
        flipped[number * len(data) // flips] ^= 1 << number % 8
        cache.write_bytes(flipped)
        again = cli(
            *("charge", "hermes", "--cost", "0.25", "--model", "model/1", "--surface", "openrouter"),
            *("--request-id", f"gen-{1:016x}"),
        )
        assert (again.returncode, again.stderr) == (0, ""), number
        assert again.stdout.startswith("already recorded")
        assert cli("verify", "hermes").returncode in {0, 10}
    assert ledger.read_bytes() == DATA


def put(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def in_its_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def lay(path: Path) -> None:
        path.unlink()
        make(path)

    return lay


def sql(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()

    return run


def as_before(path: Path) -> None:
    """The cache of when the ledger had a third of its rows."""
    ledger = path.with_name("spend.jsonl")
    path.unlink()
    ledger.write_bytes(lines(ROWS // 3))
    build(ledger)
    ledger.write_bytes(DATA)


def of_another(path: Path) -> None:
    """The cache of another persona, whose ledger is as long."""
    ledger = path.with_name("spend.jsonl")
    path.unlink()
    ledger.write_bytes(DATA.replace(b'"gen-', b'"alt-'))
    build(ledger)
    ledger.write_bytes(DATA)


STATES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": put(b""),
    **{f"cut to {share:.0%}": cut(share) for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
    "zeros": put(b"\0" * 65536),
    "random": put(os.urandom(200_000)),
    "an older one": as_before,
    "another persona's": of_another,
    "a part deleted": sql("DELETE FROM ids WHERE key = (SELECT max(key) FROM ids)"),
    "all ids deleted": sql("DELETE FROM ids"),
    "a part of another key": sql("UPDATE ids SET body = (SELECT body FROM ids LIMIT 1)"),
    "texts": sql("UPDATE ids SET body = 'x'"),
    "NULLs": sql("UPDATE ids SET body = NULL, crc = NULL"),
    "huge numbers": sql("UPDATE meta SET key = 9223372036854775807"),
    "two metas": sql("INSERT INTO meta SELECT 1, body, crc FROM meta"),
    "no meta": sql("DELETE FROM meta"),
    "no table": sql("DROP TABLE ids"),
    "other tables": sql("DROP TABLE meta", "CREATE TABLE meta(x)"),
    "a view in its place": sql("DROP TABLE ids", "CREATE VIEW ids AS SELECT 1 AS key, 2 AS body, 3 AS crc"),
    "a write-ahead log": sql("PRAGMA journal_mode=WAL", "DELETE FROM lines"),
    "fewer days": sql("DELETE FROM days WHERE key = (SELECT max(key) FROM days)"),
    "a symlink to nowhere": in_its_place(lambda path: path.symlink_to("nowhere")),
    "a symlink to the ledger": in_its_place(lambda path: path.symlink_to("spend.jsonl")),
    "a folder": in_its_place(Path.mkdir),
    "a FIFO": in_its_place(os.mkfifo),
    "a journal of something else": lambda path: path.with_name("spend.cache-journal").write_bytes(
        b"x" * 9000
    ),
}


@pytest.mark.parametrize("spoil", STATES.values(), ids=STATES)
def test_whatever_became_of_the_cache_the_answers_are_the_same(
    spoil: Callable[[Path], object], home: Home, cli: Cli, ledger: Path, cache: Path
) -> None:
    right = report_of(home)
    spoil(cache)
    assert cli("verify", "hermes").returncode in {0, 10}
    for number in range(0, ROWS, 997):
        assert retry(home, number)
    assert report_of(home) == right
    assert ledger.read_bytes() == DATA
    assert not Account(home, "hermes").charge(COST, model="m", request_id="new").was_recorded
    assert Account(home, "hermes").charge(COST, model="m", request_id="new").was_recorded
    assert len(ledger.read_bytes().splitlines()) == ROWS + 1


def test_altered_cache_is_a_notice_that_names_it(cli: Cli, cache: Path) -> None:
    assert cli("verify", "hermes").returncode == 0
    sql("UPDATE ids SET body = (SELECT body FROM ids LIMIT 1)")(cache)
    done = cli("verify", "hermes")
    assert done.returncode == 10
    assert "spend.cache: altered (ids: the part with key" in done.stdout
    of_another(cache)
    done = cli("verify", "hermes")
    assert done.returncode == 10
    assert "spend.cache: made for another ledger" in done.stdout
    assert cli("verify", "hermes", "--repair").returncode == 0
    assert cli("verify", "hermes").returncode == 0


def test_verify_names_a_changed_line_that_the_cache_covers(cli: Cli, ledger: Path, cache: Path) -> None:
    assert cache.exists()
    for number in (0, 1, ROWS // 2):
        changed = DATA.splitlines(keepends=True)
        changed[number] = changed[number].replace(b'"model/', b'"m0del/')
        ledger.write_bytes(b"".join(changed))
        done = cli("verify", "hermes")
        assert done.returncode == 65
        assert f"line {number + 1} (byte" in done.stdout


def test_cache_of_another_epoch_is_not_used(ledger: Path, cache: Path) -> None:
    with closing(Cache(cache)) as opened:
        for epoch, is_covered in ((0, len(DATA)), (1, 0)):
            finder = RowFinder(ledger, lambda: opened, epoch)
            assert [found.row for found in finder.find(f"gen-{5:016x}")] == [row(5)]
            assert finder.covered == is_covered
            finder.close()
        with ledger.open("rb") as file:
            catch_up(opened, file.fileno(), 1)
        finder = RowFinder(ledger, lambda: opened, 1)
        finder.find("x")
        assert finder.covered == len(DATA)
        finder.close()


def test_cache_from_before_a_repair_is_not_believed(home: Home, ledger: Path, cache: Path) -> None:
    changed = DATA.splitlines(keepends=True)
    changed[100] = changed[100].replace(b"{", b"[", 1)
    ledger.write_bytes(b"".join(changed))
    before = cache.read_bytes()
    repair(home, "hermes", NOON, 1)
    cache.write_bytes(before)
    rows = len(ledger.read_bytes().splitlines())
    assert not retry(home, 100), "what was set aside is on record no more"
    assert retry(home, 100)
    assert retry(home, 101)
    assert len(ledger.read_bytes().splitlines()) == rows + 1


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


def test_cache_that_somebody_locks_is_done_without_and_left_alone(
    home: Home, cli: Cli, ledger: Path, cache: Path
) -> None:
    data = cache.read_bytes()
    with locked(cache):
        assert retry(home, 3)
        assert cli("charge", "hermes", "--cost", "1", "--model", "m", "--request-id", "new").returncode == 0
        assert cli("report", "hermes").returncode == 0
        assert cli("verify", "hermes").returncode == 0
    assert cache.read_bytes() == data
    assert len(ledger.read_bytes().splitlines()) == ROWS + 1


def test_lock_is_free_while_the_cache_is_built(home: Home, cli: Cli, ledger: Path, proof: Proof) -> None:
    """Its whole build takes longer than any of these waits for the lock."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    rows = proof.size(30_000, 300_000)
    ledger.write_bytes(lines(rows))
    Account(home, "hermes").show()
    builder = multiprocessing.get_context("fork").Process(target=build, args=(ledger,))
    builder.start()
    done = 0
    while builder.is_alive():
        charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--lock-timeout", "0.05")
        assert cli(*charge, "--request-id", f"new{done}").returncode == 0
        done += 1
    builder.join()
    assert done
    assert covered(ledger.with_name("spend.cache")) >= len(lines(rows))


def test_ledger_is_scanned_before_the_lock_is_taken(home: Home, ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    account = Account(home, "hermes", clock=lambda: NOON)
    account.show()
    scanned = []

    def run(scan: id_scan.IdScan, begin: int) -> int:
        with ledger.with_name("spend.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                scanned.append(ledger.stat().st_size - begin)
        return right(scan, begin)

    right = id_scan.IdScan.run
    with mock.patch.object(id_scan.IdScan, "run", run):
        account.charge(COST, model="m", request_id="new")
        account.void(row(7).request_id, "wrong")
    assert scanned
    assert max(scanned) < LENGTH


def test_growing_the_cache_never_takes_the_persona_lock(home: Home, ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    Account(home, "hermes").show()
    with ledger.with_name("spend.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(ledger)
        report_of(home)
    assert covered(ledger.with_name("spend.cache")) == len(DATA)


def test_processes_that_race_the_same_ids_without_a_cache_leave_one_row_each(
    cli: Cli, ledger: Path, proof: Proof
) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    ledger.with_name("spend.cache").write_bytes(b"")
    charge = ("charge", "hermes", "--cost", "0.25", "--model", "m", "--lock-timeout", "60", "--request-id")
    charges, ids = proof.size(32, 200), proof.size(16, 50)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: cli(*charge, f"r{number % ids}").returncode, range(charges)))
    assert codes == [0] * charges
    recorded = [json.loads(line)["request_id"] for line in ledger.read_bytes().splitlines()[ROWS:]]
    assert sorted(recorded) == sorted(f"r{number}" for number in range(ids))


def test_many_threads_of_one_account_use_one_cache(home: Home, ledger: Path, cache: Path) -> None:
    assert cache.exists()
    account = Account(home, "hermes", lock_timeout=60)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda number: account.charge(COST, model="m", request_id=f"r{number % 50}"), range(100))
        )
    assert len(ledger.read_bytes().splitlines()) == ROWS + 50


def test_connection_is_not_used_after_a_fork(home: Home, ledger: Path, cache: Path) -> None:
    assert cache.exists()
    account = Account(home, "hermes")
    account.charge(COST, model="m", request_id="r0")
    child = multiprocessing.get_context("fork").Process(
        target=lambda: account.charge(COST, model="m", request_id="r1")
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    assert account.charge(COST, model="m", request_id="r1").was_recorded
    assert len(ledger.read_bytes().splitlines()) == ROWS + 2


def test_connection_follows_the_file_at_its_path(home: Home, ledger: Path, cache: Path) -> None:
    account = Account(home, "hermes")
    account.charge(COST, model="m", request_id="r0")
    copy = cache.with_name("copy")
    shutil.copy(cache, copy)
    copy.replace(cache)
    assert account.charge(COST, model="m", request_id="r0").was_recorded
    cache.unlink()
    assert account.charge(COST, model="m", request_id="r0").was_recorded
    assert not account.charge(COST, model="m", request_id="r1").was_recorded
    assert len(ledger.read_bytes().splitlines()) == ROWS + 2


def test_reader_that_may_not_write_leaves_no_cache(home: Home, ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    with (
        closing(Cache(ledger.with_name("spend.cache"), is_read_only=True)) as cache,
        pytest.raises(CacheUnavailable),
        cache.reading(),
    ):
        pass
    audit(home, "hermes", NOON)
    assert not ledger.with_name("spend.cache").exists()


SPELLINGS = {
    "as it is": b'"request_id":"r/1-a"',
    "with spaces": b'"request_id" : \t "r/1-a"',
    "with an escaped letter": b'"request_id":"\\u0072/1-a"',
    "with an escaped digit": b'"request_id":"r/\\u0031-a"',
    "with an escaped slash": b'"request_id":"r\\/1-a"',
    "with an escaped key": b'"request\\u005fid":"r/1-a"',
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("many", [1, 20])
def test_id_is_found_however_it_is_spelled(
    account: Account, ledger: Path, spelling: bytes, many: int
) -> None:
    line = row(0)._replace(request_id="r/1-a", surface="s", model="m").line()
    spelled = line.replace(b'"request_id":"r/1-a"', spelling)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(lines(800) + spelled + lines(10))
    charges = [Charge(COST, "m", "s", "r/1-a"), *(Charge(COST, "m", "s", f"x{n}") for n in range(many - 1))]
    assert [receipt.was_recorded for receipt in account.charge_all(charges)] == [True, *[False] * (many - 1)]


@pytest.mark.parametrize(
    "request_id", ["hermes", "openrouter", "gen-", "00:00", "é", "a\\b", 'a"b', "\x7f", "void:x", "0"]
)
def test_id_that_looks_like_something_else_is_found_and_nothing_else_for_it(
    account: Account, ledger: Path, request_id: str
) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    finder = RowFinder(ledger, lambda: Cache(ledger.with_name("spend.cache")), 0)
    assert finder.find(request_id) == []
    with ledger.open("ab") as file:
        file.write(row(0)._replace(request_id=request_id).line())
    assert [found.byte for found in finder.find(request_id)] == [len(DATA)]
    finder.close()
    assert account.show().of("lifetime").spent == COST * (ROWS + 1)


def test_newest_row_of_an_id_comes_first_covered_or_not(ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    same = [row(0)._replace(cost_usd=Decimal(number)) for number in range(4)]
    ledger.write_bytes(same[0].line() + DATA[len(row(0).line()) :] + same[1].line())
    build(ledger)
    with ledger.open("ab") as file:
        file.write(same[2].line() + same[3].line()[:-1])
    with closing(Cache(ledger.with_name("spend.cache"))) as cache:
        finder = RowFinder(ledger, lambda: cache, 0)
        assert [found.row for found in finder.find(same[0].request_id)] == same[::-1]
        finder.close()


def test_ids_with_the_same_checksum_are_told_apart_and_any_number_of_them_is_covered(ledger: Path) -> None:
    """Rows of one id, more than fit into a part, and of another one with the same CRC-32."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    assert hash_of("plumless") == hash_of("buckeroo")
    same = row(0)._replace(request_id="plumless").line()
    other = row(0)._replace(request_id="buckeroo").line()
    ledger.write_bytes(same * 3000 + other + lines(2000))
    build(ledger)
    with closing(Cache(ledger.with_name("spend.cache"))) as cache:
        finder = RowFinder(ledger, lambda: cache, 0)
        assert len(finder.find("plumless")) == 3000
        assert len(finder.find("buckeroo")) == 1
        assert finder.covered == ledger.stat().st_size
        finder.close()


def test_ids_are_looked_for_no_further_than_a_line_without_end(ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(lines(1000) + b"x" * 300_000 + b"\n" + row(5000).line())
    build(ledger)
    assert covered(ledger.with_name("spend.cache")) == len(lines(1000))
    with closing(Cache(ledger.with_name("spend.cache"))) as cache:
        finder = RowFinder(ledger, lambda: cache, 0)
        assert len(finder.find(f"gen-{999:016x}")) == 1
        assert finder.find(f"gen-{5000:016x}") == []
        finder.close()


@pytest.mark.parametrize("limit", [1, 1000, LENGTH, SLICE, None])
def test_every_id_is_covered_in_slices_of_any_size(ledger: Path, limit: int | None) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    rows = 30 if limit == 1 else 700
    ledger.write_bytes(lines(rows) + b"\n\n")
    with closing(Cache(ledger.with_name("spend.cache"))) as cache, ledger.open("rb") as file:
        for _ in range(rows + 9):
            catch_up(cache, file.fileno(), 0, limit)
        finder = RowFinder(ledger, lambda: cache, 0)
        with mock.patch.object(lookup, "SCANNED", 0):
            assert all(len(finder.find(f"gen-{number:016x}")) == 1 for number in range(rows))
            assert not finder.find(f"gen-{rows:016x}")
        assert finder.covered == ledger.stat().st_size
        finder.close()
        with cache.reading() as parts:
            meta = parts.meta()
            assert meta is not None
            assert len(meta.segments) < 10


def test_rows_that_are_appended_between_look_ups_are_found(ledger: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(DATA)
    finder = RowFinder(ledger, lambda: Cache(ledger.with_name("spend.cache")), 0)
    finder.prefetch(["new", "newer"])
    with ledger.open("ab") as file:
        file.write(row(0)._replace(request_id="new").line()[:-1])
        file.flush()
        assert len(finder.find("new")) == 1
        file.write(b"\n" + row(0)._replace(request_id="newer").line())
    assert len(finder.find("new")) == len(finder.find("newer")) == 1
    replaced = ledger.with_name("other")
    replaced.write_bytes(lines(3))
    replaced.replace(ledger)
    assert finder.find("new") == []
    finder.close()
