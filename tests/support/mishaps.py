"""What befalls the files of a budget: other writers, crashes, and changes of what is derived."""

from __future__ import annotations

import shutil
import tomllib
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from hal0_budget import Home
from tests.support.asking import Answer, Asking, Library, become
from tests.support.comparing import LEDGER, Comparing, Difference, bytes_of
from tests.support.histories import PERSONAS, Step
from tests.support.killing import killed
from tests.support.oracle import KEY, Entry, Held, contents
from tests.support.plans import Wanted, plan

JOURNAL, LOCK = "spend.holds", "spend.lock"
DERIVED = ("spend.checkpoint", "spend.cache", "spend.index", "spend.summary")
KEPT = (".bak", ".unreadable", ".new")


class Mishaps(Comparing):
    """Each mishap is done to the files, and to the oracle what the contract says of it."""

    def __init__(self, root: Path, *, is_command: bool = False) -> None:
        super().__init__(root, is_command=is_command)
        self.banks: dict[str, list[dict[str, bytes]]] = {persona: [] for persona in PERSONAS}

    def foreign(self, line: str) -> None:
        """Another program appends a row, without our lock."""
        self._append(LEDGER, line.encode() + b"\n")
        self._merge(contents(line.encode()).rows)

    def garbage(self, line: str, *, in_journal: bool) -> None:
        """A line that cannot be read is appended to the ledger or the journal of holds."""
        if not (self.folder / (JOURNAL if in_journal else LEDGER)).exists():
            return
        self._append(JOURNAL if in_journal else LEDGER, line.encode() + b"\n")
        if in_journal:
            self.oracle.is_journal_bad = True
        else:
            self._merge([])

    def _append(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("ab") as file:
            file.write(data)

    def _merge(self, rows: list[Entry]) -> None:
        """Take rows that were appended: they may share a line with what stood there unfinished."""
        oracle, there = self.oracle, self.there()
        gained, lost = oracle.gained(there.rows)
        if there.unreadable > oracle.unreadable:
            oracle.unreadable = there.unreadable
            oracle.hidden += rows
            oracle.half_hidden += lost
            oracle.give_up(lost)
        elif gained != rows or lost:
            raise Difference("the oracle does not see a row that was appended", (gained, lost, rows))
        else:
            for row in rows:
                oracle.take(row)

    def tear(self, step: Step, cut: float) -> None:
        """Append the beginning of what a step would have written, as a crash leaves it."""
        if self.oracle.is_damaged or self.is_suspect:
            return
        if step.op == "foreign":
            whole = step.args["line"].encode()
            if not self.there().fragment:
                self._append(LEDGER, _begun(whole, cut))
                self.adopt([Wanted(row).maybe() for row in contents(whole).rows], booking="no")
            return
        name = JOURNAL if step.op == "reserve" else LEDGER
        written = self._written(step, name)
        if written:
            self._append(name, _begun(written, cut))
            self.died(step)

    def _written(self, step: Step, name: str) -> bytes:
        """What a step would append to a file, if that is what it would do first."""
        with TemporaryDirectory() as scratch:
            other = Home(Path(shutil.copytree(self.root, Path(scratch) / "agents")))
            call(Library(other, self.clock), step)
            folder = other.spend_dir(self.persona)
            # A hold is written after the rows of those that had expired.
            is_first = name == LEDGER or bytes_of(folder / LEDGER) == bytes_of(self.folder / LEDGER)
            before, after = bytes_of(self.folder / name), bytes_of(folder / name)
        return after[len(before) :] if is_first and after.startswith(before) else b""

    def kill(self, step: Step, how: str, number: int, delay: float) -> None:
        """Kill a process that does a step."""
        if self.oracle.is_journal_bad:
            return
        self.begun = self.ended = self.now
        killed(lambda: call(self.asked, step), how, number, delay)
        self.died(step)

    def died(self, step: Step) -> None:
        """Find out what a step did that nobody lived to tell: all that it was to do, it may have done."""
        oracle, args = self.oracle, step.args
        booking = "no" if oracle.is_damaged else "may"
        if step.op == "set":
            self._either_budget(step)
        elif step.op == "reserve":
            expires = self.now + timedelta(seconds=args["ttl"])
            names = args["on_expiry"], args["model"], args["surface"]
            self.adopt((), booking=booking)
            hold = Held(args["hold_id"] or "", Fraction(args["usd"]), self.now, expires, *names)
            self.look_up_holds(maybe=hold)
        elif step.op == "release":
            self.adopt((), booking=booking)
            self.look_up_holds([args["hold_id"]])
        elif step.op == "void":
            rows = oracle.of(args["request_id"])
            is_free = not oracle.is_voided(args["request_id"]) and not any(row.voids for row in rows)
            self.adopt([Wanted(row.voided()).maybe() for row in rows if is_free], booking=booking)
        else:
            planned = plan(oracle, args["charges"], self.now)
            self.adopt([row.maybe() for row in planned.rows], booking=booking, settled=planned.settled)
            self.look_up_holds(planned.settled)

    def kill_repair(self, how: str, number: int, delay: float) -> None:
        """Kill a repair: what it leaves refuses as before, or is repaired; and a repair ends it."""
        oracle = self.oracle
        # A command takes some twenty times as long as a call of the library.
        killed(lambda: become(self.root, "verify", self.persona, "--repair"), how, number, delay * 20)
        answer = Library(self.home, self.clock).check(self.persona, 0, Decimal("0.2"))
        gained, lost = oracle.gained(self.there().rows)
        if lost:
            raise Difference("rows are lost by a killed repair", lost)
        if oracle.refuses and answer.code != 65 and not Counter(oracle.hidden) <= Counter(gained):
            raise Difference("a killed repair opens the gate", (answer, gained))
        self.repair()

    def _either_budget(self, step: Step) -> None:
        """Take the budget that a killed `set` left: the old one or the new one."""
        oracle, before = self.oracle, self.oracle.budget
        text = self.home.persona_file(self.persona).read_text()
        table = tomllib.loads(text, parse_float=Decimal)["persona"].get("budget", {})
        caps = {window: Fraction(table[key]) for window, key in KEY.items() if key in table}
        share = Fraction(table["warn_at"]) if "warn_at" in table else None
        there = caps, table.get("hard_cap", True), share
        oracle.set(step.args["changes"], replace=step.args["replace"])
        if there == before:
            oracle.budget = before
        elif there != oracle.budget:
            raise Difference("set: killed between two budgets", there)

    def tamper(self, file: int, how: str, at: float, bit: int) -> None:
        """Delete a derived file, cut it, flip a bit of it, or put an older copy of it in its place."""
        files = [path for path in sorted(self.folder.glob("spend.*")) if _is_derived(path)]
        if not files:
            return
        path = files[file % len(files)]
        data = bytearray(path.read_bytes())
        older = [bank[path.name] for bank in self.banks[self.persona] if path.name in bank]
        if how == "older" and not older:
            return
        if how == "delete":
            # Harmless, as the contract says: it costs a scan.
            path.unlink()
        elif how == "older":
            path.write_bytes(older[int(at * len(older))])
        elif how == "cut":
            path.write_bytes(data[: int(at * len(data))])
        elif data:
            # Of a sparse file, what says something.
            said = [place for place, byte in enumerate(data) if byte] or [0]
            data[said[int(at * len(said))]] ^= 1 << bit
            path.write_bytes(data)
        if how != "delete":
            self.suspects[self.persona] = f"{path.name} {how}"
        self.counts[f"{path.name} {how}"] += 1

    def bank(self) -> None:
        """Keep copies of the derived files, to put them back when they are old."""
        files = [path for path in self.folder.glob("spend.*") if _is_derived(path)]
        self.banks[self.persona].append({path.name: path.read_bytes() for path in files})
        del self.banks[self.persona][:-5]

    def lock(self) -> None:
        """Delete the lock while nobody holds it."""
        (self.folder / LOCK).unlink(missing_ok=True)
        self.suspects.setdefault(self.persona, "spend.lock deleted")


def call(asked: Asking, step: Step) -> Answer:
    """Ask for what a step is."""
    args, persona, who = step.args, step.persona, step.who
    match step.op:
        case "set":
            return asked.set(persona, who, args["changes"], replace=args["replace"])
        case "reserve":
            return asked.reserve(persona, who, args)
        case "release":
            return asked.release(persona, who, args["hold_id"])
        case "void":
            return asked.void(persona, who, args["request_id"])
        case _:
            return asked.charge(persona, who, args["charges"])


def _begun(written: bytes, cut: float) -> bytes:
    """The share `cut` of what was to be written; all but the last byte, which is a newline, for -1."""
    return written[:-1] if cut < 0 else written[: max(1, int(cut * len(written)))]


def _is_derived(path: Path) -> bool:
    return path.name.startswith(DERIVED) and not path.name.endswith(KEPT)
