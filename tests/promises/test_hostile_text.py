"""Text from outside is inert: it moves no cursor, hides nothing, forges no line and no row."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tty
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Home, init
from hal0_budget.cli.render.emit import printable
from tests.conftest import Cli, Proof
from tests.support.hostile import assert_inert, hostile

pytestmark = pytest.mark.promise(13)

T = TypeVar("T")


ON = pytest.mark.parametrize("terminal", [False, True], ids=["piped", "on a terminal"])
SHOWN = "generated names through the commands, piped and on a terminal"

# Runs the program once a line of its input, each time in a process of its own, without
# the time that a start takes.
SERVER = """
import json, os, sys
import hal0_budget.cli.commands.charge, hal0_budget.cli.commands.check
import hal0_budget.cli.commands.set, hal0_budget.cli.commands.show
import hal0_budget.cli.terminal.table, hal0_budget.stores.files.persona_edit, rich.cells
from hal0_budget.__main__ import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.argv = ["hal0-budget", *json.loads(line)]
        main()
    os.waitpid(child, 0)
"""


class Said(NamedTuple):
    """What some runs of the program wrote to stdout and to stderr."""

    out: str
    err: str


def run_all(root: Path, lines: Sequence[Sequence[str]], *, terminal: bool) -> Said:
    """Run the program on each command line; both its outputs are terminals, or both are pipes."""
    ends = [os.openpty() if terminal else os.pipe() for _ in range(2)]
    if terminal:
        for _, end in ends:
            tty.setraw(end)
    heard = ["", ""]

    def listen(number: int) -> None:
        data = b""
        try:
            while block := os.read(ends[number][0], 65536):
                data += block
        except OSError:
            pass  # so a terminal says that everybody has gone
        heard[number] = data.decode()

    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={"PATH": os.environ["PATH"], "HAL0_BUDGET_ROOT": str(root), "TERM": "xterm", "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=ends[0][1],
        stderr=ends[1][1],
    )
    for _, end in ends:
        os.close(end)
    listeners = [Thread(target=listen, args=(number,)) for number in range(2)]
    for listener in listeners:
        listener.start()
    server.communicate("".join(json.dumps(line) + "\n" for line in lines).encode(), timeout=60)
    for listener in listeners:
        listener.join(60)
    for end, _ in ends:
        os.close(end)
    return Said(*heard)


def check_few(proof: Proof, texts: st.SearchStrategy[list[T]], check: Callable[[list[T]], None]) -> None:
    """Check some lists of texts: few, because one is a hundred processes, and none to shrink a failed one."""
    seen = 0

    @settings(max_examples=proof.size(2, 16), deadline=None, phases=[Phase.generate])
    @given(texts)
    def each(found: list[T]) -> None:
        nonlocal seen
        check(found)
        seen += len(found)

    each()
    proof.counted(seen, SHOWN)


@settings(max_examples=300, deadline=None)
@given(text=hostile | st.text())
def test_printable_escapes_what_is_not_and_nothing_else(text: str) -> None:
    shown = printable(text)
    assert_inert(shown)
    assert "\n" not in shown
    assert (shown == text) == text.isprintable()
    if "\\" not in text:
        assert re.sub(r"\\(?:[nrt]|x..|u....|U........)", unescaped, shown) == text


def unescaped(escape: re.Match[str]) -> str:
    return escape[0].encode().decode("unicode_escape")


@ON
def test_charge_writes_one_row_and_says_one_inert_line(terminal: bool, proof: Proof) -> None:
    texts = st.tuples(hostile, hostile, hostile)
    lists = st.lists(texts, min_size=12, max_size=12, unique_by=itemgetter(2))
    check_few(proof, lists, lambda found: assert_charges_are_inert(terminal, found))


def assert_charges_are_inert(terminal: bool, texts: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as folder:
        home = Home(Path(folder))
        init(home)
        options = [
            ["--cost=0.01", f"--model={model}", f"--surface={surface}", f"--request-id={request_id}"]
            for model, surface, request_id in texts
        ]
        said = run_all(home.root, [["charge", "hermes", *line] for line in options], terminal=terminal)
        assert said.err == ""
        assert_inert(said.out)
        assert said.out.count("\n") == len(texts)
        for line, (_, _, request_id) in zip(said.out.splitlines(), texts, strict=True):
            assert line.startswith("charged $0.0100 to hermes: request ")
            if all(char.isalnum() or char in "[]/ :$`" for char in request_id):
                assert line.endswith(request_id)

        said = run_all(
            home.root, [["charge", "hermes", *line, "--json"] for line in options], terminal=terminal
        )
        assert (said.err, said.out.isascii()) == ("", True)
        answers = [json.loads(line)["row"] for line in said.out.splitlines()]
        rows = (home.spend_dir("hermes") / "spend.jsonl").read_bytes()
        assert rows.isascii()
        expected = [dict(zip(("model", "surface", "request_id"), text, strict=True)) for text in texts]
        assert [fields(row) for row in answers] == expected
        assert [fields(json.loads(row)) for row in rows.split(b"\n")[:-1]] == expected


def fields(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("model", "surface", "request_id")}


@ON
def test_message_that_quotes_its_cause_is_one_inert_line(terminal: bool, proof: Proof) -> None:
    lists = st.lists(hostile, min_size=11, max_size=11)
    check_few(proof, lists, lambda found: assert_messages_are_inert(terminal, found))


def assert_messages_are_inert(terminal: bool, texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        a, b, c, d, e, f, g, h, i, j, k = texts
        commands = [
            ["check", f"x{a}"],
            ["show", "hermes", f"--agent=x{b}"],
            ["show", f"--root={folder}/x{c}"],
            ["check", "hermes", f"--personas-dir={folder}/{d}"],
            ["check", "hermes", f"--estimate=x{e}"],
            ["charge", "hermes", "--model=m", f"--cost=1{f}x"],
            ["check", "hermes", f"--format=x{g}"],
            ["check", "hermes", f"--x{h}"],
            ["set", "hermes", f"--lock-timeout=x{i}", "--daily=1"],
            ["charge", "hermes", "--cost=1", f"--model={j * 1025}"],
            [f"x{k}"],
        ]
        said = run_all(Path(folder), commands, terminal=terminal)
        assert said.out == ""
        assert_inert(said.err)
        assert said.err.count("\n") == len(commands)
        assert all(line.startswith("hal0-budget: ") for line in said.err.splitlines())
        assert not [line for line in said.err.splitlines() if line.startswith("hal0-budget: bug")]

        said = run_all(Path(folder), [[*line, "--json"] for line in commands], terminal=terminal)
        assert said.out.isascii()
        assert_inert(said.err)
        assert ["error" in json.loads(line) for line in said.out.splitlines()] == [True] * len(commands)


@ON
def test_warning_that_quotes_a_key_is_one_inert_line(terminal: bool, proof: Proof) -> None:
    lists = st.lists(hostile, min_size=3, max_size=3)
    check_few(proof, lists, lambda found: assert_warnings_are_inert(terminal, found))


def assert_warnings_are_inert(terminal: bool, texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        home = Home(Path(folder))
        names = [f"p{number}" for number in range(len(texts))]
        init(home, names)
        for name, text in zip(names, texts, strict=True):
            # A misspelt cap is told by its letters and digits alone.
            key = "dialy_usd" + "".join(char for char in text if not char.isalnum())
            written = "".join(f"\\U{ord(char):08X}" for char in key)
            with home.persona_file(name).open("a") as file:
                file.write(f'"{written}" = 5\n')

        commands = ["check", "show", "set --daily=5", "charge --cost=1 --model=m"]
        lines = [[*command.split(), name] for command in commands for name in names]
        said = run_all(home.root, lines, terminal=terminal)
        assert_inert(said.err)
        assert said.err.count("did you mean daily_usd?\n") == said.err.count("\n") == len(lines)
        # Colour is ours alone, and stands on a terminal alone.
        assert_inert(re.sub(r"\x1b\[[0-9;]*m", "", said.out) if terminal else said.out)
        assert said.out.count("\n") == (1 + 7 + 1 + 1) * len(names)

        answers = [["check", name, option] for option in ("--json", "--format=nagios") for name in names]
        said = run_all(home.root, answers, terminal=terminal)
        assert_inert(said.out)
        bodies = [json.loads(line) for line in said.out.splitlines()[: len(names)]]
        assert said.out.partition("BUDGET")[0].isascii()
        assert [(body["verdict"], body["reason"]) for body in bodies] == [
            ("warn", body["warnings"][0]) for body in bodies
        ]
        assert [line.count("|") for line in said.out.splitlines()[len(names) :]] == [1] * len(names)


def test_text_that_is_no_text_is_refused_and_says_so_inertly(cli: Cli, ledger: Path) -> None:
    """Bytes that are not UTF-8 reach a program as lone surrogates, which no row can hold."""
    for option in ("--model", "--surface", "--request-id"):
        options = {"--cost": "1", "--model": "m", option: os.fsdecode(b"a\xff\x9b31m")}
        done = cli("charge", "hermes", *(f"{name}={text}" for name, text in options.items()))
        assert done.returncode == 64
        assert_inert(done.stderr)
        assert done.stderr.count("\n") == 1
    assert not ledger.exists()


def test_nul_in_the_text_of_a_library_call_is_a_character_of_its_row(account: Account, ledger: Path) -> None:
    row = account.charge(Decimal(1), model="a\0b\n", request_id="\0").row
    assert ledger.read_bytes().count(b"\n") == 1
    assert row.model == "a\0b\n"
    assert account.show().of("lifetime").spent == Decimal(1)
    assert json.loads(ledger.read_bytes())["model"] == "a\0b\n"


def test_init_names_hostile_folders_inertly(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode("a\n\x1b[31m\u202e\x9b".encode() + b"\xff")
    done = cli("init", "--root", str(folder))
    assert done.returncode == 0
    assert_inert(done.stdout)
    assert done.stdout.count("\n") == 3
    assert (folder / "hermes" / "personas" / "hermes.toml").exists()
    answer = cli("init", "--root", str(folder), "--json")
    assert answer.stdout.isascii()
    assert json.loads(answer.stdout)["files"][0]["path"].startswith(str(folder))
