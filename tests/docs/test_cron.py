"""What docs/cron.md says to install works: the crontab, the mail, the units and the rotation."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, Home
from tests.conftest import COMMAND
from tests.support.pages import blocks

PROGRAM = "/usr/local/bin/hal0-budget"


@pytest.fixture
def spent(home: Home) -> Home:
    """An agent whose hermes has spent something yesterday, and nearly all of today."""
    now = datetime.now(UTC)
    account = Account(home, "hermes", clock=lambda: now - timedelta(days=1))
    account.set_budget({"daily_usd": Decimal(1), "warn_at": Decimal("0.8")})
    account.charge(Decimal("0.25"), model="openai/gpt-4.1")
    Account(home, "hermes", clock=lambda: now).charge(Decimal("0.9"), model="m")
    return home


def here(text: str, folder: Path) -> str:
    """A text of the page with the paths of this machine."""
    return (
        text.replace(PROGRAM, str(COMMAND))
        .replace("/var/lib/hal0", str(folder))
        .replace("/usr/sbin/sendmail -t", f"cat > {folder}/mail")
    )


def test_crontab_lines_do_what_they_say(spent: Home, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (text,) = blocks("cron.md", "crontab")
    lines = [line for line in here(text, tmp_path).splitlines() if not line.startswith("#")]
    environment = [line for line in lines if re.match(r"\w+=", line)]
    commands = [line.split(maxsplit=5)[5] for line in lines if line not in environment]
    assert len(commands) == 3
    assert f"HAL0_BUDGET_ROOT={spent.root}" in environment

    def run(command: str) -> tuple[int, str]:
        # What cron gives a command, and no more.
        given = ["env", "-i", "HOME=/", "SHELL=/bin/sh", "PATH=/usr/bin:/bin", *environment, "/bin/sh", "-c"]
        done = subprocess.run([*given, command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, morning = run(commands[0])
    assert (code, morning.isascii()) == (0, True)
    assert "total $0.2500 in 1 call\n" in morning
    assert "openai/gpt-4.1" in morning
    assert "reaches 80% of cap" in run(commands[1])[1]
    assert run(commands[2]) == (0, "")
    assert "$1.1500" in (tmp_path / "reports" / "week.html").read_text()
    Account(spent, "hermes").set_budget({"daily_usd": Decimal(5)})
    assert run(commands[1]) == (0, "")


def test_mail_is_a_page(spent: Home, tmp_path: Path) -> None:
    (script,) = blocks("cron.md", "bash")
    env = {"PATH": os.environ["PATH"], "HAL0_BUDGET_ROOT": str(spent.root)}
    subprocess.run(["bash", "-c", here(script, tmp_path)], env=env, check=True)
    mail = email.message_from_bytes((tmp_path / "mail").read_bytes())
    assert mail.get_content_type() == "text/html"
    assert str(mail.get_payload()).startswith("<!doctype html>")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_units_are_valid(tmp_path: Path) -> None:
    paths = []
    for text in blocks("cron.md", "ini"):
        head, _, body = here(text, tmp_path).partition("\n")
        paths.append(tmp_path / Path(head.removeprefix("# ")).name)
        paths[-1].write_text(body)
    assert [path.suffix for path in paths] == [".service", ".timer"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "hal0-budget" in line]) == (0, [])


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="needs logrotate")
def test_rotation_is_valid_and_is_not_of_a_ledger(tmp_path: Path) -> None:
    (text,) = blocks("cron.md", "logrotate")
    path = tmp_path / "logrotate.conf"
    path.write_text(text)
    path.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "-d", "-s", str(tmp_path / "state"), str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "error" in done.stderr) == (0, False)
    assert "/var/log/hal0/report.log" in done.stderr
    assert "jsonl" not in text
