"""The records of the ledger and of the journal of holds, and how each is written as a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from hal0_budget.model.money import plain

MORE_TEXTS = ("cost_source", "hold_id", "voids", "reason", "price")
MORE_COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")

Outcome = Literal["settled", "released", "expired"]
OnExpiry = Literal["book", "release"]

# The same as `json.dumps` for a text, without its checks of the type.
_quoted = json.encoder.encode_basestring_ascii


class Row(NamedTuple):
    """One charge: its time (aware, UTC), the persona, what was called, USD, and the provider's request id.

    `cost_source` is `reported` by the provider's response, `priced` from its tokens, `estimated`, or
    `unconfirmed` for an expired hold; None if the caller stated the cost. `hold_id` is the hold that the row
    settles. `voids` is the request id of the row that this row voids, and `reason` says why. `price` says at
    which rates the tokens were priced, and where the rates come from.
    """

    ts: datetime
    persona_id: str
    surface: str
    model: str
    cost_usd: Decimal
    request_id: str
    cost_source: str | None = None
    hold_id: str | None = None
    voids: str | None = None
    reason: str | None = None
    price: str | None = None
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None

    def line(self) -> bytes:
        """Return the row as a line of the ledger: ASCII, exact, with its newline."""
        text = [_quoted(part) for part in (self.persona_id, self.surface, self.model, self.request_id)]
        more = "".join(
            f',"{key}":{json.dumps(value)}'
            for key in (*MORE_TEXTS, *MORE_COUNTS)
            if (value := getattr(self, key)) is not None
        )
        ts = self.ts.astimezone(UTC).isoformat(timespec="microseconds")
        return (
            f'{{"ts":"{ts}","persona_id":{text[0]},"surface":{text[1]},"model":{text[2]}'
            f',"cost_usd":{plain(self.cost_usd)},"request_id":{text[3]}{more}}}\n'
        ).encode("ascii")


class Hold(NamedTuple):
    """An estimate in USD that counts against the caps from `ts` until it is settled or `expires` (aware UTC).

    When it expires it is booked as an unconfirmed row, or released, as `on_expiry` says. `ledger_size` is the
    size of the ledger in bytes when the hold was opened: only a row after that byte settles the hold.
    """

    hold_id: str
    usd: Decimal
    ts: datetime
    expires: datetime
    on_expiry: OnExpiry
    surface: str
    model: str
    ledger_size: int = 0

    def body(self) -> bytes:
        """Return the line of the hold up to its checksum."""
        return (
            f'{{"hold":{json.dumps(self.hold_id)},"usd":{plain(self.usd)}'
            f',"ts":"{_time_text(self.ts)}","expires":"{_time_text(self.expires)}"'
            f',"on_expiry":"{self.on_expiry}","surface":{json.dumps(self.surface)}'
            f',"model":{json.dumps(self.model)},"ledger_size":{self.ledger_size}'
        ).encode("ascii")


class Closing(NamedTuple):
    """The resolution of a hold: how it ended, and the request id of the row that settled it, if any."""

    hold_id: str
    how: Outcome
    request_id: str | None = None

    def body(self) -> bytes:
        """Return the line of the resolution up to its checksum."""
        return (
            f'{{"closed":{json.dumps(self.hold_id)},"how":"{self.how}"'
            f',"request_id":{json.dumps(self.request_id)}'
        ).encode("ascii")


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


class Entry(NamedTuple):
    """A row, and whether a later row voids it, among the rows that existed when reading began."""

    row: Row
    is_voided: bool
