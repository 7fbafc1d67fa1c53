"""Random histories of a budget: steps that are data, so that a history can be shown, cut and run again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from tests.conftest import NOON

PERSONAS = ("hermes", "coder")
SURFACES = ("cli", "openrouter", "fusion")
MODELS = ("m", "openai/gpt-4.1", 'ünï "q"')
AMOUNTS = ("0", "0.1", "0.2", "0.3", "1e-7", "0.30000000000000004", "3", "0.0000001", "1.10", "7E+1", "0.05")
CAPS = ("0", "0.3", "0.30000000000000004", "1", "2.5", "5", "20", "100", "1000000", "1e9", "0.0000002")
CAP_KEYS = ("per_call_max_usd", "hourly_usd", "daily_usd", "weekly_usd", "monthly_usd", "lifetime_usd")
JUMPS = (1, 1, 1, 30, 61, 3600, 3599, 7200, 86400, 90000, 7 * 86400, 31 * 86400, 366 * 86400, 3653 * 86400)
GARBAGE = (
    "not a row",
    "{}",
    '{"ts":"2026-05-29T12:00:00","persona_id":"p","surface":"s","model":"m","cost_usd":1,"request_id":"g"}',
    '{"ts":"2026-05-29T12:00:00Z","persona_id":"p","surface":"s","model":"m","cost_usd":-1,"request_id":"g"}',
    '{"ts":"2026-05-29T12:00:00Z","persona_id":"p","surface":"s","model":"m","cost_usd":NaN,"request_id":"g"}',
    '{"ts":"2026-05-29T12:00:00Z","persona_id":"p","surface":"s","model":"m","cost_usd":true,"request_id":"g"}',
    '{"ts":"2026-05-29T12:00:00Z","ts":"2026-05-29T12:00:00Z","persona_id":"p","surface":"s","model":"m"}',
    "\ufffd\x00",
)

# How often each step comes, against the others.
WEIGHTS = {
    "set": 4, "check": 4, "reserve": 12, "charge": 14, "settle": 8, "release": 5, "void": 4, "batch": 3,
    "forward": 9, "foreign": 6, "tear": 3, "kill": 5, "tamper": 6, "bank": 3, "lock": 1, "garbage": 1,
    "repair": 1, "kill_repair": 1, "report": 3, "log": 3, "churn": 0.05,
}  # fmt: skip
# What a history through the command may hold: its clock is the machine's.
OF_COMMAND = {"set", "check", "reserve", "charge", "settle", "release", "void", "batch", "foreign", "tamper",
              "bank", "lock", "garbage", "repair", "report", "log"}  # fmt: skip


class Step(NamedTuple):
    """One step: what is done, to which persona, asked by whom, and with what."""

    op: str
    persona: str
    who: int
    args: dict[str, Any]


def history(seed: int, steps: int, allowed: set[str] | None = None) -> tuple[Step, ...]:
    """The history of a seed."""
    return tuple(_Teller(random.Random(seed), allowed).steps(steps))


class _Teller:
    """Makes up steps that have to do with those before: the ids of holds and charges come again."""

    def __init__(self, chance: random.Random, allowed: set[str] | None) -> None:
        self.chance = chance
        self.is_command = allowed is not None
        # Each history leaves some kinds of step out, so that the others come close together.
        left_out = {op for op in WEIGHTS if chance.random() < 0.2} - {"reserve", "charge", "settle"}
        self.weights = {
            op: weight
            for op, weight in WEIGHTS.items()
            if op not in left_out and (allowed is None or op in allowed)
        }
        if "churn" in self.weights and chance.random() < 0.05:
            self.weights["churn"] = 4
        self.charges: dict[str, list[dict[str, Any]]] = {persona: [] for persona in PERSONAS}
        self.holds: dict[str, list[str]] = {persona: [] for persona in PERSONAS}
        self.count = 0

    def steps(self, count: int) -> Iterator[Step]:
        for persona in PERSONAS:
            yield Step("set", persona, 0, self.set(persona))
        ops, weights = list(self.weights), list(self.weights.values())
        for op in self.chance.choices(ops, weights, k=count):
            step = self.step(op)
            yield step
            if op == "churn":
                # An id that the journal has forgotten by now comes again.
                again = {"usd": self.amount(), "hold_id": self.old_hold(step.persona)}
                yield Step("reserve", step.persona, 0, {**self.reserve(step.persona), **again})

    def step(self, op: str) -> Step:
        persona = PERSONAS[self.chance.random() < 0.25]
        who = self.chance.choice((0, 0, 1, 2))
        make: Callable[[str], dict[str, Any]] = getattr(self, op)
        return Step(op, persona, who, make(persona))

    def amount(self, texts: tuple[str, ...] = AMOUNTS) -> Decimal:
        chance = self.chance
        match chance.randrange(8):
            case 0:
                return Decimal(repr(chance.random() * chance.choice((1e-6, 1, 10))))
            case 1:
                return Decimal(f"{chance.randrange(100)}.{chance.randrange(10**12):012}")
            case _:
                return Decimal(chance.choice(texts))

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def old_hold(self, persona: str) -> str:
        known = self.holds[persona]
        if not known or self.chance.random() < 0.03:
            return "never"
        return self.chance.choice(known[-4:] if self.chance.random() < 0.8 else known)

    def set(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        chance = self.chance
        changes: dict[str, Decimal | bool | None] = {}
        for key in chance.sample(CAP_KEYS, chance.randrange(3)):
            changes[key] = None if chance.random() < 0.25 else self.amount(CAPS)
        if chance.random() < 0.4:
            changes["hard_cap"] = chance.random() < 0.6
        if chance.random() < 0.2:
            changes["warn_at"] = chance.choice((None, Decimal("0.8"), Decimal(1), Decimal("0.1")))
        if not changes:
            changes["lifetime_usd"] = Decimal(1000000)
        return {"changes": changes, "replace": chance.random() < 0.2}

    def check(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        return {"estimate": None if self.chance.random() < 0.3 else self.amount()}

    def reserve(self, persona: str) -> dict[str, Any]:
        chance = self.chance
        hold_id: str | None = self.name("h")
        if chance.random() < 0.15:
            hold_id = self.old_hold(persona)
        elif chance.random() < 0.1:
            hold_id = None
        if hold_id:
            self.holds[persona].append(hold_id)
        ttl = 86400 if self.is_command else chance.choice((1, 1, 60, 900, 3600, 86400))
        names = {"surface": chance.choice(SURFACES), "model": chance.choice(MODELS)}
        ending = chance.choice(("book", "book", "release"))
        return {"usd": self.amount(), "ttl": ttl, "hold_id": hold_id, "on_expiry": ending, **names}

    def one_charge(self, persona: str, hold_id: str | None = None) -> dict[str, Any]:
        chance, known = self.chance, self.charges[persona]
        if known and chance.random() < 0.2:
            again = chance.choice(known[-3:] if chance.random() < 0.7 else known)
            return again if chance.random() < 0.7 else {**again, "cost": self.amount(), "hold_id": hold_id}
        made = {"cost": self.amount(), "model": chance.choice(MODELS), "surface": chance.choice(SURFACES)}
        charge = {**made, "request_id": self.name("r"), "hold_id": hold_id, "ts": None}
        self.charges[persona].append(charge)
        return charge

    def charge(self, persona: str) -> dict[str, Any]:
        charge = self.one_charge(persona)
        if self.chance.random() < 0.05:
            charge = {**charge, "request_id": None}
        elif self.chance.random() < 0.03:
            charge = {**charge, "request_id": self.our_id(persona)}
        return {"charges": [charge]}

    def our_id(self, persona: str) -> str:
        """A request id such as the program makes for rows of its own."""
        known = self.charges[persona]
        void = f"void:{self.chance.choice(known)['request_id'] if known else 'never'}"
        return self.chance.choice((void, f"unconfirmed:{self.old_hold(persona)}"))

    def settle(self, persona: str) -> dict[str, Any]:
        return {"charges": [self.one_charge(persona, self.old_hold(persona))]}

    def batch(self, persona: str) -> dict[str, Any]:
        charges = []
        for _ in range(self.chance.choice((1, 2, 3, 8))):
            hold_id = self.old_hold(persona) if self.chance.random() < 0.1 else None
            charge = self.one_charge(persona, hold_id)
            if self.chance.random() < 0.3:
                charge = {**charge, "ts": self.time()}
            charges.append(charge)
        return {"charges": charges}

    def release(self, persona: str) -> dict[str, Any]:
        return {"hold_id": self.old_hold(persona)}

    def void(self, persona: str) -> dict[str, Any]:
        chance, known = self.chance, self.charges[persona]
        if not known or chance.random() < 0.2:
            return {"request_id": chance.choice(("never", self.our_id(persona), self.our_id(persona)))}
        return {"request_id": chance.choice(known)["request_id"]}

    def forward(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        chance = self.chance
        sign = chance.choice((1, 1, -1))
        return {"seconds": sign * chance.choice(JUMPS), "micros": chance.choice((0, 0, 0, 1, 999_999))}

    def time(self) -> datetime:
        chance = self.chance
        days = chance.choice((0.02, 1, 8, 40, 4000))
        around = datetime.now(UTC).replace(minute=30) if self.is_command else NOON
        time = around + timedelta(days=chance.uniform(-days, days / 4))
        return time.astimezone(timezone(timedelta(hours=chance.choice((0, 2, -9.5)))))

    def foreign(self, persona: str) -> dict[str, Any]:
        return {"line": self.foreign_line(persona)}

    def foreign_line(self, persona: str) -> str:
        """A row as hal0 or anybody else may write it, without its newline."""
        chance, known = self.chance, self.charges[persona]
        cost = str(self.amount())
        if chance.random() < 0.3:
            cost = chance.choice(("1.5e-07", "1E-1", "25e-2", "0.5E1", "2e0", "1e-300"))
        time = self.time()
        ts = time.isoformat(timespec=chance.choice(("microseconds", "seconds")))
        if chance.random() < 0.4:
            ts = time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        facts = {
            "model": chance.choice(MODELS),
            "surface": chance.choice(SURFACES),
            "request_id": self.name("f"),
        }
        if known and chance.random() < 0.15:
            again = chance.choice(known)
            cost, facts = str(again["cost"]), {key: again[key] for key in facts}
        pairs = [
            ("ts", ts),
            ("persona_id", persona),
            ("surface", facts["surface"]),
            ("model", facts["model"]),
        ]
        pairs += [("cost_usd", "COST"), ("request_id", facts["request_id"])]
        if chance.random() < 0.3:
            pairs += chance.sample([("tokens", "[1]"), ("note", "a,b"), ("cost_source", "reported")], 1)
        if chance.random() < 0.3:
            chance.shuffle(pairs)
        separators = chance.choice(((",", ":"), (", ", ": ")))
        line = json.dumps(dict(pairs), separators=separators, ensure_ascii=chance.random() < 0.7)
        self.charges[persona].append({"cost": Decimal(cost), **facts, "hold_id": None, "ts": None})
        return line.replace('"COST"', cost)

    def tear(self, persona: str) -> dict[str, Any]:
        chance = self.chance
        cut = chance.choice((chance.random(), chance.random(), 1.0, -1.0))
        kind = chance.choice(("charge", "settle", "reserve", "foreign"))
        return {"step": Step(kind, persona, 0, getattr(self, kind)(persona)), "cut": cut}

    def kill(self, persona: str) -> dict[str, Any]:
        chance = self.chance
        kinds = (
            "charge",
            "charge",
            "settle",
            "settle",
            "reserve",
            "reserve",
            "release",
            "void",
            "batch",
            "set",
        )
        kind = chance.choice(kinds)
        step = Step(kind, persona, chance.randrange(3), getattr(self, kind)(persona))
        return {"step": step, **self.kill_repair(persona)}

    def kill_repair(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        chance = self.chance
        how = chance.choice(("before", "after", "half", "at random"))
        return {"how": how, "number": chance.randrange(1, 12), "delay": chance.random() * 0.004}

    def tamper(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        chance = self.chance
        how = chance.choice(("delete", "delete", "cut", "flip", "older", "older"))
        return {"file": chance.randrange(12), "how": how, "at": chance.random(), "bit": chance.randrange(8)}

    def bank(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        return {}

    lock = repair = log = bank

    def report(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        words = ("day", "model", "persona", "surface")
        return {"by": tuple(self.chance.sample(words, self.chance.randrange(1, 4)))}

    def garbage(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        return {"line": self.chance.choice(GARBAGE), "in_journal": self.chance.random() < 0.4}

    def churn(self, persona: str) -> dict[str, Any]:  # noqa: ARG002
        return {"count": self.chance.choice((120, 320)), "settled": self.chance.random() < 0.3}
