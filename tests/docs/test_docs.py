"""The documentation cannot drift: its commands are run, its tables are compared with the code."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import hal0_budget
from hal0_budget import errors
from hal0_budget.cli import options
from scripts import docs
from tests.conftest import COMMAND, Cli
from tests.support.pages import PAGES, PROJECT, TEXT, blocks

MARK = "\x01"


def examples(page: str) -> list[tuple[str, str]]:
    """Every command of the page's consoles, with the output that stands below it."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def settled(text: str, home: Path) -> str:
    """Output without what differs from run to run: the home folder, times, ids that were made."""
    text = text.replace(str(home), "/home/you")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", "TIME", text)
    return re.sub(r"req_[0-9a-f]{32}", "req_ID", text)


def run_examples(page: str, home: Path, setup: str = "") -> None:
    """Run the commands of a page in one shell, and compare what each prints."""
    wanted = examples(page)
    assert wanted, f"{page} has no console to run"
    script = setup + "".join(f"printf '{MARK}'\n{command}\n" for command, _ in wanted)
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={"HOME": str(home), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    outputs = done.stdout.split(MARK)[1:]
    for (command, output), printed in zip(wanted, outputs, strict=True):
        assert settled(printed, home) == settled(output, home), command


def test_readme_commands_print_what_it_says(tmp_path: Path) -> None:
    run_examples("README.md", tmp_path)


@pytest.mark.parametrize("page", ["exit-codes.md", "json.md", "looking-on.md"])
def test_commands_of_the_docs_print_what_they_say(page: str, tmp_path: Path) -> None:
    setup = "export HAL0_BUDGET_ROOT=$HOME; hal0-budget init -q; hal0-budget set hermes --daily 5 -q\n"
    run_examples(page, tmp_path, setup)


def test_command_reference_is_what_help_says() -> None:
    assert TEXT["commands.md"] == docs.page(), "run scripts/docs.py"


def test_every_failure_stands_in_the_table_of_exit_codes() -> None:
    table = TEXT["exit-codes.md"]
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.BudgetError)
    ]
    assert len(classes) > 10
    for kind in classes:
        assert f"| {kind.exit_code} | `{kind.code}` |" in table, kind.__name__
    for code in (0, 10, 20):
        assert re.search(rf"^\| {code} \| ", table, re.MULTILINE)


def test_failures_have_distinct_codes_and_never_read_as_a_verdict() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.BudgetError)
    ]
    codes = [kind.code for kind in classes if kind is not errors.BudgetError]
    assert len(codes) == len(set(codes))
    assert all(kind.exit_code >= 64 for kind in classes)


def test_every_variable_and_file_is_documented() -> None:
    everything = "".join(TEXT.values())
    for name in (options.ENV_ROOT, options.ENV_PERSONAS_DIR, options.ENV_AGENT):
        assert f"`{name}`" in TEXT["files.md"] or f"{name}," in TEXT["files.md"]
    source = "".join(path.read_text() for path in (PROJECT / "hal0_budget").rglob("*.py"))
    files = {*re.findall(r'"(spend\.\w+)"', source), "active.txt", "PERSONA.toml"}
    endings = set(re.findall(r'\.name\}(\.\w+)["{]', source))
    assert {"spend.lock", "spend.holds", "spend.cache"} <= files
    assert {".bak", ".new", ".unreadable"} <= endings
    assert not [name for name in (*files, *endings) if name not in TEXT["files.md"]]
    variables = set(re.findall(r'environ\.get\("(\w+)"', source))
    assert {"NO_COLOR", "TERM"} <= variables
    assert not [name for name in variables if name not in everything]


def test_every_name_of_the_library_is_documented_and_importable() -> None:
    for name in hal0_budget.__all__:
        assert getattr(hal0_budget, name)
        assert name == "__version__" or f"`{name}" in TEXT["library.md"]


def test_public_functions_and_classes_have_docstrings() -> None:
    for path in (PROJECT / "hal0_budget").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_library_example_runs(tmp_path: Path) -> None:
    (code,) = blocks("library.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"req_[0-9a-f]{32} 4\.9579\n", done.stdout)


def test_links_of_the_docs_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_readme_stays_near_a_hundred_lines() -> None:
    assert TEXT["README.md"].count("\n") <= 120


@contextmanager
def provider(body: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    """A paid service on loopback that answers every call with `body`; its URL, and the calls."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_wrapper_script_gates_and_records_paid_calls(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    script = tmp_path / "ask.sh"
    script.write_text(blocks("shell.md", "bash")[0])
    (tmp_path / "request.json").write_text("{}")
    cli("set", "hermes", "--daily", "0.1")
    reply = {
        "id": "gen-1",
        "model": "openai/gpt-4.1",
        "usage": {"cost": 0.04},
        "choices": [{"message": {"content": "hello"}}],
    }
    with provider(reply) as (url, calls):
        environment = cli.environment(
            API_URL=url, API_KEY="secret", PATH=f"{COMMAND.parent}:{os.environ['PATH']}"
        )

        def ask(**extra: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", str(script), "request.json"],
                cwd=tmp_path,
                env={**environment, **extra},
                capture_output=True,
                text=True,
                check=False,
            )

        first = ask()
        assert (first.returncode, first.stdout) == (0, "hello\n"), first.stderr
        second = ask(ESTIMATE="0.07")
        assert second.returncode == 20
        broken = ask(ESTIMATE="nan")
        assert broken.returncode == 64
        assert len(calls) == 1, "only the allowed call reached the provider"
    (row,) = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert (row["request_id"], row["model"], row["cost_usd"]) == ("gen-1", "openai/gpt-4.1", 0.04)
