"""Rows written by hal0, and what a ledger holds."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from hal0_budget import Account
from hal0_budget.clock import utc_now
from hal0_budget.model.windows import Window


def row(cost: str, request_id: str, **more: str) -> bytes:
    """A row as hal0's own server writes it, without its newline."""
    found = {"ts": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}", "persona_id": "hermes", "surface": "cli", "model": "m"}
    text = json.dumps({**found, **more}, separators=(",", ":"))
    return f'{text[:-1]},"cost_usd":{cost},"request_id":"{request_id}"}}'.encode()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_bytes().splitlines() if line.strip()]


def ids_of(ledger: Path) -> list[str]:
    return [found["request_id"] for found in rows_of(ledger)]


def anew(account: Account) -> Account:
    """The same account, by one who has read nothing yet."""
    return Account(account.home, account.persona, clock=account.clock)


def spent_and_held(account: Account) -> tuple[object, object]:
    """What is spent and held, by one who looks for the first time."""
    statement = anew(account).show()
    return statement.of("lifetime").spent, statement.held


def calendar_start(window: Window, now: datetime) -> str:
    """The first moment of the window, in the notation of a ledger row and by the calendar of Python."""
    formats = {"hourly": "%Y-%m-%dT%H", "daily": "%Y-%m-%d", "monthly": "%Y-%m", "lifetime": ""}
    if window == "weekly":
        return datetime.strptime(now.strftime("%G-%V-1"), "%G-%V-%u").strftime("%Y-%m-%d")  # noqa: DTZ007, a date
    return now.strftime(formats[window])


def hal0_sum(ledger: bytes) -> float:
    """The lifetime sum as hal0's own reader counts it: whatever else a line raises crashes hal0."""
    total = 0.0
    for line in ledger.split(b"\n"):
        try:
            body = json.loads(line.decode())
            ts = body["ts"]
            datetime.fromisoformat(ts[:-1] + "+00:00" if ts.endswith("Z") else ts)
            for key in ("persona_id", "surface", "model", "request_id"):
                str(body[key])
            total += float(body["cost_usd"])
        except (ValueError, KeyError):
            continue
    return total


def files(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
