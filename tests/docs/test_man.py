"""The manual page is what the parser and the docs say, is sound roff, and is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import typer

from hal0_budget.cli.app import COMMANDS, app
from scripts import man

TEXT = man.PAGE.read_text()
PACKAGE = man.PROJECT / "hal0_budget"


def shown(roff: str) -> str:
    """The words of the page, as a reader gets them."""
    text = re.sub(r"\\f[BR]|\\&", "", roff)
    for escape, char in {
        r"\-": "-",
        r"\(aq": "'",
        r"\(ga": "`",
        r"\(ha": "^",
        r"\(ti": "~",
        r"\e": "\\",
    }.items():
        text = text.replace(escape, char)
    return text


def section(name: str) -> str:
    return TEXT.partition(f"\n.SH {name}\n")[2].partition("\n.SH ")[0]


def test_page_is_what_the_parser_and_the_docs_say() -> None:
    assert man.page() == TEXT, "run scripts/docs.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_with_its_options(name: str) -> None:
    command = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    part = shown(section("COMMANDS").partition(f".SS {name}\n")[2].partition("\n.SS ")[0])
    assert command.help.partition("\n")[0] in part.replace("\n", " ")
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    # The common ones' short names stand in OPTIONS alone.
    options = {name for name in names if name.startswith("-")} - {"-q", "-h"}
    assert {"-q", "-h"} <= set(re.findall(r"(?<![\w-])-[a-z]\b", shown(section("OPTIONS"))))
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z-]+", part))


@pytest.mark.parametrize(
    ("name", "page", "table"),
    [("EXIT STATUS", "exit-codes.md", "| code |"), ("EXIT STATUS", "exit-codes.md", "| exit |"),
     ("ENVIRONMENT", "shell.md", "| variable |")],
)  # fmt: skip
def test_every_row_of_a_table_stands_in_its_section(name: str, page: str, table: str) -> None:
    rows = (man.PROJECT / "docs" / page).read_text().partition(table)[2].partition("\n\n")[0].splitlines()[2:]
    tags = [row.split("|")[1].strip(" `") for row in rows]
    assert len(tags) >= 4
    assert not [tag for tag in tags if f".TP\n{tag}" not in shown(section(name))]


def test_sections_are_those_of_a_manual_page_in_order() -> None:
    assert re.findall(r"^\.SH (.*)", TEXT, re.MULTILINE) == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES",
        "EXAMPLES", "SEE ALSO",
    ]  # fmt: skip


def test_page_is_sound_roff() -> None:
    """ASCII; no request and no escape but those that are meant."""
    assert TEXT.isascii()
    requests = set(re.findall(r"^[.'](\w*)", TEXT, re.MULTILINE))
    assert requests == {"TH", "SH", "SS", "PP", "TP", "EX", "EE", "BR"}
    assert set(re.findall(r"\\(?:\(..|f.|.)", TEXT)) <= {
        r"\-", r"\fB", r"\fR", r"\e", r"\&", r"\(aq", r"\(ga", r"\(ha", r"\(ti",
    }  # fmt: skip
    assert TEXT.count(r"\fB") == TEXT.count(r"\fR")
    assert "\n\n" not in TEXT.partition(".SH FILES")[0]


HOSTILE = {
    ".so /etc/passwd": r"\&.so /etc/passwd",
    "'br": r"\&\(aqbr",
    r"a\fBb": r"a\efBb",
    "--x `y` ^~": r"\-\-x \(gay\(ga \(ha\(ti",
}


@pytest.mark.parametrize(("line", "roff"), HOSTILE.items())
def test_text_is_never_taken_for_a_request(line: str, roff: str) -> None:
    assert man.literal(line) == [".EX", roff, ".EE"]
    assert man.text(line) == [roff]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, as the build backend makes them."""
    folder = tmp_path_factory.mktemp("dist")
    script = "import sys; from hatchling.build import *; build_wheel(sys.argv[1]); build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, folder], cwd=man.PROJECT, check=True, timeout=60)
    return folder


def test_wheel_has_the_page_where_man_finds_it_and_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (page,) = [name for name in names if name.endswith(".data/data/share/man/man1/hal0-budget.1")]
        assert archive.read(page).decode() == TEXT
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {str(path.relative_to(man.PROJECT)) for path in files} <= names


SCRIPTS = {
    "bash": "share/bash-completion/completions/hal0-budget",
    "zsh": "share/zsh/site-functions/_hal0-budget",
    "fish": "share/fish/vendor_completions.d/hal0-budget.fish",
}


@pytest.mark.parametrize(("shell", "place"), SCRIPTS.items(), ids=SCRIPTS)
def test_wheel_has_completion_scripts_where_shells_find_them(built: Path, shell: str, place: str) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(f".data/data/{place}")]
        script = archive.read(name)
    assert script == (PACKAGE / "cli" / "shells" / f"completion.{shell}").read_bytes()


def test_source_distribution_has_what_the_wheel_is_made_of(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"docs/hal0-budget.1", "hal0_budget/cli/shells/completion.bash", "pyproject.toml"} <= names
