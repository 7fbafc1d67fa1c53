"""Many processes at once, started and waited for, and what they acknowledged."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path

from hal0_budget import Account, Home

COST = Decimal("0.25")


CHARGE = ("charge", "hermes", "--cost", "0.25", "--model", "m")


FORK = multiprocessing.get_context("fork")


def charge_often(home: Home, name: str, acknowledged: Path, turns: Iterable[int]) -> None:
    """Charge through the library, and note each request id once it is acknowledged."""
    account = Account(home, "hermes", lock_timeout=30)
    with acknowledged.open("ab", buffering=0) as file:
        for number in turns:
            row = account.charge(COST, model="m", request_id=f"{name}-{number}").row
            file.write(f"{row.request_id}\n".encode())


def started(work: Callable[..., None], *args: object) -> BaseProcess:
    process = FORK.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def ended(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def ids(ledger: bytes) -> list[str]:
    """The request ids of all rows; every line must be JSON."""
    lines = [json.loads(line) for line in ledger.splitlines()]
    return [line["request_id"] for line in lines if "torn" not in line]


def all_acknowledged(folder: Path) -> list[str]:
    return [one for path in folder.glob("ack-*") for one in path.read_text().split("\n") if one]


def open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_processes(count: int, work: Callable[[int], str]) -> list[str]:
    """Run `work` with each number in a process of its own; what each of them answered."""
    begin, start = os.pipe()
    answers, answer = os.pipe()
    children = []
    # What the tests before left is not the children's to look through: it would be copied for each of them.
    gc.collect()
    gc.freeze()
    for number in range(count):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(start)
                os.read(begin, 1)
                os.write(answer, f"{work(number)}\n".encode())
                code = 0
            except BaseException:
                # Nobody else would see it: the process ends here.
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        children.append(child)
    gc.unfreeze()
    os.close(begin)
    os.close(start)
    os.close(answer)
    with open(answers, encoding="ascii") as file:
        lines = file.read().splitlines()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
    return lines
