"""The checkpoint saves reading, is never needed, and never makes a ledger look smaller than it is."""

from __future__ import annotations

import os
import tempfile
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, Row, init
from hal0_budget.stores.files.checkpoint import Checkpoint, CheckpointLog
from hal0_budget.stores.files.lock import Lock
from tests.conftest import NOON, forget_marks

COST = Decimal("0.25")
NOBODY = 65534
LONGEST_LOG = 600 * 1024


@pytest.fixture
def checkpoint(ledger: Path) -> Path:
    """Where the checkpoint of hermes is, or will be."""
    return ledger.with_name("spend.checkpoint")


def load(path: Path) -> Checkpoint | None:
    return CheckpointLog(path).load().checkpoint


def lifetime(account: Account) -> Decimal:
    statement = account.show()
    assert statement.warnings == ()
    spent = statement.of("lifetime").spent
    assert spent is not None
    return spent


def line(days_ago: int = 0, cost: Decimal = COST) -> bytes:
    return Row(NOON - timedelta(days=days_ago), "hermes", "cli", "m", cost, "r").line()


def lay_rows(ledger: Path, count: int) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(line() * count)


def bytes_read(act: Callable[[], object]) -> int:
    """How many bytes this process reads, from any file, while it does `act`."""

    def so_far() -> int:
        with open("/proc/self/io") as io:
            return int(io.readline().removeprefix("rchar: "))

    before = so_far()
    act()
    return so_far() - before


def test_only_a_first_scan_reads_the_whole_ledger(account: Account, ledger: Path) -> None:
    read = {}
    for rows in (1_000, 10_000):
        lay_rows(ledger, rows)
        forget_marks(ledger)
        assert bytes_read(account.check) > ledger.stat().st_size
        account.charge(COST, model="m")
        read[rows] = [
            bytes_read(act) for act in (account.check, account.show, lambda: account.charge(COST, model="m"))
        ]
        assert lifetime(account) == COST * (rows + 2)
    # A persona file that is older than a moment is not read again.
    assert read[1_000] == pytest.approx(read[10_000], abs=1_000)
    assert max(read[10_000]) < 40_000


def test_rows_of_others_after_the_checkpoint_are_all_that_is_read(
    account: Account, ledger: Path, checkpoint: Path
) -> None:
    lay_rows(ledger, 10_000)
    account.check()
    with ledger.open("ab") as file:
        file.write(line() * 100)
    # Once to count them, and once for the trail of the checkpoint.
    assert bytes_read(account.check) < 2 * 100 * len(line()) + 20_000
    assert load(checkpoint) is not None
    assert lifetime(account) == COST * 10_100


def test_deleting_the_checkpoint_costs_a_scan_and_nothing_else(
    account: Account, ledger: Path, checkpoint: Path
) -> None:
    for day in range(400):
        if day % 100 == 0:
            account.charge(COST, model="m")
        with ledger.open("ab") as file:
            file.write(line(day) + b'{"ts":\n')
    before = account.show()
    old = load(checkpoint)
    checkpoint.unlink()
    assert account.show() == before
    new = load(checkpoint)
    assert old is not None
    assert new is not None
    for name in ("size", "lines", "rows", "lifetime", "days", "hours", "bad_count", "bad_lines"):
        assert getattr(new.tally, name) == getattr(old.tally, name), name


@pytest.fixture
def log(account: Account, checkpoint: Path) -> bytes:
    """The checkpoint of a ledger of four rows, in as many lines."""
    for _ in range(4):
        account.charge(COST, model="m")
    data = checkpoint.read_bytes()
    assert data.count(b'"checkpoint":') == 4
    return data


def test_truncated_checkpoint_never_loses_a_row(account: Account, checkpoint: Path, log: bytes) -> None:
    for size in range(len(log)):
        checkpoint.write_bytes(log[:size])
        assert lifetime(account) == 4 * COST, size


def test_flipped_bit_in_the_checkpoint_never_loses_a_row(
    account: Account, checkpoint: Path, log: bytes
) -> None:
    last = log.rindex(b'{"crc32":')
    for bit in [*range(0, last * 8, 37), *range(last * 8, len(log) * 8)]:
        damaged = bytearray(log)
        damaged[bit // 8] ^= 1 << bit % 8
        checkpoint.write_bytes(damaged)
        assert lifetime(account) == 4 * COST, bit


def signed(body: bytes) -> bytes:
    return b'{"crc32":%d,"checkpoint":%s}\n' % (crc32(body), body)


GARBAGE = {
    "nothing": b"",
    "newlines": b"\n" * 5000,
    "zeros": b"\0" * 5000,
    "text": b"not a checkpoint",
    "no UTF-8": b"\xff" * 300 + b"\n",
    "another object": b'{"crc32":0,"checkpoint":{}}\n',
    "an empty body": signed(b"{}"),
    "a list": signed(b"[]"),
    "a number": signed(b"1"),
    "no JSON": signed(b"{"),
    "no totals": signed(b'{"version":1,"hours_from":"2026-05-28"}'),
    "a later version": signed(b'{"version":4,"size":0}'),
}  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "after good lines"])
def test_garbage_for_a_checkpoint_is_not_believed(
    garbage: bytes, alone: bool, account: Account, checkpoint: Path, log: bytes
) -> None:
    checkpoint.write_bytes(garbage if alone else log + garbage)
    account.charge(COST, model="m")
    after = load(checkpoint)
    assert after is not None
    assert after.tally.lifetime == 5 * COST, "a usable checkpoint was not made at once"
    checkpoint.write_bytes(garbage if alone else log + garbage)
    assert lifetime(account) == 5 * COST


def bodies(checkpoint: Path) -> list[bytes]:
    parts = (line.partition(b',"checkpoint":')[2][:-1] for line in checkpoint.read_bytes().splitlines())
    return [body for body in parts if body]


def test_checkpoint_of_years_stays_small(account: Account, ledger: Path, checkpoint: Path) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(b"".join(line(days_ago) for days_ago in range(4000)))
    account.charge(COST, model="m")
    assert checkpoint.stat().st_size < 10_000
    for one in (account, Account(account.home, "hermes", clock=account.clock)):
        assert lifetime(one) == 4001 * COST
        assert one.show().of("monthly").spent == COST * 30


@pytest.mark.parametrize("days_back", [30, 61, 62, 63, 200, 1100, 3000])
def test_clock_that_steps_back_among_days_that_were_put_together_sees_them_again(
    account: Account, ledger: Path, days_back: int
) -> None:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_bytes(b"".join(line(days_ago) for days_ago in range(4000)))
    account.charge(COST, model="m")
    account.charge(COST, model="m")
    back = Account(account.home, "hermes", clock=lambda: NOON - timedelta(days=days_back))
    spent = {window: back.show().of(window).spent for window in ("daily", "weekly", "monthly", "lifetime")}
    forget_marks(ledger)
    scanned = {window: back.show().of(window).spent for window in ("daily", "weekly", "monthly", "lifetime")}
    assert spent == scanned
    assert spent["daily"] == COST * (days_back + 3)


@pytest.mark.parametrize("hours", [-72, -25, -1, 0, 1, 25, 24 * 40])
def test_change_says_the_same_as_a_whole_checkpoint_however_the_clock_goes(
    account: Account, checkpoint: Path, hours: int
) -> None:
    account.charge(COST, model="m")
    later = Account(account.home, "hermes", clock=lambda: NOON + timedelta(hours=hours))
    for _ in range(3):
        later.charge(COST, model="m")
    changed = later.show()
    kept = load(checkpoint)
    assert Account(account.home, "hermes", clock=later.clock).show() == changed
    checkpoint.unlink()
    assert Account(account.home, "hermes", clock=later.clock).show() == changed
    afresh = load(checkpoint)
    assert kept is not None
    assert afresh is not None
    assert kept.tally.hours == afresh.tally.hours


@pytest.mark.usefixtures("log")
def test_log_of_whole_checkpoints_is_read_and_gone_on_with(account: Account, checkpoint: Path) -> None:
    """As version 1 wrote it."""
    whole = bodies(checkpoint)[0].replace(b'"version":3', b'"version":1').replace(b'"epoch":0,', b"")
    checkpoint.write_bytes(signed(whole) * 3)
    assert lifetime(account) == 4 * COST
    account.charge(COST, model="m")
    assert checkpoint.read_bytes().startswith(signed(whole) * 3)
    assert lifetime(account) == 5 * COST


def test_processes_that_go_on_read_what_others_wrote(account: Account, home: Home) -> None:
    """Each remembers the checkpoint that it saw last, and goes by the file all the same."""
    others = [Account(home, "hermes", clock=account.clock) for _ in range(3)]
    for turn in range(60):
        others[turn % 3].charge(COST, model="m" * (turn + 1))
        assert [lifetime(one) for one in others] == [(turn + 1) * COST] * 3


def test_version_that_is_not_known_is_refused_by_name(checkpoint: Path, log: bytes) -> None:
    checkpoint.write_bytes(log + GARBAGE["a later version"])
    saved = CheckpointLog(checkpoint).load()
    assert saved.checkpoint is None
    assert "is not a checkpoint" in str(saved.unusable)


def test_ledger_that_is_gone_or_empty_is_damage_whatever_its_checkpoint_says(
    account: Account, ledger: Path, checkpoint: Path, log: bytes
) -> None:
    account.set_budget({"lifetime_usd": Decimal(100)})
    for left in (log, log[:-3], b"", b"garbage"):
        for is_left in (False, True):
            checkpoint.write_bytes(left)
            ledger.write_bytes(b"") if is_left else ledger.unlink()
            with pytest.raises(BudgetError, match="checkpoint") as caught:
                account.check(Decimal(1))
            assert caught.value.code == "ledger.damaged"


def test_long_log_is_replaced_by_its_last_line(account: Account, ledger: Path, checkpoint: Path) -> None:
    sizes = []
    for _ in range(900):
        account.charge(COST, model="m")
        sizes.append(checkpoint.stat().st_size)
    assert max(sizes) <= LONGEST_LOG
    assert sizes[-1] < max(sizes), "the log was never replaced"
    assert lifetime(account) == 900 * COST
    assert sorted(path.name for path in ledger.parent.iterdir()) == [
        ".spend.lock.link", "spend.cache", "spend.checkpoint", "spend.jsonl", "spend.lock",
    ]  # fmt: skip


def test_older_checkpoint_is_never_written_over_a_newer_one(
    account: Account, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader has read one row; before it gets the lock to save that, three more are charged."""
    account.charge(COST, model="m")
    checkpoint.unlink()

    held = Lock.held

    def taken_late(lock: Lock, timeout: float) -> AbstractContextManager[None]:
        if timeout == 0:
            for _ in range(3):
                account.charge(COST, model="m")
        return held(lock, timeout)

    monkeypatch.setattr(Lock, "held", taken_late)
    assert account.check().statement.of("lifetime").spent == COST
    newest = load(checkpoint)
    assert newest is not None
    assert newest.tally.rows == 4


def as_nobody(act: Callable[[], object]) -> str:
    """What `act` answers in a process without rights, or the error that it ends in."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            answer = str(act())
        except BaseException as error:  # noqa: BLE001, nothing may leave this process but its answer
            answer = repr(error)
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@pytest.fixture
def public() -> Iterator[Home]:
    """An agent in a folder that everybody can reach, unlike those that pytest makes."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "agents")
        init(home)
        yield home
        set_modes(home, 0o755, 0o644)


def set_modes(home: Home, folders: int, files: int) -> None:
    for path in [home.root, *home.root.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)


@pytest.mark.parametrize("with_checkpoint", [True, False], ids=["with checkpoint", "without"])
def test_reader_without_write_permission_works(with_checkpoint: bool, public: Home) -> None:
    account = Account(public, "hermes", clock=lambda: NOON)
    ledger = public.spend_dir("hermes") / "spend.jsonl"
    lay_rows(ledger, 2000)
    account.show()
    with ledger.open("ab") as file:
        file.write(line())
    if not with_checkpoint:
        ledger.with_name("spend.checkpoint").unlink()
    set_modes(public, 0o555, 0o444)
    before = {path.name: path.read_bytes() for path in ledger.parent.iterdir()}
    assert as_nobody(lambda: account.check().statement.of("lifetime").spent) == str(COST * 2001)
    assert {path.name: path.read_bytes() for path in ledger.parent.iterdir()} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave behind what others cannot read")
def test_root_that_looks_does_not_lock_the_agents_user_out(public: Home) -> None:
    account = Account(public, "hermes", clock=lambda: NOON)
    account.charge(COST, model="m")
    folder = public.spend_dir("hermes")
    for path in [public.root, *public.root.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    for name in ("spend.checkpoint", "spend.lock"):
        (folder / name).unlink()
    account.show()
    assert {path.stat().st_uid for path in folder.iterdir()} == {NOBODY}
    assert as_nobody(lambda: account.charge(COST, model="m").row.cost_usd) == str(COST)
    assert as_nobody(lambda: account.check().statement.of("lifetime").spent) == str(2 * COST)
    init(public, ["new"])
    Account(public, "new").charge(COST, model="m")
    assert {path.stat().st_uid for path in public.root.rglob("*")} == {NOBODY}
