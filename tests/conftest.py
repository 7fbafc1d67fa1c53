"""What the tests share: an agent with two personas in a folder of its own, and the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hal0_budget import Account, Home, init

# A background shell starts the tests with SIGINT ignored, `nohup` with SIGHUP ignored, and every child would
# inherit that. A child resets a signal that has a handler here to its default. The handler does nothing, so
# the tests outlive their terminal under `nohup`; workers end when the process that started them ends.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN or "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(_number, lambda _number, _frame: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--prove` runs every proof at its full size: `make prove`."""
    parser.addoption("--prove", action="store_true", help="run the proofs of the promises at full size")
    parser.addoption("--promises", default="", help="run the proofs of these promises alone, as in 4,7")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remove the time limit of every test at full size: a proof may run for half an hour. Each report says
    which promise its test proves.
    """
    wanted = {int(number) for number in config.getoption("--promises").split(",") if number}
    for item in items:
        if config.getoption("--prove"):
            item.add_marker(pytest.mark.timeout(0), append=False)
        if (promise := _promise_of(item)) is not None:
            item.user_properties.append(("promise", promise))
    if wanted:
        items[:] = [item for item in items if _promise_of(item) in wanted]


def _promise_of(item: pytest.Item) -> int | None:
    """The promise that a test proves."""
    marker = item.get_closest_marker("promise")
    return None if marker is None else int(marker.args[0])


class Proof:
    """How large a proof is to be, and what it reached; the promise is the test's marker."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self.is_full: bool = request.config.getoption("--prove")

    def size(self, small: int, full: int) -> int:
        """The size that fits `make test`, or the one that is promised."""
        return full if self.is_full else small

    def reached(self, figure: str, *, kept: bool = True) -> None:
        """Note what was reached, for the table of `make prove`, and whether that is what was promised.

        A time that was not reached fails no test: it is the machine's as well.
        """
        self._request.node.user_properties.append(("figure", figure))
        if not kept:
            self._request.node.user_properties.append(("missed", figure))

    def counted(self, number: int, what: str) -> None:
        """Add to what all proofs of the promise counted under the same name, for the same table."""
        self._request.node.user_properties.append(("count", (number, what)))

    def at_most(self, number: float, what: str) -> None:
        """Note a number; the largest that the proofs of the promise note under the same name counts."""
        self._request.node.user_properties.append(("most", (number, what)))


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Proof:
    """The size of a proof, small in `make test` and full in `make prove`."""
    return Proof(request)


SAMPLES = Path(__file__).parent / "samples"
COMMAND = Path(sys.executable).with_name("hal0-budget")

# What `make coverage` passes to child processes, so that they are measured too; else nothing.
MEASURED = {name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}

# A Friday in the middle of a month, so that no window ends within a test.
NOON = datetime(2026, 5, 29, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that tests put forward and back."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """The time that it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that shows noon."""
    return Clock()


class Cli:
    """The installed command, run as a process of its own on the agent below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def environment(self, **extra: str) -> dict[str, str]:
        """Nothing of the caller's environment but the path: what cron gives, and the root."""
        return {"PATH": os.environ["PATH"], "HAL0_BUDGET_ROOT": str(self.root), **MEASURED, **extra}

    def __call__(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; `prefix` is what runs it, as `strace -f`."""
        return subprocess.run(
            [*prefix, str(COMMAND), *args],
            env=self.environment(**(env or {})),
            check=False,
            **{"capture_output": True, "text": True, "timeout": 60, **options},
        )

    def json(self, *args: str, code: int = 0) -> dict[str, Any]:
        """The JSON answer of a command that must end in `code`, its numbers exact."""
        done = self(*args, "--json")
        assert done.returncode == code, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout, parse_float=Decimal, parse_int=Decimal)
        return answer


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An agent as `init` makes it, with the personas hermes and coder."""
    home = Home(tmp_path / "agents")
    init(home)
    return home


@pytest.fixture
def account(home: Home) -> Account:
    """The account of hermes at noon."""
    return Account(home, "hermes", clock=lambda: NOON)


@pytest.fixture
def cli(home: Home) -> Cli:
    """The command on the agent of `home`."""
    return Cli(home.root)


@pytest.fixture
def ledger(home: Home) -> Path:
    """Where the ledger of hermes is, or will be."""
    return home.spend_dir("hermes") / "spend.jsonl"


def kill_group(group: int) -> None:
    """Kill what is left of a process group, so that no child outlives its test."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def forget_marks(ledger: Path) -> None:
    """Remove every file that remembers how far a ledger and its journal of holds had grown."""
    for name in ("spend.checkpoint", "spend.lock", ".spend.lock.link", "spend.index", "spend.cache"):
        ledger.with_name(name).unlink(missing_ok=True)


def put_ledger(path: Path, sample: str) -> bytes:
    """Lay a sample ledger where `path` is; its bytes."""
    data = (SAMPLES / "ledgers" / sample).read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data
