"""Kills a child in the middle of what it does: at the n-th call that changes a file, or at random."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# What changes files, and is called by way of the module.
CHANGING = ("write", "pwrite", "fsync", "fdatasync", "replace", "rename", "unlink", "ftruncate", "link")


def killed(work: Callable[[], object], how: str, number: int, delay: float) -> None:
    """Fork a child that does `work`, and kill it: `before` or `after` the n-th call that changes a file,
    when `half` of the bytes are written, or `at random` after `delay` seconds. It may be done by then.
    """
    child = fork()
    if child == 0:
        try:
            if how != "at random":
                _strike(how, number)
            work()
        finally:
            os._exit(0)
    if how == "at random":
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def fork() -> int:
    """Fork, without the alarm of the parent; Python warns of forks beside threads, which a child has not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return child


def _strike(how: str, number: int) -> None:
    left = number

    def struck(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return call(*args, **options)
            if how == "half" and name in ("write", "pwrite"):
                call(args[0], args[1][: len(args[1]) // 2], *args[2:])
            elif how == "after":
                call(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return run

    for name in CHANGING:
        setattr(os, name, struck(name, getattr(os, name)))
