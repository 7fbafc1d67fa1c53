"""Runs each command of a list in a process of its own, one after the other: a script that `recorder` starts.

Before and after each it writes to a file which one begins, and which ended how, so that a trace shows it
among the calls.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory


def _run(argv: list[str]) -> None:
    """Run a command line of `hal0-budget`, or what a story has others do; end the process."""
    root = Path(os.environ["HAL0_BUDGET_ROOT"])
    match argv:
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["remove", name]:
            shutil.rmtree(root / name)
        case ["append", name, text]:
            # As hal0's own server does: no lock, no fsync.
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o660)
            os.write(fd, text.encode())
        case ["empty", name]:
            os.truncate(root / name, 0)
        case ["fill", name]:
            _fill(root / name)
        case [*words, "--batch", lines]:
            batch = Path(f"{os.environ['NOTES']}.jsonl")
            batch.write_text(lines)
            _run([*words, f"--batch={batch}"])
        case _:
            from hal0_budget.__main__ import main

            sys.argv = ["hal0-budget", *argv]
            main()
    os._exit(0)


def _fill(journal: Path) -> None:
    """Reserve and release until the journal of holds is so long that doing it once more shortens it."""
    from hal0_budget import Account, Home

    def turn(root: Path, number: int) -> int:
        account = Account(Home(root), "hermes")
        account.reserve(Decimal("0.001"), hold_id=f"fill{number:05}")
        account.release(f"fill{number:05}")
        return (root / name).stat().st_size

    root = Path(os.environ["HAL0_BUDGET_ROOT"])
    name, size = journal.relative_to(root), 0
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(root, Path(folder) / "agents")
        for turns in range(2000):
            before, size = size, turn(copy, turns)
            if size < before:
                break
    for number in range(turns):
        turn(root, number)


def _drive(notes: str, steps: list[list[str]]) -> None:
    # Imported once for all of them.
    import hal0_budget.cli.app  # noqa: F401

    marks = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o660)
    errors = os.open(f"{notes}.err", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o660)
    for number, argv in enumerate(steps):
        os.write(marks, f"{number} begins\n".encode())
        os.environ["STEP"] = str(number)
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors, 2)
            _run(argv)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(marks, f"{number} {code}\n".encode())


if __name__ == "__main__":
    _drive(sys.argv[1], json.loads(sys.argv[2]))
