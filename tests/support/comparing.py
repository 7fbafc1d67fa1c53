"""A budget and its oracle: what was answered, and what the files hold, against what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from hal0_budget import Account, Home, init
from tests.conftest import Clock
from tests.support.asking import CODES, Answer, Asking, Command, Judged, Library, Shown, in_child
from tests.support.histories import PERSONAS
from tests.support.oracle import TIMED, Contents, Entry, Held, Oracle, contents, end_of
from tests.support.plans import Wanted

LEDGER = "spend.jsonl"


class Difference(Exception):
    """The program and the oracle do not agree; `kind` is the same for differences that are alike."""

    def __init__(self, kind: str, detail: object = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class Comparing:
    """One agent with two personas, an oracle for each, and the comparisons between them."""

    def __init__(self, root: Path, *, is_command: bool = False) -> None:
        self.root, self.home, self.is_command = root, Home(root), is_command
        self.clock = Clock()
        init(self.home, PERSONAS)
        self.asked: Asking = Command(self.home) if is_command else Library(self.home, self.clock)
        self.oracles = {persona: Oracle() for persona in PERSONAS}
        self.persona, self.who = PERSONAS[0], 0
        self.begun = self.ended = self.clock.now
        # Whose derived files were altered since the last repair, and how: it may refuse with 65.
        self.suspects: dict[str, str] = {}
        # Holds that may have been given back, or not: only the program can tell.
        self.doubtful: set[str] = set()
        self.counts: Counter[str] = Counter()

    @property
    def oracle(self) -> Oracle:
        return self.oracles[self.persona]

    @property
    def folder(self) -> Path:
        return self.home.spend_dir(self.persona)

    @property
    def now(self) -> datetime:
        return self.clock.now

    @property
    def is_suspect(self) -> bool:
        return self.persona in self.suspects

    def ask(self, ask: Callable[[Asking, str, int], Answer]) -> Answer:
        """The answer of the program; `begun` and `ended` are when it was asked, by its clock."""
        self.begun = self._time()
        answer = ask(self.asked, self.persona, self.who)
        self.ended = self.clock.now = self._time()
        return answer

    def _time(self) -> datetime:
        return datetime.now(UTC) if self.is_command else self.clock.now

    def there(self) -> Contents:
        """What stands in the ledger."""
        return contents(bytes_of(self.folder / LEDGER))

    def expect(self, what: str, answer: Answer, codes: set[int]) -> None:
        """Raise Difference where the exit code is none of `codes`."""
        if answer.code not in codes:
            raise Difference(f"{what}: exit {answer.code}, not {sorted(codes)}", answer.message)

    def adopt(self, rows: Iterable[Wanted], *, booking: str, settled: Sequence[str] = ()) -> None:
        """Compare what the ledger gained with what it was to gain, and take it into the oracle.

        `booking` says whether holds that have expired, but for those `settled`, must or may have become
        rows, or must not (no).
        """
        oracle, there = self.oracle, self.there()
        gained, lost = oracle.gained(there.rows)
        if lost:
            raise Difference("rows are lost from the ledger", lost)
        is_sure = booking == "must" and not self.is_suspect
        expired = [hold for hold in oracle.expired(self.ended) if hold.hold_id not in settled]
        ripe = [hold for hold in expired if hold.on_expiry == "book" and booking != "no"]
        wanted = [*rows, *(Wanted(hold.booked(), is_sure and hold.expires <= self.begun) for hold in ripe)]
        self._match(wanted, gained)
        if there.unreadable != oracle.unreadable:
            raise Difference("lines that cannot be read", (there.unreadable, oracle.unreadable))
        booked = {row.hold_id for row in oracle.rows if row.source == "unconfirmed"}
        oracle.end(hold.hold_id for hold in expired if hold.hold_id in booked)
        given_back = {hold.hold_id for hold in expired if hold.on_expiry == "release"}
        if is_sure:
            oracle.end(given_back)
        else:
            self.doubtful |= given_back

    def _match(self, wanted: Iterable[Wanted], gained: list[Entry]) -> None:
        """Take those rows that were gained and wanted. Raises Difference for any other."""
        for want in sorted(wanted, key=lambda want: not want.is_required):
            fitting = [row for row in gained if want.fits(row, self.begun, self.ended)]
            if fitting:
                gained.remove(fitting[0])
                self.oracle.take(fitting[0])
            elif want.is_required:
                raise Difference(f"a row is missing: {_sort(want.entry)}", (want, gained))
        if gained:
            raise Difference(f"a row too many: {_sort(gained[0])}", (gained, wanted))

    def look_up_holds(self, touched: Iterable[str] = (), maybe: Held | None = None) -> None:
        """Ask which holds are open where only the program can tell: of `touched` ones, and of `maybe`."""
        oracle = self.oracle
        touched = self.doubtful.union(touched)
        self.doubtful.clear()
        if self.is_suspect and Library(self.home, self.clock).show(self.persona, 0).code == 65:
            self.repair_suspect()
        if oracle.is_journal_bad:
            return
        # When none of them had expired.
        early = min([self.now, *(hold.ts for hold in oracle.holds.values())])
        there = {hold.hold_id for hold in Account(self.home, self.persona, clock=lambda: early).holds()}
        oracle.end(touched - there)
        if maybe is not None:
            for name in there - oracle.holds.keys():
                if maybe.hold_id in ("", name):
                    oracle.holds[name] = maybe._replace(hold_id=name)
        if there != oracle.holds.keys():
            raise Difference("which holds are open", (sorted(there), sorted(oracle.holds)))

    def compare(self) -> None:
        """Compare the sums, the holds and the verdict of the persona of the last step."""
        oracle = self.oracle
        if self.doubtful:
            self.look_up_holds()
        if not oracle.is_journal_bad:
            answer = self._show()
            if self.is_suspect and not oracle.is_damaged and (answer.code == 65 or answer.value.warnings):
                self.repair_suspect()
                answer = self._show()
            self.expect("show", answer, {0})
            self._compare_shown(answer.value)
        self.compare_verdict(None if self.who else Decimal("0.2"))

    def _show(self) -> Answer:
        return self.ask(lambda asked, persona, who: asked.show(persona, who))

    def _compare_shown(self, shown: Shown) -> None:
        oracle, moments = self.oracle, {self.begun, self.ended}
        for window in TIMED:
            right = [oracle.spent(window, now) for now in moments]
            if shown.spent[window] not in right:
                raise Difference(f"spent {window}", (float(shown.spent[window]), *map(float, right)))
            if shown.resets[window] not in [end_of(window, now) for now in moments]:
                raise Difference(f"resets {window}", shown.resets[window])
        if shown.held not in [oracle.held(now) for now in moments]:
            raise Difference("held", (float(shown.held), float(oracle.held(self.now))))
        if shown.remaining not in [oracle.remaining(now) for now in moments]:
            raise Difference("remaining", (shown.remaining, oracle.remaining(self.now)))
        if shown.unconfirmed != oracle.unconfirmed():
            raise Difference("unconfirmed", (shown.unconfirmed, oracle.unconfirmed()))
        if bool(shown.warnings) != oracle.is_damaged:
            raise Difference("show: warnings", shown.warnings)

    def compare_verdict(self, estimate: Decimal | None) -> None:
        """Compare what `check` answers."""
        oracle = self.oracle
        answer = self._check(estimate)
        if self.is_suspect and answer.code == 65 and not oracle.is_damaged:
            self.repair_suspect()
            answer = self._check(estimate)
        if oracle.refuses:
            self.expect("check of what is damaged", answer, {65})
        elif not oracle.is_journal_bad:
            usd = None if estimate is None else Fraction(estimate)
            right = [oracle.judge(usd, now) for now in (self.begun, self.ended)]
            self.expect("check", answer, {CODES[judgement.level] for judgement in right})
            judged: Judged = answer.value
            found = judged.level, judged.window, judged.reason
            # What `warn_at` and damage are reported with is not fixed.
            free = [(one.level, one.window, one.reason or found[2]) for one in right]
            if found not in (right if right[0].level == "allow" else free):
                raise Difference("check: verdict", (found, right))

    def _check(self, estimate: Decimal | None) -> Answer:
        return self.ask(lambda asked, persona, who: asked.check(persona, who, estimate))

    def repair_suspect(self) -> None:
        """A derived file that was altered made the gate refuse, as it may: a repair must set it right."""
        self.counts[f"refused after: {self.suspects[self.persona]}"] += 1
        self.repair()

    def repair(self) -> None:
        """Run `verify --repair`, which must bring back every whole row."""
        code, said = in_child(self.root, "verify", self.persona, "--repair")
        if code not in (0, 10):
            raise Difference("repair does not end in sound files", (code, said))
        self.suspects.pop(self.persona, None)
        oracle = self.oracle
        wanted = [*map(Wanted, oracle.hidden), *(Wanted(row).maybe() for row in oracle.half_hidden)]
        oracle.hidden, oracle.half_hidden = [], []
        oracle.unreadable, oracle.is_journal_bad = 0, False
        self.adopt(wanted, booking="no")


def bytes_of(path: Path) -> bytes:
    """What a file holds; nothing where there is none."""
    return path.read_bytes() if path.exists() else b""


def _sort(row: Entry) -> str:
    return "a void" if row.voids else "an unconfirmed one" if row.source == "unconfirmed" else "a charge"
