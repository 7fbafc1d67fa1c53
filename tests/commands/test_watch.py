"""`watch`: on a real terminal, drawn as charges land, and gone without a trace when it is quit."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import termios
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home, init
from hal0_budget.cli.terminal.screen import Screen
from tests.conftest import COMMAND, Cli
from tests.support.processes import wait_until
from tests.support.screens import ENTER, LEAVE, STYLE, Terminal
from tests.support.terminal import LONG_ID

Watch = Callable[..., Terminal]


@pytest.fixture
def watch(cli: Cli) -> Iterator[Watch]:
    """Start to watch on a terminal of its own, 100 by 30 unless told; closed at the end."""
    started: list[Terminal] = []

    def start(
        *args: str, columns: int = 100, lines: int = 30, prefix: tuple[str, ...] = (), **env: str
    ) -> Terminal:
        started.append(Terminal(cli, (*prefix, str(COMMAND), "watch", *args), columns, lines, **env))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


@pytest.fixture
def hermes(home: Home) -> Account:
    """Hermes, now, with caps on its hours, days and lifetime, and half of a day's spent."""
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1), "hourly_usd": Decimal(1), "lifetime_usd": Decimal(200)})
    account.charge(Decimal("0.5"), model="maker/one", request_id="first", surface="openrouter")
    return account


def test_caps_bars_holds_and_rows_are_shown(watch: Watch, hermes: Account) -> None:
    hermes.reserve(Decimal("0.25"), hold_id="hold_1", surface="fusion", model="maker/two")
    screen = watch().shows("hermes: calls over a cap are blocked", "latest charges", "first")
    assert screen[0].startswith("agent hermes  20")
    assert screen[0].endswith("Z  q quits")
    text = "\n".join(screen)
    daily = r"^  daily     █████████░░░  75%  \$0.7500 of \$1.0000    left \$0.2500    resets \d"
    assert re.search(daily, text, re.MULTILINE)
    assert re.search(
        r"^  lifetime  █░░░░░░░░░░░   0%  \$0.7500 of \$200.0000  left \$199.2500$", text, re.MULTILINE
    )
    assert re.search(
        r"^  hold      \$0.2500  hold_1  expires in 1[45]m  fusion maker/two$", text, re.MULTILINE
    )
    assert re.search(
        r"^  \d\d:\d\d:\d\dZ  \$0.5000  hermes  maker/one  openrouter  first$", text, re.MULTILINE
    )
    assert (
        "coder: no caps are set, every paid call is allowed\n  spent     $0.0000 today  $0.0000 ever" in text
    )


def test_only_what_changed_is_drawn_and_nothing_where_nothing_did(watch: Watch, hermes: Account) -> None:
    terminal = watch("hermes")
    terminal.shows("first")
    # The clock in the first line may pass a minute meanwhile.
    assert terminal.read(0.9).count("\x1b[2K") <= 1
    hermes.charge(Decimal("0.125"), model="maker/two", request_id="second")
    screen = terminal.shows("second", "$0.6250 of $1.0000")
    assert [line.split()[-1] for line in screen if "maker/" in line] == ["first", "second"]
    assert "are blocked" not in terminal.written.rpartition("first")[2]


@pytest.mark.parametrize("columns", [60, 200])
def test_amounts_and_ids_are_whole_on_a_narrow_and_on_a_wide_terminal(
    watch: Watch, home: Home, columns: int
) -> None:
    init(home, [LONG_ID])
    account = Account(home, LONG_ID)
    account.set_budget({"lifetime_usd": Decimal("1000000.123456789"), "daily_usd": Decimal(0)})
    account.charge(Decimal("123456.123456789012345678"), model="m" * 70, request_id="r" * 80)
    account.reserve(Decimal(0), hold_id="h" * 64)
    screen = watch(columns=columns, lines=50).shows("latest charges", "mmm")
    assert {"$123456.123456789012345678", "$1000000.123456789"} <= set(" ".join(screen).split())
    unbroken = "".join(screen).replace(" ", "")
    assert not [text for text in (f"{LONG_ID}:", "h" * 64, "m" * 70) if text not in unbroken]


def test_what_does_not_fit_is_counted(watch: Watch, hermes: Account, home: Home) -> None:
    others = [f"persona-{number}" for number in range(9)]
    init(home, others)
    for name in others:
        Account(home, name).set_budget({"daily_usd": Decimal(1)})
    Account(home, "persona-8").charge(Decimal(1), model="m")
    for number in range(5):
        hermes.reserve(Decimal("0.01"), hold_id=f"hold_{number}")
    terminal = watch(columns=60, lines=24)
    screen = terminal.shows("agent hermes", "latest charges")
    hidden = next(line for line in screen if line.endswith("more personas, 1 at a cap or damaged"))
    shown = sum(bool(re.match(r"\S+: ", line)) for line in screen)
    assert shown + int(hidden.split()[0]) == 11
    assert "  2 more holds, $0.0200" in screen
    assert sum("Z  $" in line for line in screen) >= 2
    terminal.resize(60, 5)
    screen = terminal.shows("more lines" if shown == 0 else "10 more personas")
    assert len(screen) == 5
    terminal.resize(100, 60)
    assert not [line for line in terminal.shows("persona-8: ") if "more personas" in line]
    # A terminal may have moved what it showed when its size changed.
    assert terminal.written.count("\x1b[H\x1b[2J") == 3


ENDS: dict[str, tuple[Callable[[Terminal], None], int]] = {
    "q": (lambda terminal: terminal.press("q"), 0),
    "Ctrl-C": (lambda terminal: terminal.press("\x03"), 130),
    "Ctrl-C twice": (lambda terminal: terminal.press("\x03\x03"), 130),
    "SIGTERM": (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
}


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_terminal_is_given_back_as_it_was(
    watch: Watch, hermes: Account, end: Callable[[Terminal], None], code: int
) -> None:
    terminal = watch(hermes.persona)
    terminal.shows("hermes: ")
    assert terminal.written.startswith(ENTER)
    assert termios.tcgetattr(terminal.theirs)[3] & (termios.ECHO | termios.ICANON) == 0
    terminal.press("x\x1b[A")
    end(terminal)
    assert terminal.ends() == code
    assert "hal0-budget:" not in terminal.written


def test_keys_that_ctrl_c_took_back_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look for keys and their reading the terminal may drop them, and its signal may have been
    handled already: a reading that waits then waits for ever.
    """
    ours, theirs = os.openpty()
    real = select.poll

    class Late:
        """Looks for keys, and lets them be dropped."""

        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            events = self._poll.poll(milliseconds)
            termios.tcflush(theirs, termios.TCIFLUSH)
            return events

    with open(theirs, "r+b", buffering=0) as raw, io.TextIOWrapper(raw, "utf-8") as terminal:
        screen = Screen(terminal, terminal)
        try:
            screen.enter()
            os.write(ours, b"x")
            assert screen.pressed(5) == frozenset(b"x")
            os.write(ours, b"x")
            with monkeypatch.context() as patched:
                patched.setattr(select, "poll", Late)
                signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for keys"))
                signal.alarm(5)
                assert screen.pressed(5) == frozenset()
        finally:
            signal.alarm(0)
            screen.leave()
            for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.close(ours)


def test_terminal_that_hangs_up_ends_it(watch: Watch, hermes: Account) -> None:
    terminal = watch(hermes.persona, prefix=("bash", "-c", 'trap "" HUP; exec "$@"', "bash"))
    terminal.shows("first")
    terminal.hang_up()
    assert terminal.process.wait(30) == 74


# A shell that goes on with what was suspended once a charge has landed, and notes how it found the terminal.
SHELL = """
set -m
"$@"; code=$?
while ((code == 148)); do
  stty >>"$STATE"
  "$1" charge hermes --cost 0.1 --model m --request-id meanwhile -q
  fg >/dev/null; code=$?
done
exit $code
"""


def test_suspended_it_gives_the_terminal_back_and_goes_on(
    watch: Watch, hermes: Account, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    terminal = watch(hermes.persona, prefix=("bash", "-c", SHELL, "bash"), STATE=str(state))
    terminal.shows("first")
    terminal.press("\x1a")
    terminal.shows("meanwhile", "first", "q quits")
    assert re.search(rf"{re.escape(LEAVE)}.*{re.escape(ENTER)}", terminal.written, re.DOTALL)
    assert state.read_text().count("speed") == 1
    assert not re.search("-echo|-icanon", state.read_text())
    assert termios.tcgetattr(terminal.theirs)[3] & (termios.ECHO | termios.ICANON) == 0
    terminal.press("q")
    assert terminal.ends() == 0


def test_where_nobody_could_resume_it_it_is_not_suspended(watch: Watch, hermes: Account) -> None:
    terminal = watch(hermes.persona)
    terminal.shows("first")
    terminal.press("\x1a")
    wait_until(lambda: bool(terminal.read()) and terminal.written.count(ENTER) == 2)
    terminal.shows("first", "q quits")
    terminal.press("q")
    assert terminal.ends() == 0


@pytest.mark.usefixtures("hermes")
def test_damage_is_shown_and_the_view_goes_on(watch: Watch, home: Home, ledger: Path) -> None:
    terminal = watch()
    terminal.shows("hermes: calls over a cap are blocked")
    whole = ledger.read_bytes()
    ledger.write_bytes(b"")
    terminal.shows("hermes: cannot be read", "is shorter (0 bytes) than its checkpoint", "coder: no caps")
    ledger.write_bytes(whole + b"junk\n")
    terminal.shows("hermes: calls over a cap are blocked", "warning:", "is unreadable: not JSON")
    file = home.persona_file("coder")
    file.write_text("[")
    terminal.shows("coder: cannot be read", "hermes: calls over a cap are blocked")
    file.unlink()
    init(home, ["sage"])
    screen = terminal.shows("sage: no caps are set")
    assert not [line for line in screen if line.startswith("coder")]
    file.symlink_to("nowhere")
    terminal.shows("coder: cannot be read", "agent 'hermes' has no persona 'coder'")


@pytest.mark.usefixtures("hermes")
def test_hostile_text_is_escaped(watch: Watch, ledger: Path) -> None:
    line = ledger.read_text().replace("maker/one", r"\u001b[2J\r\u202e[bold]").replace("first", r"\u009bx")
    with ledger.open("a") as file:
        file.write(line)
    terminal = watch("hermes")
    terminal.shows(r"\x1b[2J\r\u202e[bold]", r"\x9bx")
    assert "\x1b[2J\r" not in terminal.written
    assert "\x9b" not in terminal.written


PLAIN = {
    "NO_COLOR": ((), {"NO_COLOR": "1"}, "█████"),
    "--color never": (("--color", "never"), {}, "█████"),
    "ASCII": ((), {"NO_COLOR": "1", "PYTHONIOENCODING": "ascii"}, "######......"),
}


@pytest.mark.parametrize(("args", "env", "bar"), PLAIN.values(), ids=PLAIN)
def test_colour_and_blocks_are_left_out_where_they_are_unwelcome(
    watch: Watch, hermes: Account, args: tuple[str, ...], env: dict[str, str], bar: str
) -> None:
    terminal = watch(*args, hermes.persona, **env)
    terminal.shows(bar, " 50%")
    assert not STYLE.findall(terminal.written)
    assert terminal.written.isascii() == bar.startswith("#")
    colored = watch(hermes.persona)
    colored.shows(" 50%")
    assert "\x1b[32m" in colored.written


def test_elsewhere_than_on_a_terminal_it_names_what_to_use(cli: Cli, hermes: Account) -> None:
    done = cli("watch", hermes.persona)
    assert (done.returncode, done.stdout) == (64, "")
    assert "hal0-budget show, or hal0-budget log --follow" in done.stderr


REFUSED = {
    "dumb terminal": ((), {"TERM": "dumb"}, 64),
    "no such persona": (("hermse",), {}, 66),
    "no such agent": (("--agent", "nobody"), {}, 66),
}


@pytest.mark.parametrize(("args", "env", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_watched_never_takes_the_terminal(
    watch: Watch, args: tuple[str, ...], env: dict[str, str], code: int
) -> None:
    terminal = watch(*args, **env)
    assert terminal.process.wait(30) == code
    assert terminal.read().startswith("hal0-budget: ")
    assert "\x1b" not in terminal.written
