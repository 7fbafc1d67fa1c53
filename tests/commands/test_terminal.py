"""What a person at a terminal sees, and what a pipe gets: whole amounts and ids at any width."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from hal0_budget import Account, Home, init
from tests.conftest import Cli
from tests.support.terminal import ESCAPE, LONG_ID, on_terminal

BAR = re.compile(r"[█░]{12} +[0-9]+%|[#.]{12} +[0-9]+%")


@pytest.fixture
def spending(home: Home) -> Cli:
    """The command on an agent with caps and spendings of many digits, and an id as long as ids get."""
    init(home, ["hermes", LONG_ID])
    hermes = Account(home, "hermes")
    hermes.set_budget({"daily_usd": Decimal(1), "lifetime_usd": Decimal("200.123456789")})
    hermes.charge(Decimal("0.8500000000001"), model="m")
    long = Account(home, LONG_ID)
    long.set_budget({"daily_usd": Decimal(1_000_000_000), "hourly_usd": Decimal(0), "hard_cap": False})
    long.charge(Decimal("123456789.123456789"), model="m")
    return Cli(home.root)


# What `show` must say of them, each in one piece.
WHOLE = (
    *("$0.8500000000001", "$0.1499999999999", "$1.0000", "$200.123456789", "$199.2734567889999", "$0.0000"),
    *("$123456789.123456789", "$1000000000.0000", "$876543210.876543211", f"{LONG_ID}:", "hermes:", "coder:"),
)


@pytest.mark.parametrize("columns", ["0", "1", "60", "200", "70000", "x"])
def test_amounts_and_ids_are_whole_at_any_width(spending: Cli, columns: str) -> None:
    """COLUMNS is believed before the terminal, and may be anything."""
    width = int(columns) if columns.isdigit() and int(columns) < 65536 else 80
    for text in (
        on_terminal(spending, "show", columns=width),
        on_terminal(spending, "show", env={"COLUMNS": columns}),
    ):
        words = ESCAPE.sub("", text).split()
        assert not [word for word in WHOLE if word not in words]


def test_wide_terminal_shows_a_bar_beside_each_share(spending: Cli) -> None:
    lines = ESCAPE.sub("", on_terminal(spending, "show")).splitlines()
    bars = [line for line in lines if re.search("[█░]", line)]
    assert [line.split()[0] for line in bars] == ["hourly", "daily", "daily", "lifetime"]
    assert [bar for line in bars for bar in BAR.findall(line)] == [
        "████████████ 100%",
        "█░░░░░░░░░░░  12%",
        "██████████░░  85%",
        "█░░░░░░░░░░░   0%",
    ]


def test_narrow_terminal_shows_a_list_that_fits_with_its_bars(spending: Cli) -> None:
    lines = ESCAPE.sub("", on_terminal(spending, "show", "hermes", columns=40)).splitlines()
    assert max(map(len, lines)) <= 40
    assert "daily     ██████████░░  85%" in lines
    assert "          left $0.1499999999999" in lines


def test_colour_is_a_matter_of_whole_lines_and_ends_with_them(spending: Cli) -> None:
    for columns in (60, 200):
        for line in on_terminal(spending, "show", columns=columns).splitlines():
            assert "\x1b" not in ESCAPE.sub("", line)
            codes = ESCAPE.findall(line)
            assert codes[1::2] == ["\x1b[0m"] * (len(codes) // 2)
            assert len(codes) % 2 == 0


PLAIN = {
    "NO_COLOR": ((), {"NO_COLOR": "1"}),
    "dumb terminal": ((), {"TERM": "dumb"}),
    "--color never": (("--color", "never"), {}),
    "--color never goes before FORCE_COLOR": (("--color", "never"), {"FORCE_COLOR": "1"}),
}


@pytest.mark.parametrize(("args", "env"), PLAIN.values(), ids=PLAIN)
def test_terminal_without_colour_gets_what_a_pipe_gets(
    spending: Cli, args: tuple[str, ...], env: dict[str, str]
) -> None:
    piped = spending("show", env={"LANG": "C.UTF-8"}).stdout
    assert on_terminal(spending, "show", *args, columns=20, env=env) == piped


@pytest.mark.parametrize("args", ["show", "show --color never", "check hermes", "set hermes --daily 2"])
def test_pipe_gets_plain_ascii_without_trailing_spaces(spending: Cli, args: str) -> None:
    done = spending(
        *args.split(), env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "10", "LANG": "C.UTF-8"}
    )
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    if args.startswith("show"):
        assert not [word for word in WHOLE if word not in done.stdout.split()]
        assert len({len(line) for line in done.stdout.splitlines() if line.endswith("Z")}) == 3


COLOURED = {
    "piped": {},
    "NO_COLOR": {"NO_COLOR": "1"},
    "dumb terminal": {"TERM": "dumb"},
    "no terminal known": {"TERM": ""},
}


@pytest.mark.parametrize("env", COLOURED.values(), ids=COLOURED)
def test_color_always_goes_before_the_environment(spending: Cli, env: dict[str, str]) -> None:
    done = spending("show", "--color", "always", env={"COLUMNS": "200", "LANG": "C.UTF-8", **env})
    assert "\x1b[33m██████████░░  85%\x1b[0m" in done.stdout
    assert not [word for word in WHOLE if word not in ESCAPE.sub("", done.stdout).split()]


def test_empty_no_color_is_none(spending: Cli) -> None:
    assert "\x1b[33m" in on_terminal(spending, "show", env={"NO_COLOR": ""})


ENCODINGS = {
    "C.UTF-8": ({"LANG": "C.UTF-8"}, False),
    "C": ({"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, True),
    "ASCII": ({"PYTHONIOENCODING": "ascii"}, True),
    "Latin 1": ({"PYTHONIOENCODING": "latin-1"}, True),
}


@pytest.mark.parametrize(("env", "is_ascii"), ENCODINGS.values(), ids=ENCODINGS)
def test_bars_are_ascii_where_the_encoding_is_not_utf_8(
    spending: Cli, env: dict[str, str], is_ascii: bool
) -> None:
    text = on_terminal(spending, "show", env=env)
    assert text.isascii() == is_ascii
    assert ("##########..  85%" in text) == is_ascii
    assert ("██████████░░  85%" in text) == (not is_ascii)


def test_letter_that_the_encoding_lacks_is_escaped(spending: Cli) -> None:
    spending("charge", "hermes", "--cost", "0", "--model", "m", "--request-id", "Ωmega")
    command = ("charge", "hermes", "--cost", "0", "--model", "m", "--request-id", "Ωmega")
    said = {
        name: on_terminal(spending, *command, env={"PYTHONIOENCODING": name}) for name in ("utf-8", "ascii")
    }
    assert said == {
        "utf-8": "already recorded: $0.0000 to hermes: request Ωmega\n",
        "ascii": "already recorded: $0.0000 to hermes: request \\u03a9mega\n",
    }


SHARES = {"0": "0%", "0.009": "0%", "0.29": "29%", "0.999999": "99%", "1": "100%", "2.5": "250%"}


@pytest.mark.parametrize(("spent", "percent"), SHARES.items(), ids=SHARES)
def test_only_what_is_used_up_is_a_hundred_percent(home: Home, cli: Cli, spent: str, percent: str) -> None:
    account = Account(home, "hermes")
    account.set_budget({"lifetime_usd": Decimal(1)})
    account.charge(Decimal(spent), model="m")
    text = on_terminal(cli, "show", "hermes")
    bars = BAR.findall(text)
    assert [bar.split()[1] for bar in bars] == [percent]
    assert ("█" in bars[0]) == (spent != "0")
    assert ("░" in bars[0]) == (Decimal(spent) < 1)


@pytest.mark.parametrize(
    "args", ["check hermes", "charge hermes --cost 0 --model m", "set hermes --daily 2", "init"]
)
def test_other_commands_are_never_coloured(spending: Cli, args: str) -> None:
    text = on_terminal(spending, *args.split())
    assert text.endswith("\n")
    assert "\x1b" not in text
