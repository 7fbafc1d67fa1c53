"""Hostile values in a persona file, a ledger or a batch: not one is taken for money."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home
from hal0_budget.model.budget import CAP_KEYS
from tests.conftest import Cli, Proof, forget_marks
from tests.support.hostile import HOSTILE
from tests.support.ledgers import files
from tests.support.personas import BUDGET
from tests.support.rows import GOOD, UNREADABLE, with_cost

pytestmark = pytest.mark.promise(9)

# What the languages themselves make of a value, besides what a command line could be given.
OF_TOML = """
+nan -nan +inf -inf -0.01 -1 1.0e400 1e+400 1e9999999999999999999 1e-9999999999999999999 9223372036854775808
-9223372036854775809 1_000_000_001 1e1_0 0xffffffffff 0b1111111111111111111111111111111 0o77777777777
True TRUE False Nan NAN Inf NULL nil undefined on off 5. .5 05 00 0_1 1__0 _1 1_ 5e 5e+ 0x 0b2 0o8 0XFF
2026-05-29 12:00:00 2026-05-29T12:00:00Z 2026-05-29T12:00:00 2026-13-01 25:00:00 [] [5] [5.0] [[]] {} {usd=5}
'5' "5" '' "" '''5''' "5.0" "nan" "\\u0035" "\\x35" 'true' "1e-2" "5"5 5"5" 5,0 5;0 5,00 (5) <5> $5 5$ 5% @5
5#5#\n=5 1=5 a.b a b daily_usd ${HOME} `5` \\5 5\\ !5 ~5 ^5 &5 *5 5* 5/1 5:00 --5 ++5 +-5 5- 5+ ==5
"""
TOML_LINES = [
    *OF_TOML.split(),
    *("5\nKEY = 5", "5\n'KEY' = 5", "5\n[persona.budget]", "5\n[persona]", "5\n[persona.budget.KEY]"),
    *("5\n[[persona.budget]]", "5 KEY = 5", "\n5", "\\\n5", "5\r6", "5\0"),
    *(
        f"0x{'f' * 5000}",
        "[" * 5000,
        "{a=" * 5000,
        f"'{'5' * 5000}'",
        f"0.{'0' * 400}1",
        "5\ufeff",
        "\ufeff5",
    ),
]
# A number of TOML that no command line takes for an amount, and what it is.
TOML_NUMBERS = {
    "+5": 5, "+0": 0, "+0.01": Decimal("0.01"), "-0": 0, "-0.0": 0, "1_000": 1000, "1_0": 10, "0x1": 1,
    "0b1": 1, "0o7": 7, " 5": 5, "\t5": 5, "5 ": 5, "5\t": 5, "5\n": 5, "5\r": 5, "5#5#": 5,
}  # fmt: skip
JSON_NUMBERS = {" 5": 5, "\t5": 5, "\r5": 5, "5 ": 5, "5\t": 5, "5\r": 5, "-0": 0, "-0.0": 0}


FINE = {**dict.fromkeys(CAP_KEYS.values(), TOML_NUMBERS), "hard_cap": {"true": True, "false": False}}


@pytest.mark.parametrize(("key", "fine"), FINE.items(), ids=FINE)
def test_no_hostile_value_of_a_persona_file_is_a_cap(
    key: str, fine: dict[str, object], home: Home, proof: Proof
) -> None:
    account, path = Account(home, "hermes"), home.persona_file("hermes")
    accepted = {}
    values = dict.fromkeys([*HOSTILE, *(line.replace("KEY", key) for line in TOML_LINES)])
    for value in values:
        path.write_bytes(f"{BUDGET}{key} = {value}\n".encode("utf-8", "surrogateescape"))
        try:
            accepted[value] = account.check(Decimal("0.01")).statement.budget.to_table()[key]
        except BudgetError as error:
            assert (error.code, error.exit_code) == ("persona.malformed", 65), value
    assert accepted == fine
    refused = len(values) - len(accepted)
    assert refused >= 200
    proof.counted(refused, "hostile TOML values of a cap, 0 accepted")


def test_no_hostile_value_of_a_row_is_money(home: Home, ledger: Path, proof: Proof) -> None:
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(1000)})
    ledger.parent.mkdir(exist_ok=True)
    accepted = {}
    lines = {value: with_cost(value) for value in HOSTILE} | {line: line for line, _ in UNREADABLE.values()}
    for value, line in lines.items():
        forget_marks(ledger)
        ledger.write_bytes(f"{GOOD}\n{line}\n{GOOD}\n".encode("utf-8", "surrogateescape"))
        spent = account.show().of("lifetime").spent
        assert spent is not None
        try:
            assert account.check(Decimal("0.01")).verdict.level == "allow"
        except BudgetError as error:
            assert (error.code, error.exit_code, spent) == ("ledger.damaged", 65, Decimal("0.5")), value
        else:
            accepted[value] = spent - Decimal("0.5")
    assert accepted == JSON_NUMBERS
    refused = len(lines) - len(accepted)
    assert refused >= 200
    proof.counted(refused, "hostile JSON values in a row, 0 accepted")


def test_no_hostile_value_of_a_batch_is_money(home: Home, cli: Cli, tmp_path: Path, proof: Proof) -> None:
    """Each on a line of one batch, of which every line is named and none is recorded."""
    hostile = [value for value in HOSTILE if value not in JSON_NUMBERS and "\n" not in value]
    batch = tmp_path / "batch"
    lines = [f'{{"cost_usd":{value},"model":"m"}}' for value in hostile]
    batch.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    before = files(home.root)
    done = cli.json("charge", "hermes", "--batch", str(batch), code=64)
    assert [int(line.split(":")[0].removeprefix("line ")) for line in done["error"]["details"]["lines"]] == [
        *range(1, len(hostile) + 1)
    ]
    assert files(home.root) == before
    proof.counted(len(hostile), "hostile JSON values in a batch, 0 accepted")
