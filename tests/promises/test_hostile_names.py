"""A hundred thousand hostile names: each is one row of the ledger, and inert wherever it is shown."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings

from hal0_budget import Account, Budget, BudgetError, Charge, Home
from hal0_budget.cli.options import Output
from hal0_budget.cli.render.emit import Result, emit, emit_error, printable
from hal0_budget.model.results import Statement
from hal0_budget.stores.files.audit import audit
from tests.conftest import NOON, Proof
from tests.support.hostile import assert_inert, hostile

pytestmark = pytest.mark.promise(13)

AT_ONCE = 1000
COST = Decimal("0.01")


class Way(NamedTuple):
    """A way for names to reach an output, and the line that each of them must be on it."""

    show: Callable[[list[str]], object]
    line: Callable[[str], str]


WAYS = {
    "an answer": Way(lambda names: emit(Result({}, lines=names), Output()), lambda name: name),
    "a note": Way(lambda names: emit(Result({}, notes=names), Output()), lambda name: name),
    "a warning": Way(
        lambda names: emit(Result({}, warnings=names), Output()), lambda name: f"warning: {name}"
    ),
    "an error": Way(
        lambda names: emit(Result({}, errors=names), Output()), lambda name: f"hal0-budget: {name}"
    ),
    "a failure": Way(
        lambda names: [emit_error(BudgetError(name), Output()) for name in names],
        lambda name: f"hal0-budget: {name}",
    ),
    "a monitor": Way(
        lambda names: [emit(Result({}, lines=[name]), Output("nagios")) for name in names],
        lambda name: f"BUDGET OK - {name.replace('|', '/')}",
    ),
}


@pytest.fixture(scope="module")
def names(request: pytest.FixtureRequest) -> list[str]:
    """Generated names, each another."""
    found: dict[str, None] = {}

    # More than are promised, because some come twice.
    @settings(max_examples=104_000 if request.config.getoption("--prove") else 300, deadline=None)
    @given(hostile)
    def generate(name: str) -> None:
        found[name] = None

    generate()
    return list(found)


def said(monkeypatch: pytest.MonkeyPatch, show: Callable[[list[str]], object], names: list[str]) -> str:
    """What reaches stdout and stderr."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as stream,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", stream)
        show(names)
        stream.seek(0)
        return stream.read()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_name_is_one_inert_line_wherever_it_is_shown(
    way: Way, names: list[str], monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        text = said(monkeypatch, way.show, some)
        assert_inert(text)
        assert text.split("\n") == [*(way.line(printable(name)) for name in some), ""]
    proof.counted(len(names), "generated names shown, each one inert line")


def test_every_name_that_is_drawn_on_a_terminal_is_inert(
    names: list[str], monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    """Rich draws what a person sees of a statement: a tenth of the names, because it is slow."""
    some = names[::10]
    statements = [Statement(name, Budget({}), (), Decimal(0), Decimal(0), ()) for name in some]
    output = Output(color="always")
    text = said(monkeypatch, lambda _: emit(Result({}, statements=statements), output), some)
    # Colour is ours alone. A line of the name, one of the table's head, and one between.
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")[::3]
    assert_inert("\n".join(lines))
    # Were markup or an emoji's code interpreted, it would not stand there as it was given.
    assert lines == [f"{printable(name)}: no caps are set, every paid call is allowed" for name in some]
    proof.counted(len(some), "generated names drawn on a terminal, no markup interpreted")


def test_every_name_comes_back_from_ascii_json(
    names: list[str], monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    text = said(monkeypatch, lambda names: emit(Result({"names": names}), Output("json")), names)
    assert text.isascii()
    assert text.count("\n") == 1
    assert json.loads(text) == {"names": names}
    proof.counted(len(names), "generated names in JSON, as they were given")


def test_every_name_is_one_row(
    names: list[str], home: Home, account: Account, ledger: Path, proof: Proof
) -> None:
    texts = [(name, name[::-1], f"{number} {name}") for number, name in enumerate(names)]
    receipts = account.charge_all(
        Charge(COST, model, surface, request_id) for model, surface, request_id in texts
    )
    assert not [receipt for receipt in receipts if receipt.was_recorded]
    data = ledger.read_bytes()
    assert data.isascii()
    rows = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert [(row["model"], row["surface"], row["request_id"]) for row in rows] == texts
    assert account.show().of("lifetime").spent == COST * len(names)
    audited = audit(home, "hermes", NOON)
    assert (audited.rows, audited.findings) == (len(names), ())
    proof.counted(len(names), "generated names charged, each one row that comes back as it was")
