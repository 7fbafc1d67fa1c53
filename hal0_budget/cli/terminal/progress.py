"""A progress bar, for a person who waits: on a terminal, on stderr, after half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

_PATIENCE = 0.5

T = TypeVar("T")


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one after the other, with a bar once that takes a while and somebody looks."""
    begin = time.monotonic()
    for number, item in enumerate(items):
        if _is_waited_for(begin):
            yield from _with_bar(items[number:], what, number, len(items))
            return
        yield item


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """What to tell whose file is read, how many bytes of it and of how many; a bar for each file once
    that takes a while and somebody looks.
    """
    begin = time.monotonic()
    bars: dict[str, Callable[[int], None]] = {}
    with ExitStack() as stack:

        def _tell(what: str, done: int, size: int) -> None:
            if _is_waited_for(begin):
                if what not in bars:
                    stack.close()
                    bars[what] = stack.enter_context(_bar(f"reading {what}", size))
                bars[what](done)

        yield _tell


def _is_waited_for(begin: float) -> bool:
    return time.monotonic() - begin > _PATIENCE and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _with_bar(items: Sequence[T], what: str, done: int, total: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)
