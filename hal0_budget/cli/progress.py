"""A progress bar, for a person who waits: on a terminal, on stderr, after half a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

_PATIENCE = 0.5

T = TypeVar("T")


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one after the other, with a bar once that takes a while and somebody looks."""
    begin = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - begin > _PATIENCE and sys.stderr is not None and sys.stderr.isatty():
            yield from _with_bar(items[number:], what, number, len(items))
            return
        yield item


def _with_bar(items: Sequence[T], what: str, done: int, total: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)
