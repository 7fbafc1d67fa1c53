"""Run the proof of every promise, at its full figure where it grows, and write what was reached."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "promises.md"
MARK = "<!-- written by make prove -->\n"

NOTHING = pytest.ExitCode.NO_TESTS_COLLECTED

# The promises about time are proven one test after the other, on an otherwise idle machine.
PHASES = (
    ("1,2,3,5,6,9,10,11,12,13,15,16,17,18", "-n", "2"),
    ("4,7,8,14",),
)


class Table:
    """What each proof reached, by promise, as pytest reports it."""

    def __init__(self) -> None:
        self.figures: dict[int, list[str]] = {}
        self.counts: dict[int, Counter[str]] = {}
        self.most: dict[int, dict[str, float]] = {}
        self.failed: set[int] = set()
        self.missed: set[int] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test reached, or that it did not."""
        promise = dict(report.user_properties).get("promise")
        if not isinstance(promise, int):
            return
        if report.failed or report.skipped:
            self.failed.add(promise)
        if report.when == "call":
            figures = self.figures.setdefault(promise, [])
            counts = self.counts.setdefault(promise, Counter())
            most = self.most.setdefault(promise, {})
            for noted in report.user_properties:
                match noted:
                    case "figure", str(figure):
                        figures.append(figure)
                    case "missed", _:
                        self.missed.add(promise)
                    case "count", (int(number), str(what)):
                        counts[what] += number
                    case "most", (float(number), str(what)):
                        most[what] = max(number, most.get(what, number))

    def reached(self, promise: int) -> str:
        """All that the proofs of a promise reached, what they counted under one name put together."""
        counts = [f"{number:,} {what}" for what, number in self.counts.get(promise, Counter()).items()]
        most = [f"{number:.2f} {what}" for what, number in self.most.get(promise, {}).items()]
        return "; ".join([*counts, *most, *self.figures.get(promise, [])])


def rows(page: str, table: Table) -> str:
    """The promises of the page with what was reached now."""
    lines = [MARK + "| # | reached | kept |", "| --- | --- | --- |"]
    for number in map(int, re.findall(r"^\| (\d+) \|", page.split(MARK, 1)[0], re.MULTILINE)):
        ran = number in table.figures
        figures = table.reached(number) or ("held, at the size of `make test`" if ran else "no proof ran")
        held = "all but a time" if number in table.missed else "yes"
        kept = held if ran and number not in table.failed else "no"
        lines.append(f"| {number} | {figures} | {kept} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the proofs, or those that are named; 0 where every promise is kept, times included."""
    table = Table()
    codes = [
        pytest.main(["--prove", "-q", "--promises", promises, *options, *sys.argv[1:]], plugins=[table])
        for promises, *options in PHASES
    ]
    code = next((code for code in codes if code not in (pytest.ExitCode.OK, NOTHING)), 0)
    page = PAGE.read_text()
    text = rows(page, table)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    command = "make prove" if not sys.argv[1:] else f"scripts/prove.py {' '.join(sys.argv[1:])}"
    head = f"`{command}` on {datetime.now(UTC):%Y-%m-%d}, {machine}, Linux {platform.release()}:\n\n"
    PAGE.write_text(page.split(MARK)[0] + MARK + head + text.removeprefix(MARK))
    print(text)
    return int(code) or bool(table.missed)


if __name__ == "__main__":
    sys.exit(main())
