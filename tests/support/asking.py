"""The program as a model asks it: through the library or the installed command, answered alike."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

from hal0_budget import Account, Charge, Decision, Home, Statement, report
from hal0_budget.errors import BudgetError
from hal0_budget.reporting.grouping import By
from tests.conftest import Cli
from tests.support.killing import fork

CODES = {"allow": 0, "warn": 10, "block": 20}


class Shown(NamedTuple):
    """What is spent in each window, held, left of each cap, and wrong."""

    spent: Mapping[str, Fraction]
    held: Fraction
    remaining: Mapping[str, Fraction]
    unconfirmed: Fraction
    resets: Mapping[str, datetime | None]
    warnings: Sequence[str]


class Judged(NamedTuple):
    """A verdict, and the hold where one was made: its id and USD."""

    level: str
    window: str | None
    reason: str | None
    remaining: Mapping[str, Fraction]
    held: Fraction
    hold: tuple[str, Fraction] | None = None


class Charged(NamedTuple):
    """The request ids that were charged, and which of them were on record before."""

    request_ids: tuple[str, ...]
    were_recorded: tuple[bool, ...]


class Answer(NamedTuple):
    """An exit code, what was answered where it was no failure, and the message where it was one."""

    code: int
    value: Any = None
    message: str = ""


class Asking(Protocol):
    """What a model asks of a program; `who` tells which of several processes or objects is asked."""

    def show(self, persona: str, who: int) -> Answer: ...
    def check(self, persona: str, who: int, estimate: Decimal | None) -> Answer: ...
    def reserve(self, persona: str, who: int, args: Mapping[str, Any]) -> Answer: ...
    def charge(self, persona: str, who: int, charges: Sequence[Mapping[str, Any]]) -> Answer: ...
    def release(self, persona: str, who: int, hold_id: str) -> Answer: ...
    def void(self, persona: str, who: int, request_id: str) -> Answer: ...
    def set(self, persona: str, who: int, changes: Mapping[str, Any], *, replace: bool) -> Answer: ...
    def report(self, by: Sequence[By]) -> Answer: ...
    def log(self, persona: str) -> Answer: ...


class Library:
    """Asks accounts that live long, and some that are made for one question."""

    def __init__(self, home: Home, clock: Callable[[], datetime]) -> None:
        self._home, self._clock = home, clock
        self._accounts: dict[tuple[str, int], Account] = {}

    def account(self, persona: str, who: int) -> Account:
        """An account: number 0 is made anew each time."""
        if who == 0 or (persona, who) not in self._accounts:
            self._accounts[persona, who] = Account(self._home, persona, clock=self._clock)
        return self._accounts[persona, who]

    def show(self, persona: str, who: int) -> Answer:
        return _answer(self.account(persona, who).show, _shown)

    def check(self, persona: str, who: int, estimate: Decimal | None) -> Answer:
        return _judged(_answer(lambda: self.account(persona, who).check(estimate), _judged_as))

    def reserve(self, persona: str, who: int, args: Mapping[str, Any]) -> Answer:
        def ask() -> Judged:
            given = {key: value for key, value in args.items() if key not in ("usd", "ttl")}
            ttl = timedelta(seconds=args["ttl"])
            decision, hold = self.account(persona, who).reserve(args["usd"], ttl=ttl, **given)
            made = None if hold is None else (hold.hold_id, Fraction(hold.usd))
            return _judged_as(decision)._replace(hold=made)

        return _judged(_answer(ask))

    def charge(self, persona: str, who: int, charges: Sequence[Mapping[str, Any]]) -> Answer:
        def ask() -> Charged:
            receipts = self.account(persona, who).charge_all([Charge(**charge) for charge in charges])
            ids = tuple(receipt.row.request_id for receipt in receipts)
            return Charged(ids, tuple(receipt.was_recorded for receipt in receipts))

        return _answer(ask)

    def release(self, persona: str, who: int, hold_id: str) -> Answer:
        return _answer(lambda: self.account(persona, who).release(hold_id))

    def void(self, persona: str, who: int, request_id: str) -> Answer:
        return _answer(lambda: self.account(persona, who).void(request_id, "wrong"))

    def set(self, persona: str, who: int, changes: Mapping[str, Any], *, replace: bool) -> Answer:
        return _answer(lambda: self.account(persona, who).set_budget(changes, replace=replace))

    def report(self, by: Sequence[By]) -> Answer:
        """USD by group, of all days and personas."""

        def ask() -> dict[tuple[str, ...], Fraction]:
            found = report(self._home, by=by, clock=self._clock)
            for failure in found.failures:
                raise failure.error
            return {group.keys: Fraction(group.total.usd) for group in found.groups}

        return _answer(ask)

    def log(self, persona: str) -> Answer:
        """USD of each row."""

        def ask() -> list[Fraction]:
            tail = self.account(persona, 0).tail()
            costs = [Fraction(entry.row.cost_usd) for entry in tail.read() if not isinstance(entry, str)]
            tail.close()
            return costs

        return _answer(ask)


class Command:
    """Asks the installed command."""

    def __init__(self, home: Home) -> None:
        self._cli = Cli(home.root)
        self._batch = home.root / "batch.jsonl"

    def _ask(self, *args: str) -> Answer:
        done = self._cli(*args, "--json")
        body = json.loads(done.stdout, parse_float=Fraction, parse_int=Fraction) if done.stdout else {}
        if done.returncode in CODES.values():
            return Answer(done.returncode, body, done.stderr)
        return Answer(done.returncode, None, str(body.get("error", {}).get("message", done.stderr)))

    def show(self, persona: str, who: int) -> Answer:  # noqa: ARG002
        answer = self._ask("show", persona)
        if answer.value is None:
            return answer
        windows = {window["window"]: window for window in answer.value["windows"]}
        timed = {name: window for name, window in windows.items() if name != "per_call"}
        shown = Shown(
            {name: window["spent_usd"] for name, window in timed.items()},
            timed["daily"]["held_usd"],
            {n: window["remaining_usd"] for n, window in windows.items() if window["cap_usd"] is not None},
            answer.value["unconfirmed_usd"],
            {name: _time(window["resets_at"]) for name, window in windows.items()},
            answer.value["warnings"],
        )
        return answer._replace(value=shown)

    def check(self, persona: str, who: int, estimate: Decimal | None) -> Answer:  # noqa: ARG002
        return self._judged("check", persona, *([] if estimate is None else ["--estimate", str(estimate)]))

    def reserve(self, persona: str, who: int, args: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        hold_id = [] if args["hold_id"] is None else ["--hold-id", args["hold_id"]]
        words = ["reserve", persona, "--estimate", str(args["usd"]), "--ttl", f"{args['ttl']}s", *hold_id]
        names = ["--surface", args["surface"], "--model", args["model"]]
        return self._judged(*words, *names, "--on-expiry", args["on_expiry"])

    def _judged(self, *words: str) -> Answer:
        answer = self._ask(*words)
        if answer.value is None:
            return answer
        body, hold = answer.value, answer.value.get("hold")
        made = None if hold is None else (hold["id"], hold["usd"])
        rest = (body["remaining_usd"], body["held_usd"], made)
        return answer._replace(value=Judged(body["verdict"], body["window"], body["reason"], *rest))

    def charge(self, persona: str, who: int, charges: Sequence[Mapping[str, Any]]) -> Answer:
        if len(charges) == 1 and charges[0]["ts"] is None and who:
            return self._charge_one(persona, charges[0])
        lines = []
        for charge in charges:
            more = {key: charge[key] for key in ("model", "surface", "request_id", "hold_id")}
            more["ts"] = None if charge["ts"] is None else charge["ts"].isoformat()
            told = json.dumps({key: value for key, value in more.items() if value is not None})
            lines.append(f'{{"cost_usd":{charge["cost"]},{told[1:]}\n')
        self._batch.write_text("".join(lines))
        answer = self._ask("charge", persona, "--batch", str(self._batch))
        if answer.value is None:
            return answer
        known = answer.value["were_recorded"]
        ids = tuple(charge["request_id"] for charge in charges)
        return answer._replace(value=Charged(ids, (True,) * int(known) + (False,) * (len(ids) - int(known))))

    def _charge_one(self, persona: str, charge: Mapping[str, Any]) -> Answer:
        words = ["charge", persona, "--cost", str(charge["cost"])]
        for option, key in (
            ("model",) * 2,
            ("surface",) * 2,
            ("request-id", "request_id"),
            ("hold", "hold_id"),
        ):
            words += [] if charge[key] is None else [f"--{option}", charge[key]]
        answer = self._ask(*words)
        if answer.value is None:
            return answer
        row, known = answer.value["row"], answer.value["was_recorded"]
        return answer._replace(value=Charged((row["request_id"],), (known,)))

    def release(self, persona: str, who: int, hold_id: str) -> Answer:  # noqa: ARG002
        return self._ask("release", persona, hold_id)

    def void(self, persona: str, who: int, request_id: str) -> Answer:  # noqa: ARG002
        return self._ask("void", persona, request_id, "--reason", "wrong")

    def set(self, persona: str, who: int, changes: Mapping[str, Any], *, replace: bool) -> Answer:  # noqa: ARG002
        words = ["set", persona, *(["--replace"] if replace else [])]
        for key, value in changes.items():
            name = {"per_call_max_usd": "per-call"}.get(key, key.removesuffix("_usd").replace("_", "-"))
            if key == "hard_cap":
                words.append("--warn-only" if value is False else "--hard-cap")
            else:
                words += [f"--{name}", "none" if value is None else str(value)]
        return self._ask(*words)

    def report(self, by: Sequence[By]) -> Answer:
        answer = self._ask("report", "--by", ",".join(by), "--since", "1000-01-01")
        if answer.value is None:
            return answer
        groups = answer.value["groups"]
        return answer._replace(value={tuple(group[word] for word in by): group["usd"] for group in groups})

    def log(self, persona: str) -> Answer:
        answer = self._ask("log", persona, "--last", "all")
        return answer if answer.value is None else answer._replace(value=_costs(answer.value))


def in_child(root: Path, *args: str) -> tuple[int, str]:
    """Run the command in a fork, which spares it its start; its exit code and what it printed."""
    child = fork()
    if child == 0:
        become(root, *args)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), (root / "printed").read_text()


def become(root: Path, *args: str) -> NoReturn:
    """Make this process, which is a fork, the command; what it prints goes to a file."""
    try:
        fd = os.open(root / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["hal0-budget", *args]
        os.environ["HAL0_BUDGET_ROOT"] = str(root)
        from hal0_budget.__main__ import main

        main()
    finally:
        os._exit(99)


def _answer(ask: Callable[[], Any], shape: Callable[[Any], Any] = lambda found: found) -> Answer:
    try:
        return Answer(0, shape(ask()))
    except BudgetError as error:
        return Answer(error.exit_code, None, error.message)


def _judged(answer: Answer) -> Answer:
    return answer if answer.value is None else answer._replace(code=CODES[answer.value.level])


def _judged_as(decision: Decision) -> Judged:
    verdict, shown = decision.verdict, _shown(decision.statement)
    return Judged(verdict.level, verdict.window, verdict.reason, shown.remaining, shown.held)


def _shown(statement: Statement) -> Shown:
    states = statement.windows
    return Shown(
        {state.window: Fraction(state.spent) for state in states if state.spent is not None},
        Fraction(statement.held),
        {state.window: Fraction(state.remaining) for state in states if state.remaining is not None},
        Fraction(statement.unconfirmed),
        {state.window: state.resets_at for state in states},
        statement.warnings,
    )


def _costs(body: Mapping[str, Any]) -> list[Fraction]:
    return [row["cost_usd"] for row in body["rows"]]


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
