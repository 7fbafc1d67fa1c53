"""The tokens of one call, counted once each however a provider counts them."""

from __future__ import annotations

from typing import NamedTuple


class Tokens(NamedTuple):
    """Tokens of a call by what they cost: none is in two of the counts.

    `input` leaves out what was read from a cache or written to one; `cache_write_1h` is what was
    written to a cache that lasts an hour; `output` includes reasoning.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that were sent: what long-context prices go by."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h
