"""How fast the gate is, as ratios in one run: each measurement beside its base, on this machine.

Processes are measured in turns with their bases, so that a busy machine slows both alike; the
median of each counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from string import ascii_letters

from hal0_budget import Account, Home, init, simulate
from hal0_budget.model.records import Row
from hal0_budget.stores.files.catch_up import catch_up
from hal0_budget.stores.files.ledger import CACHE, Ledger

COMMAND = str(Path(sys.executable).with_name("hal0-budget"))
SMALL, LARGE = 1_000, 1_000_000
ROUNDS = 40

# Prints the memory, in KiB, of the command that it is given.
_MEMORY = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def process(*command: str) -> Callable[[], None]:
    """A function that runs a command to its end."""

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return run


def seconds(action: Callable[[], object]) -> float:
    """How long one run of `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """The median seconds of each action, run one after the other `rounds` times."""
    for action in actions:
        action()
    times = [[seconds(action) for action in actions] for _ in range(rounds)]
    return [median(column) for column in zip(*times, strict=True)]


def write_ledger(path: Path, rows: int) -> None:
    """A ledger of `rows` rows that end now, over up to a year, as hal0 writes it."""
    chance = random.Random(rows)
    ts = datetime.now(UTC) - timedelta(days=min(365, rows // 10))
    step = (datetime.now(UTC) - ts) / rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for number in range(rows):
            ts += step
            cost = Decimal(chance.randrange(1, 2000)) / 1_000_000
            model = chance.choice(("anthropic/claude-3.7-sonnet", "openai/gpt-4.1", "qwen/qwen3-32b"))
            file.write(Row(ts, "hermes", "openrouter", model, cost, f"gen-{number:016x}").line())


def report(what: str, base: str, ratio: float, target: str) -> None:
    """Print one row of the table."""
    print(f"{what:<58} {base:<32} {ratio:>6.2f}x   {target}", flush=True)


def report_memory(what: str, *command: str) -> None:
    """Run a command, and print the most memory that its process had."""
    # Started by a small process: until it runs its program, a process counts the memory of its parent.
    started = subprocess.run((sys.executable, "-c", _MEMORY, *command), check=True, stdout=subprocess.PIPE)
    peak = int(started.stdout) / 1024
    print(f"{what + ', resident memory of the process':<58} {'':<32} {peak:>6.1f} MB  <= 60 MB", flush=True)


def gate(roots: dict[int, Path]) -> None:
    """The whole process of `check` and `charge`, and how flat they stay."""
    options = {rows: ("--root", str(root), "hermes") for rows, root in roots.items()}
    checks = [process(COMMAND, "check", *options[rows], "--estimate", "0.01") for rows in (SMALL, LARGE)]
    charges = [
        process(COMMAND, "charge", *options[rows], "--cost", "0", "--model", "m") for rows in (SMALL, LARGE)
    ]
    base, small, large = in_turns(ROUNDS, process(sys.executable, "-c", "pass"), *checks)
    report("check, whole process, 1,000 rows", "python -c pass", small / base, "<= 8x")
    report("check at 1,000,000 rows", "check at 1,000 rows", large / small, "<= 1.1x")
    small, large = in_turns(ROUNDS, *charges)
    report("charge at 1,000,000 rows", "charge at 1,000 rows", large / small, "<= 1.1x")


def build_cache(root: Path) -> Path:
    """Have the cache cover the whole ledger; where it is."""
    ledger = Ledger(Home(root).spend_dir("hermes"))
    with ledger.path.open("rb") as file:
        catch_up(ledger.cache(), file.fileno(), 0)
    ledger.cache().close()
    return ledger.dir / CACHE


def evict(path: Path) -> None:
    """Drop a file from memory, as a reboot does."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def request_ids(roots: dict[int, Path]) -> None:
    """Charges of new request ids and holds, at 1,000,000 rows: with the cache, after a reboot, without it."""
    caches = {rows: build_cache(root) for rows, root in roots.items()}
    cache = caches[LARGE]
    kept = cache.read_bytes()
    numbers = count()

    def charge(rows: int) -> None:
        # As OpenRouter writes them.
        new = f"gen-{1_760_000_000 + next(numbers)}-{''.join(random.choices(ascii_letters, k=20))}"
        charged = ("charge", "--root", str(roots[rows]), "hermes", "--cost", "0", "--model", "m")
        process(COMMAND, *charged, "--request-id", new)()

    def without_cache(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            cache.unlink(missing_ok=True)
            action()

        return run

    def with_cache(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            if not cache.exists() or cache.stat().st_size < len(kept):
                cache.write_bytes(kept)
            evict(cache)
            action()

        return run

    hold = process(
        COMMAND, "reserve", "--root", str(roots[LARGE]), "hermes", "--estimate", "0.0001", "--quiet"
    )
    for what, action in (("charge", lambda: charge(LARGE)), ("reserve", hold)):
        base, kept_seconds, without = in_turns(
            ROUNDS // 2, lambda: charge(SMALL), with_cache(action), without_cache(action)
        )
        report(
            f"{what}, 1,000,000 rows, after a reboot", "charge at 1,000 rows", kept_seconds / base, "<= 1.5x"
        )
        report(
            f"{what}, 1,000,000 rows, without the cache", "charge at 1,000 rows", without / base, "<= 1.5x"
        )
    cache.write_bytes(kept)
    small, large = in_turns(ROUNDS, *(partial(again, root) for root in roots.values()))
    report("request id on record, 1,000,000 rows", "at 1,000 rows", large / small, "<= 1.2x")


def again(root: Path) -> None:
    """Charge a call that is on record, by a process of its own."""
    ledger = Home(root).spend_dir("hermes") / "spend.jsonl"
    with ledger.open() as file:
        row = json.loads(file.readline())
    facts = (
        "--cost",
        f"{Decimal(str(row['cost_usd'])):f}",
        "--model",
        row["model"],
        "--surface",
        row["surface"],
    )
    process(COMMAND, "charge", "--root", str(root), "hermes", *facts, "--request-id", row["request_id"])()


def lock_while_building(root: Path) -> None:
    """The longest time that the lock is not free while charges build the cache, and while they do not."""
    Home(root).spend_dir("hermes").joinpath(CACHE).unlink(missing_ok=True)
    longest = longest_lock(root, "f'lock-{number}'")
    otherwise = f"{longest_lock(root, 'None') * 1e3:.1f} ms while it is not"
    what = "the longest time in the lock, while the cache is built"
    print(f"{what:<58} {otherwise:<32} {longest * 1e3:>5.1f} ms   <= 50 ms", flush=True)


def longest_lock(root: Path, request_id: str) -> float:
    """The longest time in seconds that the lock is not free during 60 charges; `request_id` is what Python
    computes their ids from.
    """
    script = (
        "import sys\nfrom decimal import Decimal\nfrom pathlib import Path\n"
        "from hal0_budget import Account, Home\n"
        "account = Account(Home(Path(sys.argv[1])), 'hermes')\n"
        "for number in range(60):\n"
        f"    account.charge(Decimal(0), model='m', request_id={request_id})"
    )
    lock = Home(root).spend_dir("hermes") / "spend.lock"
    longest, taken_at = 0.0, None
    with lock.open("r+b") as file, subprocess.Popen([sys.executable, "-c", script, str(root)]) as charges:
        while charges.poll() is None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_UN)
            except BlockingIOError:
                taken_at = taken_at or time.perf_counter()
            else:
                longest = max(longest, time.perf_counter() - (taken_at or time.perf_counter()))
                taken_at = None
            time.sleep(0.0002)
    return longest


def load(ledger: Path) -> None:
    """What reading is measured against."""
    with ledger.open() as file:
        for line in file:
            json.loads(line)


def first_scan(root: Path) -> None:
    """A scan of the whole ledger against `json.loads` of its lines, and the memory it needs."""
    account = Account(Home(root), "hermes")
    ledger = Home(root).spend_dir("hermes") / "spend.jsonl"
    checkpoint = ledger.with_name("spend.checkpoint")

    def scan() -> None:
        checkpoint.unlink(missing_ok=True)
        account.show()

    base, ours = in_turns(3, lambda: load(ledger), scan)
    report("first scan of 1,000,000 rows", "json.loads of each line", ours / base, "<= 0.5x")
    checkpoint.unlink()
    report_memory("first scan", COMMAND, "check", "--root", str(root), "hermes")


def replay(root: Path) -> None:
    """`simulate` of caps that block every day, against `json.loads` of the lines."""
    ledger = Home(root).spend_dir("hermes") / "spend.jsonl"
    changes = {"hourly_usd": Decimal("0.2"), "daily_usd": Decimal("2.2"), "warn_at": Decimal("0.9")}

    base, ours = in_turns(3, lambda: load(ledger), lambda: simulate(Home(root), "hermes", changes))
    report("simulate over 1,000,000 rows", "json.loads of each line", ours / base, "<= 1.5x")
    caps = "--daily", "2.2", "--warn-at", "0.9"
    report_memory("simulate", COMMAND, "simulate", "--root", str(root), "hermes", *caps)


def reporting(root: Path) -> None:
    """A report of a year against `json.loads` of its lines: without its sums in the cache, and with them."""
    ledger = Home(root).spend_dir("hermes") / "spend.jsonl"
    cache = ledger.with_name(CACHE)
    year = COMMAND, "report", "hermes", "--root", str(root), "--since", "12mo"
    command = process(*year, "--by", "day,model")

    def first() -> None:
        cache.unlink(missing_ok=True)
        command()

    base, alone, ours = in_turns(3, lambda: load(ledger), first, command)
    report("report over a year, 1,000,000 rows, no cache", "json.loads of each line", alone / base, "-")
    report("report over a year, 1,000,000 rows", "json.loads of each line", ours / base, "<= 0.1x")
    base, ours = in_turns(3, lambda: load(ledger), process(*year, "--by", "model"))
    report("report by model, 1,000,000 rows", "json.loads of each line", ours / base, "<= 0.1x")
    report_memory("report", *year, "--by", "day,model")


def recording(root: Path) -> None:
    """Charges through the library against a bare write and fsync of the same bytes."""
    account = Account(Home(root), "hermes")
    line = Row(datetime.now(UTC), "hermes", "cli", "m", Decimal("0.0421"), "req_" + "0" * 32).line()
    fd = os.open(root / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def bare() -> None:
        os.write(fd, line)
        os.fsync(fd)

    base, ours = in_turns(500, bare, lambda: account.charge(Decimal("0.0421"), model="m"))
    report("charge through the library, fsync each", "os.write + os.fsync", ours / base, "<= 3x")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="hal0-budget-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        roots = {rows: Path(folder) / str(rows) for rows in (SMALL, LARGE)}
        for rows, root in roots.items():
            home = Home(root)
            init(home)
            Account(home, "hermes").set_budget({"daily_usd": Decimal(1_000_000)})
            write_ledger(home.spend_dir("hermes") / "spend.jsonl", rows)
            Account(home, "hermes").show()
        print(f"{'what':<58} {'base':<32} {'ratio':>7}   figure to reach")
        gate(roots)
        request_ids(roots)
        lock_while_building(roots[LARGE])
        first_scan(roots[LARGE])
        replay(roots[LARGE])
        reporting(roots[LARGE])
        recording(roots[SMALL])


if __name__ == "__main__":
    main()
