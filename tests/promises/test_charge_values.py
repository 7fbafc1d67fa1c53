"""Whatever a charge is made of: it is refused, or recorded as a row that every reader takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Account, BudgetError, Home, init
from hal0_budget.cli.commands.batch import read_batch
from hal0_budget.clock import utc_now
from hal0_budget.errors import InvalidCharge, InvalidEstimate, InvalidHold
from hal0_budget.model.charge import Charge
from hal0_budget.model.tokens import Tokens
from hal0_budget.stores.files.audit import audit
from hal0_budget.stores.files.blocks import BLOCK
from hal0_budget.stores.files.row_format import parse_row
from tests.conftest import SAMPLES, Cli, Proof

pytestmark = pytest.mark.promise(9)

RESERVED = ("void:", "void:a", "unconfirmed:", "unconfirmed:h1", "void:void:a", "unconfirmed:é")
# Times that no row can hold: not one in UTC, not one of a calendar, not in ASCII, not with an offset.
BAD_TIMES = (
    *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59.999999-00:01"),
    *("0001-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "10000-01-01T00:00:00Z"),
    *("2026-05-29", "2026-05-29T00:00:00", "2026-05-29T24:00:00Z", "2026-05-29T00:00:60Z", "", "Z", "now"),
    *("٢٠٢٦-05-29T00:00:00Z", "2026-05-29T0٠:00:00Z", "2026-05-29T00:00:00+0٠:00", "20260529T000000Z"),  # noqa: RUF001
    *(" 2026-05-29T00:00:00Z", "2026-05-29T00:00:00Z\n", "2026-W22-5T00:00:00Z", "2026-05-29T00:00:00+24:00"),
)
GOOD_TIMES = (
    *("0001-01-01T00:00:00Z", "0999-12-31T23:59:59+00:00", "9999-12-31T23:59:59.999999Z"),
    *("0001-01-01T12:00:00+12:00", "9999-12-31T11:59:59-12:00", "2026-05-29 11:00:00.5+05:30"),
)
BAD_SOURCES: tuple[Any, ...] = (
    True,
    ["x"],
    "unconfirmed",
    "",
    "told",
    "Reported",
    "reported ",
    "\ud800",
    "é" * 40000,
    5,
    {},
    1.5,
)


HOLD_IDS: tuple[Any, ...] = (5, True, [], {}, 1.5, "", "a b", "x" * 65, "\ud800", "h\n")
COSTS_OF_A_LINE: tuple[Any, ...] = ("1", True, [], {})


def line(**keys: Any) -> str:
    return json.dumps({"cost_usd": 1, "model": "m", **keys})


BAD_LINES = [
    *(line(request_id=text) for text in RESERVED),
    *(line(ts=text) for text in BAD_TIMES),
    *(line(cost_source=value) for value in BAD_SOURCES),
    *(line(hold_id=value) for value in HOLD_IDS),
    *(line(**{key: 5}) for key in ("model", "surface", "request_id", "ts", "persona_id")),
    *(line(**{key: None}) for key in ("model", "surface", "request_id", "ts", "persona_id", "cost_usd")),
    *(line(**{key: "x" * 1025}) for key in ("model", "surface", "request_id")),
    *(line(**{key: ""}) for key in ("model", "surface", "request_id")),
    *(line(**{key: "\ud800"}) for key in ("model", "surface", "request_id")),
    *(line(**{key: 1}) for key in ("voids", "reason", "price", "torn", "input_tokens")),
    *(line(cost_usd=value) for value in COSTS_OF_A_LINE),
]


def test_no_bad_line_of_a_batch_is_recorded(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.write_text("\n".join(BAD_LINES))
    found = cli.json("charge", "hermes", "--batch", str(batch), code=64)
    assert found["error"]["code"] == "budget.invalid_charge"
    assert len(found["error"]["details"]["lines"]) == len(BAD_LINES)
    assert not ledger.exists()


@pytest.mark.parametrize("request_id", RESERVED)
def test_id_of_a_row_that_we_make_is_refused(cli: Cli, ledger: Path, request_id: str) -> None:
    done = cli("charge", "hermes", "--cost", "1", "--model", "m", "--request-id", request_id)
    assert (done.returncode, ledger.exists()) == (64, False)
    assert "is reserved" in done.stderr


@pytest.mark.parametrize("request_id", [*RESERVED, "", "x" * 1025, "\ud800"])
def test_reply_whose_id_no_charge_may_have_is_charged_once(
    cli: Cli, ledger: Path, tmp_path: Path, request_id: str
) -> None:
    reply = json.loads((SAMPLES / "responses" / "openrouter-chat.json").read_text())
    path = tmp_path / "reply"
    path.write_text(json.dumps({**reply, "id": request_id}))
    for _ in range(2):
        assert cli("charge", "hermes", "--from-response", str(path)).returncode == 0
    assert cli("run", "hermes", "--estimate", "1", "--from-stdout", "--", "cat", str(path)).returncode == 0
    rows = [parse_row(row) for row in ledger.read_bytes().splitlines()]
    assert [row.request_id[:6] for row in rows] == ["reply-", "req_" + rows[1].request_id[4:6]]
    assert cli("verify").returncode == 0


def test_call_id_of_a_proxy_that_no_charge_may_have_is_dropped(
    cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    reply = json.loads((SAMPLES / "responses" / "openrouter-chat.json").read_text())
    del reply["id"]
    (tmp_path / "reply").write_text(json.dumps(reply))
    (tmp_path / "headers").write_text("HTTP/1.1 200 OK\nx-litellm-call-id: void:a\n")
    options = ("--from-response", str(tmp_path / "reply"), "--headers", str(tmp_path / "headers"))
    assert cli("charge", "hermes", *options).returncode == 0
    assert parse_row(ledger.read_bytes()).request_id.startswith("reply-")


def test_empty_request_id_is_refused_beside_a_reply_too(cli: Cli, ledger: Path) -> None:
    sample = str(SAMPLES / "responses" / "openrouter-chat.json")
    assert cli("charge", "hermes", "--from-response", sample, "--request-id", "").returncode == 64
    assert not ledger.exists()


COMMANDS = (
    *(
        "check hermes --estimate 1",
        "show",
        "log hermes -n all",
        "report",
        "report --by week,model --format html",
    ),
    *(
        "report --since 0001-01-01 --until 9999-12-31",
        "report --since 0001-01-01 --timezone Pacific/Kiritimati",
    ),
    *(
        "simulate hermes --daily 1",
        "reserve hermes --estimate 1",
        "charge hermes --cost 1 --model m",
        "verify",
    ),
)


@pytest.mark.parametrize("ts", GOOD_TIMES)
def test_charge_at_either_end_of_the_calendar_is_read_by_every_command(
    cli: Cli, ledger: Path, ts: str
) -> None:
    done = cli("charge", "hermes", "--batch", "-", input=line(ts=ts, request_id="r1"))
    assert done.returncode == 0, done.stderr
    assert parse_row(ledger.read_bytes()).ts == datetime.fromisoformat(ts)
    for command in COMMANDS:
        done = cli(*command.split())
        assert (done.returncode, done.stderr.count("bug")) == (0, 0), (command, done.stderr)


def test_row_of_ours_and_of_hal0_can_be_charged_again_elsewhere(cli: Cli, home: Home, tmp_path: Path) -> None:
    account = Account(home, "coder")
    for source in ("reported", "priced", "estimated", None):
        account.charge(Decimal("0.5"), model="m", cost_source=source)
    rows = (home.spend_dir("coder") / "spend.jsonl").read_text().replace("coder", "hermes")
    batch = tmp_path / "batch"
    batch.write_text(rows + (SAMPLES / "ledgers" / "hal0.jsonl").read_text().splitlines()[0])
    assert cli("charge", "hermes", "--batch", str(batch)).returncode == 0


# Each keyword of a charge, and values that it cannot have.
ANYTHING: tuple[Any, ...] = (
    None,
    5,
    1.5,
    True,
    b"m",
    [],
    {},
    object(),
    float("nan"),
    "",
    "\ud800",
    "x" * 5000,
)
KEYWORDS: dict[str, Any] = {
    "model": ANYTHING,
    "surface": ANYTHING,
    "request_id": [*ANYTHING[1:], *RESERVED],
    "hold_id": [*ANYTHING[1:], "a b"],
    "cost_source": [*ANYTHING[1:], "unconfirmed", ["reported"]],
}


def test_argument_of_the_library_that_no_charge_can_have_is_refused(account: Account, ledger: Path) -> None:
    for keyword, values in KEYWORDS.items():
        for value in values:
            arguments: dict[str, Any] = {"model": "m", keyword: value}
            with pytest.raises(BudgetError) as caught:
                account.charge(Decimal(1), **arguments)
            assert caught.value.code in {"budget.invalid_charge", "id.invalid"}, (keyword, value)
    costs: tuple[Any, ...] = (
        None,
        1,
        1.5,
        True,
        "1",
        b"1",
        [],
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal(-1),
        Decimal("1e400"),
    )
    for cost in costs:
        with pytest.raises(InvalidCharge):
            account.charge(cost, model="m")
        with pytest.raises(InvalidEstimate):
            account.reserve(cost)
    assert not ledger.exists()


TOO_FAR = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))
BAD_CHARGES = (
    Charge(Decimal(1), "m", ts=datetime(2026, 5, 29)),  # noqa: DTZ001, that is what is refused
    Charge(Decimal(1), "m", ts="2026-05-29T00:00:00Z"),  # type: ignore[arg-type]
    Charge(Decimal(1), "m", ts=TOO_FAR),
    Charge(Decimal(1), "m", ts=datetime(1, 1, 1, tzinfo=timezone(timedelta(minutes=1)))),
    Charge(Decimal(1), "m", price="p" * 5000),
    Charge(Decimal(1), "m", price=5),  # type: ignore[arg-type]
    Charge(Decimal(1), "m", tokens=Tokens(-1)),
    Charge(Decimal(1), "m", tokens=Tokens(10**15 + 1)),
    Charge(Decimal(1), "m", tokens=Tokens(cache_write=10**15, cache_write_1h=1)),
    Charge(Decimal(1), "m", tokens=Tokens(1.5)),  # type: ignore[arg-type]
    Charge(Decimal(1), "m", tokens=(1, 2)),  # type: ignore[arg-type]
)


@pytest.mark.parametrize("charge", BAD_CHARGES)
def test_charge_that_no_row_can_hold_is_refused(account: Account, ledger: Path, charge: Charge) -> None:
    with pytest.raises(InvalidCharge):
        account.charge_all([charge])
    assert not ledger.exists()


def test_hold_that_no_journal_can_hold_is_refused(account: Account) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"ttl": 5},
        {"ttl": None},
        {"on_expiry": "bogus"},
        {"on_expiry": None},
        {"on_expiry": []},
    )
    for options in wrong:
        with pytest.raises(InvalidHold):
            account.reserve(Decimal(1), **options)
    assert not account.holds()


def test_longest_row_is_far_shorter_than_a_reader_takes(account: Account, ledger: Path) -> None:
    text = "\U0001f600" * 1024
    account.charge_all([
        Charge(
            Decimal(1) / 10**300, text, text, text, cost_source="estimated",
            price=text * 4, tokens=Tokens(*[10**14] * 5),
        )
    ])  # fmt: skip
    account.void(text, text)
    assert max(map(len, ledger.read_bytes().splitlines())) < BLOCK / 2
    assert account.show().of("lifetime").spent == 0


TEXTS = st.one_of(
    st.sampled_from(
        ("m", "cli", "r1", "h1", "hermes", "coder", "reported", "priced", "estimated", *RESERVED)
    ),
    st.text(st.characters(), max_size=8),
    st.integers(1000, 1030).map(lambda size: "\U0001f600" * size),
)
TIMES = st.one_of(
    st.sampled_from((*BAD_TIMES, *GOOD_TIMES)),
    st.datetimes(
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    ).map(lambda ts: ts.isoformat()),
    st.datetimes().map(lambda ts: f"{ts.isoformat()}Z"),
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, TIMES, st.just([]), st.just({})
)
COSTS = st.one_of(st.integers(0, 10**9), st.floats(0, 10**9), VALUES)
OBJECTS = st.fixed_dictionaries(
    {"cost_usd": COSTS, "model": st.one_of(TEXTS, VALUES)},
    optional={
        "surface": TEXTS, "request_id": TEXTS, "ts": TIMES, "cost_source": st.one_of(TEXTS, VALUES),
        "persona_id": st.sampled_from(("hermes", "hermes", "coder")), "hold_id": st.one_of(st.none(), VALUES),
    },
)  # fmt: skip
LINES = st.one_of(OBJECTS.map(json.dumps), OBJECTS.map(lambda found: json.dumps(found, ensure_ascii=False)))


@contextmanager
def fresh() -> Iterator[Home]:
    with TemporaryDirectory() as folder:
        home = Home(Path(folder))
        init(home, ["hermes"])
        yield home


def test_line_of_a_batch_is_refused_or_recorded_as_a_row_that_is_read_alike(proof: Proof) -> None:
    seen = {"refused": 0, "recorded": 0}

    @settings(max_examples=proof.size(400, 5000), deadline=None)
    @given(st.lists(LINES, min_size=1, max_size=12))
    def each(lines: list[str]) -> None:
        with fresh() as home:
            path = home.root / "batch"
            charges: list[Charge] = []
            for text in lines:
                path.write_bytes(text.encode("utf-8", "surrogatepass"))
                try:
                    charges += read_batch(str(path), "hermes")
                except InvalidCharge:
                    seen["refused"] += 1
            rows = [charge.row("hermes", utc_now()) for charge in charges]
            for row in rows:
                assert len(row.line()) < BLOCK
                assert parse_row(row.line()) == row._replace(ts=row.ts.astimezone(UTC))
            account = Account(home, "hermes")
            for charge in charges:
                try:
                    account.charge_all([charge])
                    seen["recorded"] += 1
                except BudgetError as error:
                    assert error.code in {"conflict", "hold.not_found"}, error.message
            assert not [f for f in audit(home, "hermes", utc_now()).findings if f.severity == "damage"]
            assert account.show()

    each()
    assert min(seen.values()) > 20
    proof.counted(seen["refused"] + seen["recorded"], "generated lines of a batch, refused or read alike")
