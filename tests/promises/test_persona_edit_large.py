"""An edit of a megabyte takes a second or two, whatever fills the file, and says so where it is full."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest
import tomli
from hypothesis import HealthCheck, given, settings

from hal0_budget import Account, BudgetError, Home
from hal0_budget.stores.files.persona_file import MAX_BYTES
from hal0_budget.stores.files.table_edit import with_keys
from tests.conftest import Cli, Proof
from tests.support import persona_edits, persona_layouts
from tests.support.generated_personas import Generated, personas, wanted
from tests.support.persona_edits import Changes, lay, sides

HEAD = '[persona]\nid = "operator"\n'
BUDGET = "[persona.budget]\ndaily_usd = 5\n"


def repeated(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(piece))


def numbered(form: str) -> Callable[[int], str]:
    return lambda size: "".join(form.format(number) for number in range(size // (len(form) + 4)))


def between(start: str, piece: str, end: str) -> Callable[[int], str]:
    return lambda size: start + piece * (size // len(piece)) + end


# What fills a file: text that stands between `[persona]` with its id and the budget.
FILLINGS: dict[str, Callable[[int], str]] = {
    "spaces": between("a = 1", " ", "\n"),
    "spaces before a key": between("", " ", "a = 1\n"),
    "tabs": repeated("\t"),
    "newlines": repeated("\n"),
    "carriage returns": repeated("\r\n"),
    "blank lines": repeated("          \n"),
    "comments": repeated("#\n"),
    "one comment": between("#", " daily_usd = 5", "\n"),
    "escaped quotes": between('a = "', '\\"', '"\n'),
    "backslashes": between('a = "', "\\\\", '"\n'),
    "quotes in a long string": between('a = """', '"" ', '"""\n'),
    "quotes in a literal": between("a = '''", "'' ", "'''\n"),
    "dots in a string": between('a = "', ".", '"\n'),
    "equals signs": between('a = "', "=", '"\n'),
    "budgets in a string": between("a = '''\n", "budget = { daily_usd = 5 }\n", "'''\n"),
    "brackets": between("a = [", "[],", "]\n"),
    "numbers": between("a = [", "1,", "]\n"),
    "inline tables": between("a = [", "{b=1},", "]\n"),
    "one inline table": lambda size: f"a = {{{','.join(f'k{n}=1' for n in range(size // 9))}}}\n",
    "a long key": between("", "a", " = 1\n"),
    "a long quoted key": between('"', "daily_usd = ", '" = 1\n'),
    "keys": numbered("k{} = 1\n"),
    "inline tables by key": numbered("k{} = {{ daily_usd = 1 }}\n"),
    "dotted keys": numbered("a.b.c.k{} = 1\n"),
    "dotted keys of the budget": numbered("tools.budget.daily_usd{} = 1\n"),
    "tables": numbered("[t{}]\n"),
    "arrays of tables": repeated("[[q]]\n[q.a]\n"),
    "budgets of others": numbered("[persona.budgets.b{}]\nhard_cap = true\n"),
    "tables in the budget": numbered("[persona.budget.b{}]\n"),
    "unknown keys of the budget": lambda size: "[persona.budget.x]\n" + numbered("k{} = 1\n")(size),
}
# What costs the most of each kind of work; the others are as large in `make prove`.
LARGEST = {"spaces", "comments", "inline tables", "arrays of tables"}
CHANGES = {"daily_usd": "6.0", "weekly_usd": "7.0", "hourly_usd": None}


def steps_of(text: str) -> int:
    """How many lines of Python the editor runs for an edit."""
    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        with_keys(text, ("persona", "budget"), CHANGES)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS)
def test_four_times_the_text_takes_four_times_the_steps(filling: Callable[[int], str]) -> None:
    small, large = (steps_of(HEAD + filling(size) + BUDGET) for size in (2_000, 8_000))
    assert large < 5 * small


@pytest.mark.promise(11)
@pytest.mark.parametrize("name", FILLINGS)
def test_file_of_a_megabyte_is_edited_in_seconds(home: Home, cli: Cli, name: str, proof: Proof) -> None:
    size = MAX_BYTES - 300 if name in LARGEST else proof.size(100_000, MAX_BYTES - 150_000)
    text = HEAD + FILLINGS[name](size) + BUDGET
    path = lay(home, text)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = cli("set", "operator", "--daily", "6", "--weekly", "7", preexec_fn=limit, timeout=120)
    assert done.returncode == 0, done.stderr[-300:]
    assert path.read_bytes().decode() == text.replace(
        BUDGET, BUDGET.replace("5", "6.0") + "weekly_usd = 7.0\n"
    )


def assert_advice_works(home: Home, changes: Changes, before: str) -> None:
    """Where the file has no room for an edit, what the error says to do by hand makes that edit."""
    padding = f"#{'x' * (MAX_BYTES - len(before.encode()) - 2)}\n"
    path = lay(home, before + padding)
    with pytest.raises(BudgetError) as caught:
        Account(home, "operator").set_budget(changes)
    error = caught.value
    assert (error.code, error.exit_code) == ("persona.uneditable", 65)
    assert path.read_bytes().decode() == before + padding
    first, removed, new = (error.details[key] for key in ("line", "removed", "lines"))
    assert all(line in error.message for line in new)
    assert f"line {first}" in error.message or "at the end" in error.message

    lines = (before + padding).split("\n")
    lines[first - 1 : first - 1 + removed] = new
    pasted = "\n".join(lines).replace(padding, "#x\n")
    path.write_text(pasted)
    was, now = (tomli.loads(text.removeprefix("\ufeff")) for text in (before, path.read_text()))
    wanted = {**was["persona"].get("budget", {}), **changes}
    assert now["persona"].pop("budget", {}) == {
        key: value for key, value in wanted.items() if value is not None
    }
    was["persona"].pop("budget", None)
    assert now == was
    assert Account(home, "operator").set_budget(changes).changes == {}


FULL = {
    name: (changes, diff)
    for name, (changes, diff) in {**persona_edits.LAYOUTS, **persona_layouts.LAYOUTS}.items()
    if len(sides(diff)[1]) > len(sides(diff)[0])
}


@pytest.mark.parametrize(("changes", "diff"), FULL.values(), ids=FULL)
def test_what_the_error_of_a_full_file_says_to_write_by_hand_is_the_edit(
    home: Home, changes: Changes, diff: str
) -> None:
    assert_advice_works(home, changes, sides(diff)[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(generated=personas, changes=wanted)
def test_what_it_says_is_right_for_any_layout(
    home: Home, generated: Generated, changes: dict[str, Decimal | bool | None]
) -> None:
    before = generated.text.removesuffix("\n") + "\n"
    path = lay(home, before)
    Account(home, "operator").set_budget(changes)
    after = path.read_bytes().decode()
    if len(after.encode()) > len(before.encode()) and "\r" not in before:
        assert_advice_works(home, changes, before)


def test_command_says_in_one_line_what_to_do_where_a_file_is_full(home: Home, cli: Cli) -> None:
    text = f"{HEAD}budget.daily_usd = 5\n"
    path = lay(home, text + f"#{'x' * (MAX_BYTES - len(text) - 2)}\n")
    done = cli("set", "operator", "--daily", "6.5", "--weekly", "7")
    assert done.returncode == 65
    assert done.stderr == (
        f"hal0-budget: {path}: the new file would be 26 bytes longer than the limit of 1048576 bytes; "
        "nothing was written. Edit it by hand: at line 3, replace the line with: "
        "budget.daily_usd = 6.5 | budget.weekly_usd = 7.0; and shorten the rest of the file\n"
    )
    details = cli.json("set", "operator", "--daily", "6.5", code=65)["error"]["details"]
    assert details == {"path": str(path), "line": 3, "removed": 1, "lines": ["budget.daily_usd = 6.5"]}
