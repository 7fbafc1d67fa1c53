"""Steps of a story that a power cut ends: what each command does to the books, and how it is done again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import NamedTuple

import tomli

from hal0_budget import Account, Charge, Home, init
from hal0_budget.clock import utc_now
from hal0_budget.errors import Conflict, HoldNotFound
from hal0_budget.stores.files.repair import repair

# Of a persona without a file, and of one without a cap.
ABSENT = "absent"
NO_CAP = "none"

LEDGER = "hermes/personas/hermes/spend.jsonl"
HOLDS = "hermes/personas/hermes/spend.holds"
NO_ROW = "no row\n"
BATCH = (("b1", "0.5"), ("b2", "0.25"), ("b3", "0.125"))

# Whose ids are made when the command runs.
_UNNAMED = "unnamed"


class Effect(NamedTuple):
    """One thing that a command does: a row or hold of `usd`, the end of either, a lifetime cap, a repair."""

    kind: str
    name: str
    usd: Decimal = Decimal(0)


class Books(NamedTuple):
    """What a persona's files say: USD by request id, USD of open holds, and the lifetime cap.

    An expired hold that was booked counts as open: both count the same money once.
    """

    rows: frozenset[tuple[str, Decimal]]
    holds: frozenset[tuple[str, Decimal]]
    cap: str

    def after(self, effects: Sequence[Effect]) -> Books:
        """The books once the effects are there."""
        rows, holds, cap = dict(self.rows), dict(self.holds), self.cap
        for effect in effects:
            match effect.kind:
                case "row":
                    rows[effect.name] = effect.usd
                case "hold":
                    holds[effect.name] = effect.usd
                case "loss":
                    rows.pop(effect.name, None)
                case "end":
                    holds.pop(effect.name, None)
                case "cap":
                    cap = effect.name
        return Books(frozenset(rows.items()), frozenset(holds.items()), cap)


class Step(NamedTuple):
    """A command (see `recorder`), what it does, in the order in which a cut can leave it half done, whether
    its end in 0 acknowledges that, and whether its caller repeats it until it does.
    """

    argv: tuple[str, ...]
    effects: tuple[tuple[Effect, ...], ...] = ()
    is_acknowledged: bool = True
    is_repeated: bool = True


class Tried(NamedTuple):
    """A step that was begun, and how many of its effects were acknowledged."""

    step: Step
    acknowledged: int


def started(*steps: Step) -> tuple[Tried, ...]:
    """Steps that were done whole."""
    return tuple(Tried(step, len(step.effects)) for step in steps)


def made() -> Step:
    """`init`."""
    return Step(("init",), ((Effect("cap", NO_CAP),),))


def capped(usd: str) -> Step:
    """`set` of a lifetime cap."""
    return Step(("set", "hermes", "--lifetime", usd), ((Effect("cap", usd),),))


def charged(name: str, usd: str, hold: str | None = None, *, is_late: bool = False) -> Step:
    """`charge`; of a hold that was booked meanwhile, `is_late`, it also writes a row that takes that back."""
    argv = ("charge", "hermes", "--cost", usd, "--model", "m", "--request-id", name)
    row, end = (Effect("row", name, Decimal(usd)),), (Effect("end", hold or ""),)
    if hold is None:
        return Step(argv, (row,))
    return Step((*argv, "--hold", hold), (row, end) if is_late else (row + end,))


def batched() -> Step:
    """`charge --batch` of `BATCH`, from a file that the driver writes."""
    rows = tuple((Effect("row", name, Decimal(usd)),) for name, usd in BATCH)
    lines = [json.dumps({"cost_usd": float(usd), "model": "m", "request_id": name}) for name, usd in BATCH]
    return Step(("charge", "hermes", "--batch", "\n".join([*lines, ""])), rows)


def reserved(name: str, usd: str, ttl: str = "24h") -> Step:
    """`reserve`."""
    argv = ("reserve", "hermes", "--estimate", usd, "--hold-id", name, "--ttl", ttl)
    return Step(argv, ((Effect("hold", name, Decimal(usd)),),))


def lapsed(name: str, usd: str) -> Step:
    """`reserve` of what is given back after a second, and so counts no longer."""
    return Step((*reserved(name, usd, "1s").argv, "--on-expiry", "release"))


def released(name: str) -> Step:
    """`release`."""
    return Step(("release", "hermes", name), ((Effect("end", name),),))


def voided(name: str, usd: str) -> Step:
    """`void` of a charge of `usd`."""
    effect = Effect("row", f"void:{name}", -Decimal(usd))
    return Step(("void", "hermes", name, "--reason", "wrong"), ((effect,),))


def ran(usd: str) -> Step:
    """`run` of a command that says that it has started, and so that its hold was acknowledged."""
    command = ("sh", "-c", 'echo "$STEP running" >> "$NOTES"')
    money = Decimal(usd)
    effects = (
        (Effect("hold", _UNNAMED, money),),
        (Effect("row", _UNNAMED, money), Effect("end", _UNNAMED)),
    )
    argv = ("run", "hermes", "--estimate", usd, "--ttl", "24h", "--", *command)
    return Step(argv, effects, is_repeated=False)


def repaired() -> Step:
    """`verify --repair`."""
    return Step(("verify", "hermes", "--repair"), ((Effect("repair", "hermes"),),))


def appended(name: str, usd: str) -> Step:
    """A row of hal0's own server, which nobody acknowledges."""
    row = {"ts": utc_now().isoformat(), "persona_id": "hermes", "surface": "s", "model": "m"}
    line = json.dumps({**row, "cost_usd": float(usd), "request_id": name})
    effect = Effect("row", name, Decimal(usd))
    return Step(("append", LEDGER, line + "\n"), ((effect,),), is_acknowledged=False, is_repeated=False)


def text(content: str, file: str = LEDGER) -> Step:
    """Bytes at the end of a file that the program did not write."""
    return Step(("append", file, content))


def emptied(row: str) -> Step:
    """The ledger without its bytes, which were those of one row."""
    return Step(("empty", LEDGER), ((Effect("loss", row),),))


def filled() -> Step:
    """A journal of holds that the next hold and its end make so long that it is shortened."""
    return Step(("fill", HOLDS))


def read(command: str = "check") -> Step:
    """A command that only reads, and may keep a checkpoint."""
    return Step((command, "hermes"))


def removed(name: str) -> Step:
    """A folder that is gone, as of a persona that never spent."""
    return Step(("remove", name))


def slept(seconds: str) -> Step:
    """Time that passes."""
    return Step(("sleep", seconds))


def possible(steps: Sequence[Tried]) -> set[Books]:
    """Every state of the books in which all that was acknowledged is there, and of the rest any part."""
    nothing = Books(frozenset(), frozenset(), ABSENT)
    counts = [range(step.acknowledged, len(step.step.effects) + 1) for step in steps]
    found = set()
    for chosen in product(*counts):
        books = nothing
        for tried, count in zip(steps, chosen, strict=True):
            for effects in tried.step.effects[:count]:
                books = books.after(effects)
        found.add(books)
    return found


def finished(steps: Sequence[Tried]) -> tuple[Tried, ...]:
    """The steps once each that is repeated was repeated."""
    return tuple(
        Tried(tried.step, len(tried.step.effects) if tried.step.is_repeated else tried.acknowledged)
        for tried in steps
    )


def again(account: Account, step: Step) -> None:
    """Do a step again through the library, as its caller would that got no answer."""
    options = dict(zip(step.argv[2::2], step.argv[3::2], strict=False))
    # Done already, and what is done cannot be done twice.
    with suppress(Conflict, HoldNotFound):
        match step.argv[0]:
            case "init":
                init(account.home)
            case "set":
                account.set_budget({"lifetime_usd": Decimal(options["--lifetime"])})
            case "charge" if "--batch" in options:
                account.charge_all([Charge(Decimal(usd), "m", request_id=name) for name, usd in BATCH])
            case "charge":
                cost, name = Decimal(options["--cost"]), options["--request-id"]
                account.charge(cost, model="m", request_id=name, hold_id=options.get("--hold"))
            case "reserve":
                estimate, name = Decimal(options["--estimate"]), options["--hold-id"]
                account.reserve(estimate, hold_id=name, ttl=timedelta(hours=24))
            case "release":
                account.release(step.argv[2])
            case "void":
                account.void(step.argv[2], "wrong")
            case "verify":
                repair(account.home, account.persona, utc_now(), 5)


def books_of(home: Home, steps: Sequence[Tried]) -> Books:
    """What the files say. Raises AssertionError where one id counts twice."""
    known = {effect.name for tried in steps for effects in tried.step.effects for effect in effects}
    known |= {name for name, _ in _AFTER}
    rows: dict[str, Decimal] = {}
    for name, usd in _rows(home):
        assert name not in rows, f"request id {name} counts twice"
        rows[name] = usd
    holds: dict[str, Decimal] = {}
    for hold in Account(home, "hermes").holds() if home.persona_file("hermes").exists() else ():
        holds[hold.hold_id] = hold.usd
    for name in [name for name in rows if name.startswith("unconfirmed:")]:
        usd, hold_id = rows.pop(name), name.removeprefix("unconfirmed:")
        if rows.pop(f"void:{name}", None) is None:
            assert hold_id not in holds, f"hold {hold_id} is open and booked"
            holds[hold_id] = usd
    return Books(_renamed(rows, known), _renamed(holds, known), _cap_of(home))


# What is charged and reserved once everything was repeated.
_AFTER = (("after", Decimal("0.0625")), ("after-hold", Decimal("0.03125")))


def go_on(account: Account) -> tuple[Tried, ...]:
    """Charge and reserve once more; the steps that this was."""
    (row, cost), (hold, estimate) = _AFTER
    account.charge(cost, model="m", request_id=row)
    assert account.reserve(estimate, hold_id=hold).hold is not None
    return started(charged(row, str(cost)), reserved(hold, str(estimate)))


def _renamed(found: dict[str, Decimal], known: set[str]) -> frozenset[tuple[str, Decimal]]:
    return frozenset((name if name in known else _UNNAMED, usd) for name, usd in found.items())


def _rows(home: Home) -> Iterator[tuple[str, Decimal]]:
    ledger = home.spend_dir("hermes") / "spend.jsonl"
    for line in ledger.read_bytes().split(b"\n") if ledger.exists() else ():
        with suppress(ValueError):
            row = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            if "request_id" in row and "torn" not in row:
                yield row["request_id"], row["cost_usd"]


def _cap_of(home: Home) -> str:
    path = home.persona_file("hermes")
    if not path.exists():
        return ABSENT
    table = tomli.loads(path.read_text())["persona"]["budget"]
    return f"{table['lifetime_usd']:g}" if "lifetime_usd" in table else NO_CAP
