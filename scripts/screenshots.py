"""`make screenshots`: pictures of `show`, `watch` and the report for the docs, from the commands themselves.

The commands run on a terminal of their own, on an agent that is made up the same every time and with a
clock that stands still. What they write is shown as a terminal emulator (pyte) understands it, on a
page that Chromium takes the picture of.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import random
import select
import struct
import subprocess
import sys
import tempfile
import termios
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyte

from hal0_budget import Account, Charge, Home, init

IMAGES = Path(__file__).parents[1] / "docs" / "img"
NOW = datetime(2026, 5, 29, 16, 42, tzinfo=UTC)

# The command as its script starts it, but for the clock.
COMMAND = f"""
from datetime import datetime
from hal0_budget import clock
clock.utc_now = lambda: datetime.fromisoformat("{NOW.isoformat()}")
from hal0_budget.__main__ import main
main()
"""

BUDGETS: dict[str, dict[str, str]] = {
    "coder": {"hourly_usd": "2", "daily_usd": "10", "monthly_usd": "150", "warn_at": "0.8"},
    "hermes": {"per_call_max_usd": "0.5", "daily_usd": "5", "monthly_usd": "50", "lifetime_usd": "200"},
    "scout": {"daily_usd": "1"},
}
# USD a day, about.
PACE = {"coder": 4.6, "hermes": 1.7, "scout": 0.9}
MODELS = (
    ("anthropic/claude-sonnet-4.5", "openrouter", 6.0),
    ("openai/gpt-4.1", "openrouter", 3.0),
    ("google/gemini-2.5-pro", "fusion", 4.0),
    ("qwen/qwen3-32b", "openrouter", 0.4),
)

COLORS = {
    "default": "#d7dae0", "dim": "#8b919e", "red": "#ff6b6b", "green": "#7ec98f", "brown": "#e5c07b",
}  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1b1e25; color: {default} }}
header {{ background: #262a33; color: #9aa0ac; font: 13px/36px sans-serif; text-align: center }}
header i {{ float: left; margin: 12px -4px 0 12px; width: 12px; height: 12px; border-radius: 6px }}
pre {{ margin: 0; padding: 14px 18px; font: 14px/20px "DejaVu Sans Mono", monospace }}
pre i {{ display: inline-block; width: 1ch; height: 14px; vertical-align: -2px; background: currentColor }}
pre i.empty {{ opacity: .22 }}
</style><header><i style="background:#ff5f57"></i><i style="background:#febc2e"></i>
<i style="background:#28c840"></i>{title}</header><pre>{screen}</pre>"""
DIM = 2
# Of a character, a line, what is beside and what is above and below them, in pixels of that page.
CHAR, LINE, BESIDE, ABOVE = 14 * 0.602, 20, 36, 64


def main() -> None:
    """Take the pictures that are named, else all."""
    pictures = {"show": show, "watch": watch, "report": report}
    IMAGES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or pictures:
        with tempfile.TemporaryDirectory() as folder:
            home = demo(Path(folder) / "agents")
            pictures[name](home, Path(folder))


def demo(root: Path) -> Home:
    """An agent with three personas, their caps, and four weeks of their spending."""
    home = Home(root)
    init(home, list(BUDGETS))
    chance = random.Random(29)
    for name, caps in BUDGETS.items():
        account = Account(home, name, clock=lambda: NOW)
        account.set_budget({key: Decimal(text) for key, text in caps.items()})
        account.charge_all(charges(chance, PACE[name]))
    coder = Account(home, "coder", clock=lambda: NOW - timedelta(minutes=3))
    coder.reserve(Decimal("0.12"), hold_id="hold_5d0c1f", surface="openrouter", model=MODELS[0][0])
    return home


def charges(chance: random.Random, pace: float) -> list[Charge]:
    """Four weeks of calls that cost about `pace` USD a day, in the order of their time."""
    found = []
    for day in range(27, -1, -1):
        left = (
            pace
            * chance.uniform(0.4, 1.3)
            * (0.35 if (NOW - timedelta(days=day)).strftime("%a") in {"Sat", "Sun"} else 1)
        )
        while left > 0:
            model, surface, weight = chance.choice(MODELS)
            cost = Decimal(round(chance.expovariate(1 / weight) * 100 + 3)).scaleb(-4)
            minutes = day * 24 * 60 + chance.uniform(1, 16 * 60)
            ts = (NOW - timedelta(minutes=minutes)).replace(microsecond=0)
            source = chance.choice((None, None, "reported", "reported", "estimated"))
            request = f"gen-{chance.randrange(16**10):010x}"
            found.append(Charge(cost, model, surface, request, ts, cost_source=source))
            left -= float(cost)
    return sorted(found, key=lambda charge: charge.ts or NOW)


def show(home: Home, folder: Path) -> None:
    """`show` on a terminal of common width."""
    with Terminal(home, 80, 60, "show") as terminal:
        terminal.wait_for("scout: ")
        picture(terminal.screen, "hal0-budget show", IMAGES / "show.png", folder)


def watch(home: Home, folder: Path) -> None:
    """`watch`, after some charges landed."""
    with Terminal(home, 104, 34, "watch") as terminal:
        terminal.wait_for("latest charges")
        for number, (name, cost) in enumerate(
            (("coder", "0.0816"), ("hermes", "0.0093"), ("coder", "0.2241"))
        ):
            model, surface, _ = MODELS[number]
            ts = NOW + timedelta(seconds=7 * number + 2)
            charge = Charge(
                *(Decimal(cost), model, surface, f"gen-{number}c81f0a22d", ts), cost_source="reported"
            )
            Account(home, name, clock=lambda: NOW).charge_all((charge,))
        terminal.wait_for("gen-2c81f0a22d")
        picture(terminal.screen, "hal0-budget watch", IMAGES / "watch.png", folder)
        terminal.press("q")


def report(home: Home, folder: Path) -> None:
    """The HTML report as a browser shows it: light, dark, and as narrow as a telephone."""
    page = folder / "report.html"
    subprocess.run(
        [sys.executable, "-c", COMMAND, "report", "--since", "4w", "-o", page],
        env=environment(home),
        check=True,
    )
    light, dark = ("--blink-settings=preferredColorScheme=1",), ("--blink-settings=preferredColorScheme=0",)
    photograph(page, IMAGES / "report.png", 900, 1000, folder, *light)
    photograph(page, IMAGES / "report-dark.png", 900, 1000, folder, *dark)
    photograph(page, IMAGES / "report-narrow.png", 420, 1000, folder, *light)


def environment(home: Home) -> dict[str, str]:
    """What a command is given of this process: its path, and the agent."""
    return {
        "PATH": os.environ["PATH"],
        "HAL0_BUDGET_ROOT": str(home.root),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }


class Terminal:
    """A terminal of so many columns and lines with a command on it, and what an emulator makes of it."""

    def __init__(self, home: Home, columns: int, lines: int, *command: str) -> None:
        self.screen = Emulator(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._child, self._fd = pty.fork()
        if not self._child:
            os.execve(sys.executable, [sys.executable, "-c", COMMAND, *command], environment(home))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        while self._read(10):
            pass
        os.close(self._fd)
        os.waitpid(self._child, 0)

    def wait_for(self, text: str) -> None:
        """Read until the screen shows `text`."""
        while text not in "\n".join(self.screen.display):
            if not self._read(10):
                sys.exit(f"{text!r} was not shown:\n" + "\n".join(self.screen.display))
        while self._read(0.5):
            pass

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False  # so a terminal says that everybody has gone
        self._stream.feed(data)
        return bool(data)


class Emulator(pyte.Screen):
    """What a terminal shows, dim text included."""

    def select_graphic_rendition(self, *attrs: int) -> None:
        """Take a style for the text that follows."""
        super().select_graphic_rendition(*attrs)
        if DIM in attrs:
            self.cursor.attrs = self.cursor.attrs._replace(fg="dim")


def picture(screen: pyte.Screen, title: str, image: Path, folder: Path) -> None:
    """Write what is on a screen as a PNG, in the frame of a window."""
    lines = [line.rstrip() for line in screen.display]
    height = max(number for number, line in enumerate(lines, start=1) if line)
    page = folder / "screen.html"
    drawn = "\n".join(row(screen, number, len(lines[number])) for number in range(height))
    page.write_text(PAGE.format(title=title, screen=drawn, default=COLORS["default"]))
    width = round(max(map(len, lines)) * CHAR) + BESIDE
    photograph(page, image, width, height * LINE + ABOVE, folder)


def row(screen: pyte.Screen, number: int, length: int) -> str:
    """A line of a screen in HTML."""
    parts = []
    for column in range(length):
        char = screen.buffer[number][column]
        text = {"█": "<i></i>", "░": '<i class="empty"></i>'}.get(char.data, html.escape(char.data))
        style = f"color:{COLORS[char.fg]};" * (char.fg != "default") + "font-weight:bold;" * char.bold
        parts.append(f'<span style="{style}">{text}</span>' if style else text)
    return "".join(parts)


def photograph(page: Path, image: Path, width: int, height: int, folder: Path, *options: str) -> None:
    """Have Chromium show a page and write what it looks like as a PNG."""
    subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--hide-scrollbars", "--force-device-scale-factor=1.5", "--disable-lcd-text"),
            *(f"--user-data-dir={folder / 'chromium'}", f"--window-size={width},{height}", *options),
            *(f"--screenshot={image}", page.as_uri()),
        ],
        stderr=subprocess.DEVNULL,
        check=True,
    )
    # A few hundred shades of text, in a quarter of the bytes.
    subprocess.run(
        ["pngquant", "--force", "--speed=1", "--strip", f"--output={image}", "64", image], check=True
    )
    print(f"{image}: {image.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
