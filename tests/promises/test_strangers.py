"""Nobody outside the folder's owner and group can forge, erase, redirect or block."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from hal0_budget import Account, BudgetError, Home, init
from tests.conftest import Cli, Proof

NOBODY = 65534
ATTEMPTS = {
    "append a row": "open(LEDGER, 'a').write('x')",
    "truncate the ledger": "os.truncate(LEDGER, 0)",
    "empty the ledger": "open(LEDGER, 'w')",
    "rename the ledger": "os.rename(LEDGER, LEDGER + '.old')",
    "delete the ledger": "os.unlink(LEDGER)",
    "delete the checkpoint": "os.unlink(FOLDER + '/spend.checkpoint')",
    "forge the checkpoint": "open(FOLDER + '/spend.checkpoint', 'a').write('x')",
    "forge the journal of holds": "open(FOLDER + '/spend.holds', 'a').write('x')",
    "forge the cache": "open(FOLDER + '/spend.cache', 'wb').write(b'x')",
    "lay a journal beside the cache": "open(FOLDER + '/spend.cache-journal', 'wb').write(b'x')",
    "lay a link at the temporary's place": "os.symlink('/etc/passwd', FOLDER + '/.spend.checkpoint.new')",
    "lay a link beside the persona": "os.symlink('/etc/passwd', PERSONAS + '/.hermes.toml.new')",
    "lay a FIFO": "os.mkfifo(FOLDER + '/fifo')",
    "link the ledger into the folder": "os.link('/etc/hostname', FOLDER + '/link')",
    "edit the persona": "open(PERSONAS + '/hermes.toml', 'a').write('x')",
    "replace the persona": "os.rename(PERSONAS + '/hermes.toml', PERSONAS + '/old')",
    "put a persona": "open(PERSONAS + '/other.toml', 'w')",
    "hold the lock": "fcntl.flock(os.open(FOLDER + '/spend.lock', os.O_RDONLY), fcntl.LOCK_EX)",
    "hold the lock for writing": "fcntl.flock(os.open(FOLDER + '/spend.lock', os.O_RDWR), fcntl.LOCK_EX)",
    "make the folder open": "os.chmod(FOLDER, 0o777)",
}


@pytest.fixture(params=["as this program makes it", "open to readers, as hal0 makes it"])
def open_home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """An agent in a folder that everybody can reach, with a charge and a hold."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    folder = Path(tempfile.mkdtemp(prefix="hal0-budget-"))
    folder.chmod(0o755)
    home = Home(folder / "agents")
    init(home)
    account = Account(home, "hermes")
    account.set_budget({"daily_usd": Decimal(1)})
    account.charge(Decimal("0.25"), model="m", request_id="r1")
    account.reserve(Decimal("0.25"))
    if "hal0" in request.param:
        for path in [folder / "agents", *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
    yield home
    shutil.rmtree(folder)


def as_nobody(home: Home, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as nobody, with the names of what it is to attack."""
    folder = home.spend_dir("hermes")
    names = (
        f"LEDGER, FOLDER, PERSONAS = {str(folder / 'spend.jsonl')!r}, {str(folder)!r}, {str(home.personas)!r}"
    )
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import os, fcntl\nos.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n{names}\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.promise(12)
def test_nobody_can_forge_erase_redirect_or_block(open_home: Home, proof: Proof) -> None:
    for what, code in ATTEMPTS.items():
        done = as_nobody(open_home, code)
        assert done.returncode != 0, what
        assert "PermissionError" in done.stderr, (what, done.stderr)
    cli = Cli(open_home.root)
    assert cli("check", "hermes", "--estimate", "0.5").returncode == 0
    assert cli("check", "hermes", "--estimate", "0.51").returncode == 20
    assert cli("verify", "hermes").returncode == 0
    assert cli("charge", "hermes", "--cost", "0.1", "--model", "m", "--lock-timeout", "1").returncode == 0
    proof.counted(len(ATTEMPTS), "attempts as nobody, 0 succeeded, none hung")


NAMES = ("../x", "..", ".", "a/b", "/etc/passwd", "a\nb", "-x", "", "a" * 65, "ä", "a b", "%2e%2e")
# Every command that takes an id, with the id where {} stands.
TAKERS = (
    *("show -- {}", "check -- {}", "init -- {}", "verify -- {}", "verify --repair -- {}"),
    *("charge --cost 1 --model m -- {}", "set --daily 1 -- {}", "reserve --estimate 1 -- {}"),
    *("release -- {} h", "void --reason x -- {} r", "run --estimate 1 -- {} true"),
    *("release -- hermes {}", "reserve --estimate 1 --hold-id={} hermes"),
    *("charge --cost 1 --model m --hold={} hermes", "check --agent={} hermes", "init --agent={}"),
)


@pytest.mark.promise(12)
@pytest.mark.parametrize("name", NAMES)
def test_no_id_leaves_its_folder(cli: Cli, name: str, proof: Proof) -> None:
    before = sorted(cli.root.parent.rglob("*"))
    takers = TAKERS if proof.is_full or name == "../x" else TAKERS[:1]
    for taker in takers:
        done = cli(*(word.replace("{}", name) for word in taker.split()))
        assert done.returncode == 64, (taker, done.stderr)
        assert sorted(cli.root.parent.rglob("*")) == before, taker
    proof.counted(len(takers), "ids that lead elsewhere, refused")


@pytest.mark.promise(12)
def test_no_id_with_a_nul_reaches_the_file_system(home: Home, proof: Proof) -> None:
    """No command line can hold one; a caller of the library can."""
    names = ("hermes\0", "\0", "hermes\0.toml", "../\0", "hermes\n", "hermes/", "hermes/../hermes")
    for name in names:
        for agent, persona in (("hermes", name), (name, "hermes")):
            with pytest.raises(BudgetError) as caught:
                Account(Home(home.root, agent), persona).check()
            assert caught.value.code == "id.invalid", name
    proof.counted(2 * len(names), "ids that lead elsewhere, refused")
