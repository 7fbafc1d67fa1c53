"""One model against everything: random histories of a budget, and an oracle that knows only the contract.

A history that fails is cut to the steps that matter, and shown with its seed.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conftest import Proof
from tests.support.comparing import Difference
from tests.support.histories import OF_COMMAND, Step, history
from tests.support.model_run import run

pytestmark = pytest.mark.promise(18)

LENGTHS = (20, 40, 60, 60, 100, 150)


def shrunk(steps: tuple[Step, ...], kind: str, *, is_command: bool = False) -> tuple[Step, ...]:
    """The steps without those that can be left out with the same kind of difference in the end."""
    size = max(1, len(steps) // 2)
    while size:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            found = run(fewer, is_command=is_command)
            if found is not None and found[1].kind == kind:
                steps = fewer[: found[0] + 1]
            else:
                start += size
        size //= 2
    return steps


def told(seed: int, steps: tuple[Step, ...], found: tuple[int, Difference], *, is_command: bool) -> str:
    """A failing history, cut to what matters."""
    number, difference = found
    few = shrunk(steps[: number + 1], difference.kind, is_command=is_command)
    again = run(few, is_command=is_command)
    lines = [f"seed {seed}, step {number}: {difference}", f"cut to {len(few)} steps:"]
    lines += [f"  {step}" for step in few]
    return "\n".join([*lines, f"ends in: {again[1] if again else 'nothing, this time'}"])


def test_library_answers_what_the_oracle_does_over_random_histories(proof: Proof) -> None:
    wanted, done, seed = proof.size(1000, 100_000), 0, 0
    counts: Counter[str] = Counter()
    while done < wanted:
        seed += 1
        steps = history(seed, LENGTHS[seed % len(LENGTHS)])
        found = run(steps, counts)
        if found is not None:
            pytest.fail(told(seed, steps, found, is_command=False))
        done += len(steps)
    proof.counted(done, "steps of random histories through the library, no answer other than the oracle's")
    proof.counted(counts["kill"], "processes killed among them")


def test_command_answers_what_the_oracle_does_over_random_histories(proof: Proof) -> None:
    wanted, done, seed = proof.size(8, 1000), 0, 0
    while done < wanted:
        seed += 1
        steps = history(-seed, proof.size(6, 40), OF_COMMAND)
        found = run(steps, is_command=True)
        if found is not None:
            pytest.fail(told(-seed, steps, found, is_command=True))
        done += len(steps)
    proof.counted(done, "steps of random histories through the command, no answer other than the oracle's")
