"""Exit 0 means that the last byte was synced: a write that fails acknowledges nothing, the next works."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Home, Row
from hal0_budget.clock import utc_now
from hal0_budget.stores.files import writer as writer_module
from tests.conftest import Cli, Proof
from tests.support.faults import MUTATING, Trace, largest_file, restored
from tests.support.write_cases import CASES, HOLDS, LEDGER, PERSONA, Case, ask, laid, state_of

pytestmark = pytest.mark.promise(6)


def synced(calls: list[str]) -> dict[str, bool]:
    """Each path that was written or synced, and whether its last write was followed by a good fsync."""
    found = {}
    for call in calls:
        if path := re.match(r"(?:write|fsync)\(\d+<(.*?)>", call):
            found[path[1]] = call.startswith("fsync(") and call.endswith("= 0")
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_error_at_any_write_or_sync_is_never_an_acknowledgement(
    case: Case, home: Home, cli: Cli, tmp_path: Path, proof: Proof
) -> None:
    trace, command = Trace(cli, home, tmp_path / "strace.log"), case.line.split()
    record = str(laid(home, case))
    # A file that is replaced is synced before it has its name.
    path = Path(record)
    is_replaced = case.file == PERSONA or (case.file == HOLDS and not path.exists())
    written = str(path.with_name(f".{path.name}.new")) if is_replaced else record
    start = state_of(home)
    with restored(home.root):
        assert trace(MUTATING, *command).returncode == 0
        assert synced(trace.calls())[written]
        end = state_of(home)
        steps = list(zip(trace.steps(), trace.calls(), strict=True))
    if not proof.is_full:
        # A first command syncs the folders that it may have made as well.
        below = written if case.before else str(home.root)
        steps = [(step, call) for step, call in steps if call.startswith("fsync(") and f"<{below}" in call]
    assert steps
    refused = 0
    for (name, number), call in steps:
        error = "EIO" if name == "fsync" else "ENOSPC"
        with restored(home.root):
            done = trace(MUTATING, *command, inject=f"{name}:error={error}:when={number}")
            (failed,) = [line for line in trace.calls() if "(INJECTED)" in line]
            if done.returncode == 0:
                assert synced(trace.calls())[written], call
                assert state_of(home) == end, call
                continue
            refused += 1
            assert (done.returncode, done.stdout) == (74, ""), call
            assert str(home.root) in done.stderr, "the error does not say of which file"
            assert state_of(home) in (start, end), call
            again = trace(MUTATING, *command)
            assert state_of(home) == end, call
            # 76: it was done before it failed, and cannot be done twice.
            assert again.returncode in {0, 76}, call
            if again.returncode == 0 and name == "fsync":
                assert synced(trace.calls())[failed.split("<")[1].split(">")[0]], "never synced"
    assert refused
    proof.counted(
        len(steps), "injected failures of a write or sync, none acknowledged without a whole row on the disk"
    )


def test_row_that_hal0_wrote_is_acknowledged_only_once_its_folders_are_synced(
    home: Home, cli: Cli, tmp_path: Path
) -> None:
    trace = Trace(cli, home, tmp_path / "strace.log")
    row = Row(utc_now(), "hermes", "cli", "m", Decimal("0.25"), "r1")
    folder = home.spend_dir("hermes")
    folder.mkdir(exist_ok=True)
    folder.joinpath(LEDGER).write_bytes(row.line())
    command = CASES["first charge"].line.split()
    with restored(home.root):
        assert trace(MUTATING, *command).returncode == 0
        assert synced(trace.calls())[str(folder)]
        assert synced(trace.calls())[str(folder.parent)]
        steps = [step for step, call in zip(trace.steps(), trace.calls(), strict=True) if "fsync(" in call]
    acknowledged = 0
    for name, number in steps:
        with restored(home.root):
            done = trace(MUTATING, *command, inject=f"{name}:error=EIO:when={number}")
            assert done.returncode in {0, 74}
            if done.returncode == 0:
                acknowledged += 1
                assert synced(trace.calls())[str(folder.parent)]
    assert acknowledged < len(steps)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_does_not_fit_at_any_byte_is_not_acknowledged(
    case: Case, home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    monkeypatch.setattr(writer_module, "_TEAR_GRACE", 0)  # nobody else finishes these tears
    record = laid(home, case)
    # A file that is replaced is written anew; any other grows.
    before = b"" if case.file == PERSONA or not record.exists() else record.read_bytes()
    start = state_of(home)
    with restored(home.root):
        assert ask(home, case.line) == 0
        end, needed = state_of(home), record.stat().st_size
    sizes = [*range(len(before), needed, proof.size(29, 1)), needed - 1, needed]
    for size in sizes:
        with restored(home.root):
            with largest_file(size):
                assert ask(home, case.line) == (0 if size == needed else 74), size
                assert ask(home, "check hermes --estimate 0.01") == 0, size
                assert ask(home, "show hermes") == 0, size
            assert state_of(home) == end if size == needed else state_of(home) == start, size
            assert ask(home, case.line) in {0, 76}, size
            assert state_of(home) == end, size
            assert case.file == PERSONA or record.read_bytes().startswith(before), size
    with largest_file((len(before) + needed) // 2):
        done = cli(*case.line.split())
        assert (done.returncode, done.stdout) == (74, "")
        assert str(home.root) in done.stderr
        assert cli("check", "hermes", "--estimate", "0.01").returncode == 0
    assert cli(*case.line.split()).returncode == 0
    assert state_of(home) == end
    proof.counted(len(sizes) + 1, "writes cut at every byte, none acknowledged but the whole ones")
