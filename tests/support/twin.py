"""A budget and its oracle, side by side: each step of a history is done to both."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hal0_budget import Account
from hal0_budget.reporting.grouping import By
from tests.conftest import NOON
from tests.support.asking import CODES, Answer, Charged, Judged
from tests.support.comparing import LEDGER, Difference
from tests.support.histories import Step
from tests.support.mishaps import Mishaps
from tests.support.oracle import ZERO, Entry, Held, Judgement
from tests.support.plans import Wanted, plan

ZERO_USD = Decimal(0)


class Twin(Mishaps):
    """Has a method for each kind of step, by its name."""

    def do(self, step: Step) -> None:
        """Do a step, and compare what can be told. Raises Difference."""
        self.persona, self.who = step.persona, step.who
        self.counts[step.op] += 1
        try:
            getattr(self, step.op)(**step.args)
            self.compare()
        except Difference:
            raise
        except TimeoutError as error:
            raise Difference(f"{step.op} hangs", error) from error
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{step.op} crashes: {type(error).__name__}"
            raise Difference(kind, f"{error} ({where.filename}:{where.lineno})") from error

    def set(self, changes: Mapping[str, Decimal | bool | None], *, replace: bool) -> None:
        answer = self.ask(lambda asked, persona, who: asked.set(persona, who, changes, replace=replace))
        self.expect("set", answer, {0})
        self.oracle.set(changes, replace=replace)

    def check(self, estimate: Decimal | None) -> None:
        self.compare_verdict(estimate)

    def reserve(self, **args: Any) -> None:
        answer = self.ask(lambda asked, persona, who: asked.reserve(persona, who, args))
        oracle, hold_id = self.oracle, args["hold_id"]
        if answer.code == 65 and self.is_suspect:
            self.adopt((), booking="may")
        elif oracle.refuses:
            is_taken = hold_id in oracle.holds or hold_id in oracle.ended
            self.expect("reserve on what is damaged", answer, {65, 76} if is_taken else {65})
            self.adopt((), booking="no")
        elif oracle.is_journal_bad:
            # Who only warns goes on; what was acknowledged then must be there after a repair.
            self.adopt((), booking="no")
            self._granted(answer.value, args)
        else:
            self.adopt((), booking=self._booking(is_sure=answer.code in (0, 10)))
            if hold_id not in self.doubtful:
                self._reserved(answer, args)
            elif answer.value is not None:
                self._granted(answer.value, args)

    def _booking(self, *, is_sure: bool) -> str:
        """Whether what has expired becomes rows: not while anything is damaged."""
        return "no" if self.oracle.is_damaged else "must" if is_sure else "may"

    def _reserved(self, answer: Answer, args: Mapping[str, Any]) -> None:
        """Compare the answer of a reserve with the verdict on it, and take the hold."""
        oracle, hold_id, usd = self.oracle, args["hold_id"], Fraction(args["usd"])
        same = oracle.holds.get(hold_id or "")
        if (same is not None and same.usd != usd) or (answer.code == 76 and hold_id in oracle.ended):
            self.expect("reserve of a hold id that is taken", answer, {76})
            return
        right = oracle.judge(usd if same is None else ZERO, self.now)
        self.expect("reserve", answer, {CODES[right.level]})
        judged: Judged = answer.value
        self._compare_reserved(judged, right, args)
        if same is None:
            self._granted(judged, args)

    def _compare_reserved(self, judged: Judged, right: Judgement, args: Mapping[str, Any]) -> None:
        if (judged.level, judged.window) != (right.level, right.window):
            raise Difference("reserve: verdict", (judged, right))
        is_right = judged.hold is None
        if right.level != "block":
            hold_id, usd = judged.hold or ("", None)
            is_right = usd == Fraction(args["usd"]) and hold_id == (args["hold_id"] or hold_id)
        if not is_right:
            raise Difference("reserve: the hold", (judged.hold, args))

    def _granted(self, judged: Judged | None, args: Mapping[str, Any]) -> None:
        """Take the hold that was granted, if one was."""
        if judged is not None and judged.hold is not None:
            self.doubtful.discard(judged.hold[0])
            expires = self.now + timedelta(seconds=args["ttl"])
            names = args["on_expiry"], args["model"], args["surface"]
            self.oracle.holds[judged.hold[0]] = Held(*judged.hold, self.now, expires, *names)

    def charge(self, charges: Sequence[Mapping[str, Any]]) -> None:
        planned = plan(self.oracle, charges, self.now)
        answer = self.ask(lambda asked, persona, who: asked.charge(persona, who, charges))
        self.expect("charge", answer, planned.codes)
        if answer.code != 0:
            self.adopt((), booking="no")
            return
        found: Charged = answer.value
        if planned.known is not None and sum(found.were_recorded) != planned.known:
            raise Difference("charge: how many were on record", (found, planned))
        booking = self._booking(is_sure=bool(planned.rows))
        self.adopt(planned.rows, booking=booking, settled=planned.settled)
        self.oracle.end(planned.settled)

    settle = batch = charge

    def release(self, hold_id: str) -> None:
        answer = self.ask(lambda asked, persona, who: asked.release(persona, who, hold_id))
        oracle = self.oracle
        if oracle.is_journal_bad:
            self.adopt((), booking="no")
            if answer.code == 0:
                oracle.end([hold_id])
            return
        held = oracle.holds.get(hold_id)
        self.adopt((), booking=self._booking(is_sure=answer.code == 0))
        if held is None:
            right = {66, 76} if hold_id in oracle.ended else {66}
            self.expect("release of what is not held", answer, right)
        elif self.ended >= held.expires:
            right = {0, 76} if oracle.is_damaged else {76}
            self.expect("release of what has expired", answer, right)
        else:
            self.expect("release", answer, {0})
        if answer.code == 0:
            oracle.end([hold_id])

    def void(self, request_id: str) -> None:
        answer = self.ask(lambda asked, persona, who: asked.void(persona, who, request_id))
        oracle, rows = self.oracle, self.oracle.of(request_id)
        if not rows:
            self.expect("void of what is not on record", answer, {66})
        elif any(row.voids for row in rows) or oracle.is_voided(request_id):
            self.expect("void of what is voided or a void", answer, {76})
        else:
            self.expect("void", answer, {0})
            # Of a row that stands twice, either is taken back.
            wanted = [Wanted(row.voided(), is_required=len(rows) == 1) for row in rows]
            before = len(oracle.rows)
            self.adopt(wanted, booking=self._booking(is_sure=True))
            if sum(row.voids == request_id for row in oracle.rows[before:]) != 1:
                raise Difference("void: not one row", oracle.rows[before:])
            return
        self.adopt((), booking="no")

    def forward(self, seconds: int, micros: int) -> None:
        """Put the clock forward or back."""
        moved = self.now + timedelta(seconds=seconds, microseconds=micros)
        self.clock.now = moved if 1990 < moved.year < 2060 else NOON

    def churn(self, count: int, *, settled: bool) -> None:
        """Open and end so many holds that the journal is shortened."""
        if self.oracle.is_damaged or self.is_suspect or self.is_command:
            return
        account = Account(self.home, self.persona, clock=self.clock)
        rows = []
        for number in range(count):
            name = f"churn{number}-{self.counts['churn']}"
            if account.reserve(ZERO_USD, hold_id=name).hold is None:
                break
            if settled:
                account.charge(ZERO_USD, model="m", request_id=f"{name}-row", hold_id=name)
                rows.append(Wanted(Entry(self.now, ZERO, f"{name}-row", "m", "cli", None, name)))
            else:
                account.release(name)
        self.adopt(rows, booking="must")

    def report(self, by: tuple[By, ...]) -> None:
        """Compare a report of all rows of both personas."""
        if any(oracle.is_journal_bad for oracle in self.oracles.values()) or self.suspects:
            return
        answer = self.asked.report(by)
        self.expect("report", answer, {0})
        right: dict[tuple[str, ...], Fraction] = {}
        for persona, oracle in self.oracles.items():
            for row in oracle.rows:
                day = row.ts.astimezone(UTC).date().isoformat()
                facts = {"day": day, "model": row.model, "persona": persona, "surface": row.surface}
                keys = tuple(facts[word] for word in by)
                right[keys] = right.get(keys, ZERO) + row.usd
        if answer.value != right:
            raise Difference(f"report by {','.join(by)}", (answer.value, right))

    def log(self) -> None:
        """Compare the rows that `log` has, and the sum that jq makes of the file."""
        oracle, there = self.oracle, self.there()
        if not (self.folder / LEDGER).exists():
            return
        answer = self.asked.log(self.persona)
        self.expect("log", answer, {0})
        lifetime = oracle.spent("lifetime", self.now)
        if (len(answer.value), sum(answer.value, ZERO)) != (len(oracle.rows), lifetime):
            raise Difference("log: rows", (len(answer.value), len(oracle.rows)))
        if not oracle.is_damaged and not there.fragment and there.total != lifetime:
            raise Difference("the sum that jq makes of the file", there.total)
