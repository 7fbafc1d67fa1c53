"""The main job on real input, in a temporary root: cap a persona, ask, charge, be warned, be blocked.

Prints each command with its exit code, and fails where one is not the expected one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

COMMAND = Path(sys.executable).with_name("hal0-budget")
SAMPLE = Path(__file__).parents[1] / "tests" / "samples" / "ledgers" / "hal0.jsonl"


def run(expected: int, *args: str) -> None:
    """Run one command, print it with what it says, and end the demo if its exit code is another."""
    print(f"$ hal0-budget {shlex.join(args)}", flush=True)
    code = subprocess.run([COMMAND, *args], check=False).returncode
    print(f"-> exit {code}\n", flush=True)
    if code != expected:
        sys.exit(f"demo: expected exit code {expected}")


def charge_until(enough: Decimal, limit: Decimal) -> None:
    """Charge rows of the sample ledger that fit below `limit` USD, until `enough` is spent."""
    spent = Decimal(0)
    for line in SAMPLE.read_text().splitlines():
        row = json.loads(line, parse_float=Decimal)
        if spent >= enough:
            return
        if row["cost_usd"] < Decimal("0.001") or spent + row["cost_usd"] > limit:
            continue
        spent += row["cost_usd"]
        details = ("--surface", row["surface"], "--model", row["model"], "--request-id", row["request_id"])
        run(0, "charge", "hermes", "--cost", str(row["cost_usd"]), *details)


def main() -> None:
    """Run the demo."""
    with tempfile.TemporaryDirectory(prefix="hal0-budget-demo-") as root:
        os.environ["HAL0_BUDGET_ROOT"] = root
        run(0, "init")
        run(0, "set", "hermes", "--daily", "1", "--per-call", "0.5", "--warn-at", "0.8")
        run(0, "check", "hermes", "--estimate", "0.3")
        charge_until(Decimal("0.8"), Decimal("0.9"))
        run(10, "check", "hermes", "--estimate", "0.01")
        run(20, "check", "hermes", "--estimate", "0.4")
        run(20, "check", "hermes", "--estimate", "0.6")
        run(0, "show", "hermes")
        print("demo: every command ended as expected")


if __name__ == "__main__":
    main()
