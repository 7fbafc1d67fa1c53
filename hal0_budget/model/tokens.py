"""The tokens of one call. Each token is in exactly one count, however the provider counts."""

from __future__ import annotations

from typing import NamedTuple


class Tokens(NamedTuple):
    """Tokens of a call by price category: no token is in two counts.

    `input` excludes tokens that were read from or written to a cache. `cache_write_1h` are tokens
    written to a cache that lasts an hour. `output` includes reasoning.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that were sent; long-context prices depend on this number."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h
