"""Progress bars: on stderr if it is a terminal, after half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

_PATIENCE = 0.5

T = TypeVar("T")


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """Yields the items, with a bar."""
    with reading(prefix="") as progress:
        for number, item in enumerate(items):
            progress(what, number, len(items))
            yield item


@contextmanager
def reading(prefix: str = "reading ") -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function to call with a name, how much of it is done, and how much there is.

    Each name gets its own bar; a new name replaces the bar of the one before.
    """
    begin = time.monotonic()
    bars: dict[str, Callable[[int], None]] = {}
    with ExitStack() as stack:

        def _progress(what: str, done: int, size: int) -> None:
            if time.monotonic() - begin <= _PATIENCE or sys.stderr is None or not sys.stderr.isatty():
                return
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(_bar(prefix + what, size))
            bars[what](done)

        yield _progress


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
