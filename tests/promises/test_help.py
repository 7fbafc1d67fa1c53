"""Help is no verdict: a persona id that looks like an option never makes a gate end in 0."""

from __future__ import annotations

import itertools

import pytest

from hal0_budget.cli.app import COMMANDS, GATES
from tests.conftest import Cli, Proof

pytestmark = pytest.mark.promise(15)

# How scripts ask, with the persona in the place of {}.
ASKED = {
    "check": (
        "check {}",
        "check {} --estimate 0.1",
        "check --estimate 0.1 {}",
        "check {} --json",
        "check {} -q",
    ),
    "reserve": ("reserve {}", "reserve {} --estimate 0.1", "reserve --estimate 0.1 {} --json"),
    "charge": ("charge {}", "charge {} --cost 0.1 --model m", "charge --cost 0.1 --model m {}"),
    "run": ("run {} --estimate 0.1 -- true", "run --estimate 0.1 {} -- true", "run --estimate 0.1 {} true"),
    "release": ("release {} h1", "release hermes {}", "release {}"),
    "void": ("void {} r1 --reason x", "void hermes {} --reason x"),
    "set": ("set {} --daily 5", "set --daily 5 {}"),
}
HOSTILE = (
    *("-h", "--help", "-hh", "-hq", "-qh", "-h5", "-5", "--help=hermes", "--help=", "--hel", "-H"),
    *("--version", "-", "--", "---", "", " ", "-q", "--quiet", "--json", "-- -h", "--root", "--agent"),
)


@pytest.mark.parametrize("command", ASKED)
def test_no_persona_that_looks_like_an_option_makes_a_gate_end_in_a_verdict(
    cli: Cli, command: str, proof: Proof
) -> None:
    before = sorted(cli.root.rglob("*"))
    pairs = [*itertools.product(ASKED[command], HOSTILE)]
    helps = [pair for pair in pairs if pair[1] in {"-h", "--help"}]
    for line, persona in pairs if proof.is_full else [*helps, *pairs[:: len(ASKED[command]) * 3 + 1]]:
        done = cli(*(word.replace("{}", persona) for word in line.split()))
        assert done.returncode in {64, 66}, (line, persona, done)
    assert sorted(cli.root.rglob("*")) == before


def test_program_is_not_asked_for_help_beside_a_command(cli: Cli) -> None:
    for line in (
        "-h check hermes",
        "--help check hermes",
        "--version check hermes",
        "--json --help",
        "-h -h",
    ):
        done = cli(*line.split())
        assert (done.returncode, done.stdout.startswith("Usage")) == (64, False), line
        assert "must be the only argument" in done.stderr


def test_help_of_a_gate_is_printed_and_is_no_verdict(cli: Cli) -> None:
    for command, option in itertools.product(sorted(GATES), ("-h", "--help")):
        done = cli(command, option)
        assert (done.returncode, done.stderr) == (64, "")
        assert done.stdout.startswith(f"Usage: hal0-budget {command} ")
    nagios = cli("check", "--format", "nagios", "-h")
    assert (nagios.returncode, nagios.stdout.startswith("BUDGET UNKNOWN")) == (3, True)


def test_help_command_ends_in_0_and_says_what_the_option_says(cli: Cli) -> None:
    assert cli("help").stdout == cli("--help").stdout
    for command in COMMANDS:
        done = cli("help", command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == cli(command, "--help").stdout
    unknown = cli("help", "chek")
    assert (unknown.returncode, "did you mean 'check'?" in unknown.stderr) == (64, True)


def test_help_of_what_is_no_gate_ends_in_0(cli: Cli) -> None:
    for command in set(COMMANDS) - GATES:
        assert cli(command, "-h").returncode == 0
