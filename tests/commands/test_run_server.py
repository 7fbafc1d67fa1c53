"""The wrapper of docs/shell.md calls an OpenAI-compatible server through `run --from-stdout`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMAND, Cli

SHELL_PAGE = Path(__file__).parents[2] / "docs" / "shell.md"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


class Server(ThreadingHTTPServer):
    """Answers what the request asks for; a streamed answer waits in the middle until `go` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go = threading.Event()
        self.calls = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.calls += 1
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer secret":
            self.answer(401, {"error": {"message": "no such key", "type": "auth", "code": "invalid_api_key"}})
        elif request.get("stream"):
            self.stream(f"chatcmpl-{self.server.calls}", request)
        else:
            message = {"role": "assistant", "content": "hello"}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            number = self.server.calls
            self.answer(
                200, {"id": f"chatcmpl-{number}", "model": "gpt-4.1", "choices": choices, "usage": USAGE}
            )

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, name: str, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for text in ("hel", "lo"):
            self.event(
                {"id": name, "model": "gpt-4.1", "choices": [{"index": 0, "delta": {"content": text}}]}
            )
            self.server.go.wait(30)
        if request.get("stream_options", {}).get("include_usage"):
            self.event({"id": name, "model": "gpt-4.1", "choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, body: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """A provider on loopback."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Wrapper:
    """The scripts of the page in a folder with a request."""

    def __init__(self, cli: Cli, server: Server, folder: Path) -> None:
        found = re.findall(r"^```bash\n(.*?)^```", SHELL_PAGE.read_text(), re.MULTILINE | re.DOTALL)
        (script,) = [block for block in found if block.startswith("# answer.sh")]
        (readers,) = [block for block in found if block.startswith("./answer.sh")]
        self.whole, self.streamed = readers.splitlines()
        self.folder = folder
        (folder / "answer.sh").write_text(f"#!/usr/bin/env bash\n{script}")
        (folder / "answer.sh").chmod(0o755)
        self.ask(stream=False)
        self.environment = cli.environment(
            API_URL=f"http://127.0.0.1:{server.server_port}", API_KEY="secret",
            PATH=f"{COMMAND.parent}:{os.environ['PATH']}",
        )  # fmt: skip

    def ask(self, **request: Any) -> None:
        """Lay the requests down."""
        for name in ("request.json", "streamed.json"):
            (self.folder / name).write_text(json.dumps({"model": "gpt-4.1", "messages": [], **request}))

    def start(self, command: str, **extra: str) -> subprocess.Popen[str]:
        """Start a command of the page."""
        return subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env={**self.environment, **extra},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, command: str, **extra: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command of the page."""
        process = self.start(command, **extra)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def wrapper(cli: Cli, server: Server, tmp_path: Path) -> Wrapper:
    """The wrapper, with a cap of a dollar a day."""
    cli("set", "hermes", "--daily", "1")
    return Wrapper(cli, server, tmp_path)


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_float=Decimal) for line in ledger.read_text().splitlines()]


def test_answer_is_printed_and_its_tokens_are_charged(wrapper: Wrapper, ledger: Path) -> None:
    assert wrapper(wrapper.whole) == (0, "hello\n", "")
    (row,) = rows_of(ledger)
    assert (row["request_id"], row["model"], row["surface"]) == ("chatcmpl-1", "gpt-4.1", "openrouter")
    assert (row["cost_usd"], row["cost_source"]) == (Decimal("0.006"), "priced")


def test_streamed_answer_arrives_as_it_comes_and_is_charged_the_same(
    wrapper: Wrapper, server: Server, ledger: Path, cli: Cli
) -> None:
    wrapper.ask(stream=True, stream_options={"include_usage": True})
    with wrapper.start(wrapper.streamed) as process:
        assert process.stdout
        assert process.stdout.read(3) == "hel"
        assert not ledger.exists()
        server.go.set()
        assert process.stdout.read() == "lo"
        assert process.wait(60) == 0
    assert [(row["cost_usd"], row["request_id"]) for row in rows_of(ledger)] == [
        (Decimal("0.006"), "chatcmpl-1")
    ]
    the_day_after = cli("report", "--since", "yesterday", "--by", "model,source")
    assert "total $0.0060 in 1 call\n" in the_day_after.stdout
    assert re.search(r"gpt-4\.1 +priced +\$0\.0060", the_day_after.stdout)


def test_stream_that_was_not_asked_for_its_usage_books_the_estimate(
    wrapper: Wrapper, server: Server, ledger: Path
) -> None:
    wrapper.ask(stream=True)
    server.go.set()
    code, out, err = wrapper(wrapper.streamed)
    assert (code, out) == (0, "hello")
    assert "the stream ended before its usage (model gpt-4.1); the estimate is booked" in err
    assert [(row["cost_usd"], row["cost_source"]) for row in rows_of(ledger)] == [
        (Decimal("0.05"), "estimated")
    ]


def test_refused_call_costs_nothing_and_a_blocked_one_is_never_made(
    wrapper: Wrapper, server: Server, ledger: Path, cli: Cli
) -> None:
    assert wrapper("./answer.sh request.json", API_KEY="wrong")[0] == 22
    assert wrapper("./answer.sh request.json", ESTIMATE="1.01")[0] == 20
    assert server.calls == 1
    assert not ledger.exists()
    assert cli.json("show", "hermes")["windows"][1]["held_usd"] == 0


def test_server_that_is_not_there_books_the_estimate(wrapper: Wrapper, ledger: Path) -> None:
    code, out, err = wrapper("./answer.sh request.json", API_URL="http://127.0.0.1:9")
    assert (code, out) == (7, "")
    assert "the response is empty; the estimate is booked" in err
    assert rows_of(ledger)[0]["cost_usd"] == Decimal("0.05")
