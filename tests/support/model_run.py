"""Runs a history of the model."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from tests.support.comparing import Difference
from tests.support.histories import Step
from tests.support.twin import Twin

# Longer than any step takes; a step that takes longer hangs.
LONGEST = 30.0


# What is not on a disk need not wait for one: no step here cuts the power.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in whatever takes longer."""

    def stop(_signum: int, _frame: object) -> NoReturn:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(
    steps: tuple[Step, ...], counts: Counter[str] | None = None, *, is_command: bool = False
) -> tuple[int, Difference] | None:
    """Do a history from the beginning; at which step it differs first, and how, if it does."""
    with TemporaryDirectory(prefix="model", dir=MEMORY) as folder:
        twin = Twin(Path(folder) / "agents", is_command=is_command)
        try:
            for number, step in enumerate(steps):
                try:
                    with limited(LONGEST):
                        twin.do(step)
                except Difference as difference:
                    return number, difference
            return None
        finally:
            if counts is not None:
                counts.update(twin.counts)
