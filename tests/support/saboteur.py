"""Runs the program where it is to meet an error: each run a process of its own, on a copy of its files.

A script of the tests, which call `sabotaged`: it reads a `Job` as JSON from stdin, and prints an `Outcome`
of each run. It imports nothing of the program but what starts it: any other import can be the one that fails.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, NoReturn

VERDICTS = {0, 10, 20}

_OURS = ("decimal", "hal0_budget.errors", "hal0_budget.strict_json")

# How the program is to meet an error, at what call, import, function or depth, and the error's repr.
Run = tuple[Literal["none", "call", "import", "function", "depth"], str, str]

NOON = "2026-05-29T12:00:00+00:00"


class Job(NamedTuple):
    """A command line on the files below `root`, and the runs of it.

    What is in `modules` is imported before; then the clock stands still at noon.
    """

    argv: list[str]
    root: str
    runs: list[Run]
    modules: list[str]


class Outcome(NamedTuple):
    """How a run ended. Of one that met no error: how many calls there were, what was imported."""

    where: str
    error: str
    code: int
    out: str
    err: str
    calls: int = 0
    imported: tuple[str, ...] = ()


def sabotaged(
    root: Path, command: Sequence[str], runs: Iterable[Run], modules: Sequence[str] = ()
) -> list[Outcome]:
    """Run a command line as often as there are runs; how each of them ended."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(Job(list(command), str(root), list(runs), list(modules))),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(*found) for found in json.loads(done.stdout)]


class Unprintable(Exception):
    """An error of which nothing can be said."""

    def __str__(self) -> str:
        raise SystemExit(0)


class Unreadable(SystemExit):
    """An end whose exit code cannot be read."""

    @property
    def code(self) -> NoReturn:  # type: ignore[override]
        raise KeyboardInterrupt


def errors() -> dict[str, BaseException]:
    """An error of every class that there is, by its repr."""
    found = [_made(BaseException), *(_made(kind) for kind in _classes(BaseException))]
    found += [Unprintable(), Unreadable()]
    found += map(SystemExit, (None, False, True, 0, 10, 20, "text"))
    return {repr(error): error for error in found}


def _classes(base: type[BaseException]) -> Iterator[type[BaseException]]:
    for kind in base.__subclasses__():
        if kind.__module__ in _OURS or getattr(builtins, kind.__name__, None) is kind:
            yield kind
        yield from _classes(kind)


def _made(kind: type[BaseException]) -> BaseException:
    arguments: list[tuple[Any, ...]] = [
        ("text",), ("text", [ValueError()]), ("utf-8", b"", 0, 1, "text"), ("utf-8", "", 0, 1, "text"),
        ("", 0, 1, "text"),
    ]  # fmt: skip
    for args in [(5, "text")] if issubclass(kind, OSError) else arguments:
        try:
            return kind(*args)
        except TypeError:
            pass
    raise AssertionError(kind)


class _Finder:
    """Lets the import of one module fail."""

    def __init__(self, name: str, error: BaseException) -> None:
        self.name, self.error = name, error

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002, a finder's
        if name == self.name:
            raise self.error


class _Counter:
    """Counts the calls of the program's functions, and lets one of them fail."""

    def __init__(self, number: int = 0, error: BaseException | None = None) -> None:
        self.calls, self.number, self.error = 0, number, error
        self.package = importlib.import_module("hal0_budget").__path__[0]

    def __call__(self, frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self.package):
            self.calls += 1
            if self.calls == self.number and self.error is not None:
                sys.setprofile(None)
                raise self.error


def _sabotage(how: str, where: str, error: BaseException) -> None:
    match how:
        case "call":
            sys.setprofile(_Counter(int(where), error))
        case "import":
            sys.meta_path.insert(0, _Finder(where, error))
        case "function":
            module, name = where.split(":")

            def fail(*_: object, **__: object) -> NoReturn:
                raise error

            setattr(importlib.import_module(module), name, fail)
        case "depth":
            sys.setrecursionlimit(int(where))


def _count(told: int) -> None:
    """Let nothing fail, and tell at the end what was called and imported."""
    counter, before, end = _Counter(), set(sys.modules), os._exit

    def tell(status: int) -> NoReturn:
        sys.setprofile(None)
        os.write(told, json.dumps([counter.calls, sorted(set(sys.modules) - before)]).encode())
        end(status)

    os._exit = tell
    sys.setprofile(counter)


def _outcome(job: Job, how: str, where: str, error: str) -> Outcome:
    from hal0_budget.__main__ import main

    with ExitStack() as stack:
        out, err, told = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        root = shutil.copytree(job.root, f"{folder}/agents")
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["hal0-budget", "--root", root, *job.argv]
            if how == "none":
                _count(told.fileno())
            else:
                _sabotage(how, where, errors()[error])
            main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said, complained, counted = (_text(file).replace(folder, "") for file in (out, err, told))
        return Outcome(where, error, code, said, complained, *json.loads(counted or "[]"))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _stop_the_clock() -> None:
    """Before anything takes it."""
    from datetime import datetime

    from hal0_budget import clock

    noon = datetime.fromisoformat(NOON)
    clock.utc_now = lambda: noon


if __name__ == "__main__":
    job = Job(*json.load(sys.stdin))
    if job.modules:
        _stop_the_clock()
    for module in job.modules:
        importlib.import_module(module)
    json.dump([_outcome(job, *run) for run in job.runs], sys.stdout)
