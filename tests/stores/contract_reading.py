"""The contract of stores: rows as a stream, their sums by day, the calls among them; personas; verify."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from hal0_budget import Account, Charge, report, simulate
from hal0_budget.errors import InvalidId, PersonaNotFound
from hal0_budget.model.budget import Changes
from hal0_budget.model.money import ZERO, total
from hal0_budget.model.records import Entry, Row
from hal0_budget.model.sums import Sum, Sums, merge, sum_of, total_of
from hal0_budget.model.tokens import Tokens
from hal0_budget.reporting.dates import Calendar, span_of, zone_of
from hal0_budget.stores.base import Store, Tail
from tests.conftest import NOON, Clock
from tests.stores.contract_base import CENT, Contract, reserve, rows_of

HOUR = timedelta(hours=1)
NAMES = ("m", 'a "b"\\', "\u00fc\U0001f4b8", "\x00")


def some_charges(count: int, seed: int) -> list[Charge]:
    """Charges of two months, out of order, many of them in the same hour."""
    random = Random(seed)
    return [
        Charge(
            Decimal(random.randrange(10**9)) / 10 ** random.randrange(1, 20),
            random.choice(NAMES),
            random.choice(NAMES),
            f"r{number}",
            NOON + random.choice((timedelta(), HOUR, -24 * HOUR)) * random.randrange(30) + HOUR / 61 * number,
            cost_source=random.choice((None, "reported", "priced", "estimated")),
            tokens=random.choice((None, Tokens(number, 2, 0, 3, 5))),
        )
        for number in range(count)
    ]


def record_some(account: Account, count: int = 60, seed: int = 7) -> list[Row]:
    """Charge, void every ninth, and let a hold expire; all rows."""
    account.charge_all(some_charges(count, seed))
    for number in range(0, count, 9):
        account.void(f"r{number}", "a test")
    with account.store.transaction(account.persona, account.clock) as transaction:
        made = NOON - HOUR
        transaction.record((Row(made, "hermes", "cli", "m", CENT, "unconfirmed:h", "unconfirmed", "h"),))
    return rows_of(account)


def read(rows: Tail) -> list[tuple[str, bool]]:
    """The request ids that came since the last time, and whether each is voided."""
    entries = list(rows.read())
    assert all(isinstance(entry, Entry) for entry in entries)
    return [(entry.row.request_id, entry.is_voided) for entry in entries if isinstance(entry, Entry)]


def no_progress(_done: int, _size: int) -> None:
    """Report to nobody."""


class ReadingContract(Contract):
    """What is read of rows, and of the personas."""

    @pytest.mark.parametrize("last", [None, 0, 1, 2, 3, 4])
    def test_stream_begins_with_the_last_rows_and_goes_on_with_new_ones(
        self, account: Account, store: Store, reopened: Callable[[], Account], last: int | None
    ) -> None:
        for name in ("a", "b", "c"):
            account.charge(CENT, model="m", request_id=name)
        with closing(store.entries("hermes", NOON, last)) as rows:
            first = ["a", "b", "c"][0 if last is None else max(0, 3 - last) :]
            assert [name for name, _ in read(rows)] == first
            assert read(rows) == []
            account.charge(CENT, model="m", request_id="d")
            reopened().charge_all(Charge(CENT, "m", request_id=name) for name in ("e", "f"))
            assert [name for name, _ in read(rows)] == ["d", "e", "f"]
            rows.close()
            assert [name for name, _ in read(rows)] == ["a", "b", "c", "d", "e", "f"]

    def test_stream_of_nothing_waits_for_the_first_row(self, account: Account, store: Store) -> None:
        with closing(store.entries("hermes", NOON, 1)) as rows:
            assert read(rows) == []
            account.charge_all(Charge(CENT, "m", request_id=name) for name in ("a", "b"))
            assert [name for name, _ in read(rows)] == ["a", "b"]

    def test_stream_leaves_out_the_days_before_the_first(self, account: Account, store: Store) -> None:
        midnight = datetime(2026, 5, 28, tzinfo=UTC)
        for name, ts in (("a", midnight), ("b", midnight - HOUR), ("c", NOON), ("d", midnight - 40 * HOUR)):
            account.charge_all((Charge(CENT, "m", request_id=name, ts=ts),))
        expected = {None: ["a", "c"], 1: ["c"], 5: ["a", "c"], 0: []}
        streams = {last: store.entries("hermes", NOON, last, date(2026, 5, 28)) for last in expected}
        assert {last: [name for name, _ in read(rows)] for last, rows in streams.items()} == expected
        account.charge_all((Charge(CENT, "m", ts=midnight - HOUR), Charge(CENT, "m", request_id="e")))
        for rows in streams.values():
            assert [name for name, _ in read(rows)] == ["e"]
            rows.close()

    def test_stream_marks_the_rows_that_are_voided(self, account: Account, store: Store) -> None:
        account.charge_all(Charge(CENT, "m", request_id=name) for name in ("a", "b", "c"))
        account.void("b", "wrong")
        for last, expected in ((None, "b"), (3, "b"), (2, "")):
            with closing(store.entries("hermes", NOON, last)) as rows:
                assert [name for name, is_voided in read(rows) if is_voided] == list(expected)

    def test_state_differs_once_anything_has_changed(
        self, account: Account, store: Store, reopened: Callable[[], Account]
    ) -> None:
        other = reopened()
        changes: tuple[Callable[[], object], ...] = (
            lambda: other.charge(CENT, model="m", request_id="r1"),
            lambda: other.reserve(CENT, hold_id="h"),
            lambda: other.release("h"),
            lambda: other.void("r1", "wrong"),
            lambda: other.set_budget({"daily_usd": Decimal(1)}),
            lambda: other.set_budget({"daily_usd": Decimal(2)}),
        )
        states = [store.state("hermes")]
        for change in changes:
            change()
            states.append(store.state("hermes"))
            account.show()
            account.check(CENT)
            assert store.state("hermes") == states[-1], "looking changes nothing"
            assert states[-1] != states[-2]
        state = store.state("coder")
        account.charge(CENT, model="m")
        assert store.state("coder") == state

    def test_daily_sums_are_those_of_the_rows(self, account: Account, store: Store) -> None:
        rows = record_some(account)
        usage = store.usage("hermes", NOON)
        days: defaultdict[str, Decimal] = defaultdict(Decimal)
        for row in rows:
            days[row.ts.isoformat()[:10]] = total((days[row.ts.isoformat()[:10]], row.cost_usd))
        assert store.daily(usage) == days
        assert total(days.values()) == usage.spent["lifetime"]
        assert usage.unconfirmed == CENT

    @pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
    @pytest.mark.parametrize("span", [(None, None), ("2026-05-20", "2026-05-29")])
    def test_sums_by_day_and_name_are_those_of_the_rows(
        self, account: Account, store: Store, zone: str, span: tuple[str | None, str | None]
    ) -> None:
        rows = record_some(account)
        usage = store.usage("hermes", NOON)
        account.charge(Decimal(999), model="later")
        tz = zone_of(zone)
        days = Calendar(tz, span_of(*span, NOON, tz))
        found: Sums = {}
        for sums in store.spending("hermes", usage, days, no_progress):
            merge(found, sums)
        expected: defaultdict[tuple[str, ...], list[Sum]] = defaultdict(list)
        for row in rows:
            day = row.ts.astimezone(tz).date().isoformat()
            if (span[0] or "") <= day <= (span[1] or "~"):
                names = row.surface, row.model, row.cost_source or "told"
                expected[*names, day].append(sum_of(row))
        flat = {(*names, day): part for names, times in found.items() for day, part in times.items()}
        assert flat == {keys: total_of(parts) for keys, parts in expected.items()}

    def test_calls_are_the_rows_that_are_neither_voids_nor_voided(
        self, account: Account, store: Store
    ) -> None:
        rows = record_some(account)
        usage = store.usage("hermes", NOON)
        account.charge(Decimal(999), model="later")
        voided = {row.voids for row in rows}
        expected = [
            (row.ts.isoformat()[:13], row.cost_usd, number, row.cost_source or "", row)
            for number, row in enumerate(rows, 1)
            if row.voids is None and row.request_id not in voided
        ]
        found = []
        for calls in store.calls("hermes", usage, no_progress):
            sources = calls.sources or [""] * len(calls.usd)
            for place, usd in enumerate(calls.usd):
                row = calls.row(place)
                found.append((calls.hour, usd, calls.numbers[place], sources[place], row))
        assert found == expected

    def test_void_takes_back_one_of_two_calls_with_its_id_and_none_that_was_never_made(
        self, store: Store, clock: Clock
    ) -> None:
        row = Row(NOON, "hermes", "cli", "m", CENT, "r1")
        void = row._replace(request_id="void:r1", cost_usd=-CENT, voids="r1")
        with store.transaction("hermes", clock) as transaction:
            transaction.record((row, row, void, void._replace(voids="r9"), row._replace(request_id="r2")))
        calls = list(store.calls("hermes", store.usage("hermes", NOON), no_progress))
        assert [number for each in calls for number in each.numbers] == [2, 5]

    def test_report_and_simulation_are_made_from_the_store(self, account: Account, store: Store) -> None:
        for number in range(4):
            account.charge(Decimal("0.1"), model=f"m{number % 2}", request_id=f"r{number}")
        account.void("r1", "a test")
        found = report(store, by=("persona", "model"), clock=lambda: NOON)
        assert [(group.keys, group.total.usd) for group in found.groups] == [
            (("hermes", "m0"), Decimal("0.2")),
            (("hermes", "m1"), Decimal("0.1")),
        ]
        assert [each.persona for each in found.personas] == ["coder", "hermes"]
        assert (found.agent, found.failures) == (store.agent, ())
        replayed = simulate(store, "hermes", {"daily_usd": Decimal("0.25")}, now=NOON)
        assert [(call.line, call.row.request_id) for call in replayed.first_blocked] == [(4, "r3")]
        assert (replayed.spent, replayed.would_spend) == (Decimal("0.3"), Decimal("0.2"))

    def test_personas_are_listed_and_others_are_not_found(self, store: Store, clock: Clock) -> None:
        assert store.personas() == ("coder", "hermes")
        for persona in store.personas():
            store.require_persona(persona)
        caps: Changes = {"daily_usd": CENT}
        asked: dict[str, Callable[[Account], object]] = {
            "show": lambda account: account.show(),
            "check": lambda account: account.check(CENT),
            "charge": lambda account: account.charge(CENT, model="m"),
            "reserve": lambda account: account.reserve(CENT),
            "release": lambda account: account.release("h"),
            "void": lambda account: account.void("r1", "wrong"),
            "holds": lambda account: account.holds(),
            "tail": lambda account: account.tail(),
            "set": lambda account: account.set_budget(caps),
            "set --dry-run": lambda account: account.set_budget(caps, dry_run=True),
            "simulate": lambda _: simulate(store, "hermse", {}),
            "repair": lambda _: store.repair("hermse", NOON),
            "require_persona": lambda _: store.require_persona("hermse"),
        }
        for name, ask in asked.items():
            with pytest.raises(PersonaNotFound) as caught:
                ask(Account(store, "hermse", clock=clock))
            assert caught.value.details["persona"] == "hermse", name
        assert store.personas() == ("coder", "hermes")
        with pytest.raises(InvalidId):
            Account(store, "../hermes")

    def test_new_persona_has_spent_nothing(self, store: Store) -> None:
        usage = store.usage("hermes", NOON)
        assert (set(usage.spent.values()), usage.held, usage.unconfirmed) == ({ZERO}, ZERO, ZERO)
        assert (usage.is_damaged, usage.damage, usage.persona) == (False, None, "hermes")
        assert store.daily(usage) == {}
        assert list(store.calls("hermes", usage, no_progress)) == []
        assert not any(any(sums.values()) for sums in store.spending("hermes", usage, DAYS, no_progress))
        assert store.open_holds("hermes", NOON) == ()

    def test_sound_store_verifies_and_is_the_same_after_a_repair(
        self, account: Account, store: Store
    ) -> None:
        rows = record_some(account)
        reserve(account, hold_id="h2")
        audit = store.verify("hermes", NOON)
        assert (audit.persona, audit.rows, audit.is_damaged) == ("hermes", len(rows), False)
        assert audit.findings == ()
        before = account.show()
        store.repair("hermes", NOON)
        assert (account.show(), rows_of(account)) == (before, rows)
        assert account.charge(CENT, model="m", hold_id="h2").overrun is None


DAYS = Calendar(UTC, span_of(None, None, NOON))
