"""The paths of an agent's files, and the ids of its personas."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hal0_budget.errors import AgentUnknown, PersonaNotFound, from_os_error
from hal0_budget.model.ids import checked_id, is_id

DEFAULT_ROOT = Path("/var/lib/hal0/agents")
DEFAULT_AGENT = "hermes"

LOCK = "spend.lock"


class Home(NamedTuple):
    """The files of one agent: persona files, and below `root` one folder per persona with its spending.

    Persona files are in `personas_dir` if it is set; the ledgers are always below `root`.
    """

    root: Path
    agent: str = DEFAULT_AGENT
    personas_dir: Path | None = None

    @property
    def agent_dir(self) -> Path:
        """The folder of the agent. Raises InvalidId."""
        return self.root / checked_id("agent", self.agent)

    @property
    def personas(self) -> Path:
        """The folder of the persona files and of `active.txt`."""
        default = self.agent_dir / "personas"
        return self.personas_dir or default

    @property
    def active_file(self) -> Path:
        """The file that names the active persona."""
        return self.personas / "active.txt"

    def persona_file(self, persona: str) -> Path:
        """The TOML file of a persona. Raises InvalidId."""
        return self.personas / f"{checked_id('persona', persona)}.toml"

    def edit_lock(self, persona: str) -> Path:
        """The lock file for edits of a persona file. Raises InvalidId.

        It is next to the persona file if `personas_dir` is set, because agents may share that folder.
        """
        if self.personas_dir is None:
            return self.spend_dir(persona) / LOCK
        return self.personas_dir / f".{checked_id('persona', persona)}.lock"

    def spend_dir(self, persona: str) -> Path:
        """The folder of a persona's ledger, checkpoint and lock. Raises InvalidId."""
        return self.agent_dir / "personas" / checked_id("persona", persona)

    def require_agent(self) -> None:
        """Raise AgentUnknown if `personas_dir` is set and the folder of the ledgers does not exist.

        With `personas_dir`, persona files are found even if the agent is misspelt or the root is not mounted,
        and missing ledgers would count as nothing spent. Without it, the persona files are missing, too.
        """
        if self.personas_dir is not None and not _is_folder(self.agent_dir / "personas"):
            raise self._agent_unknown()

    def persona_ids(self) -> tuple[str, ...]:
        """Return the ids of all personas, sorted.

        Raises AgentUnknown if the folder of the persona files or of the ledgers does not exist;
        PermissionRefused.
        """
        self.require_agent()
        try:
            return self._ids()
        except (FileNotFoundError, NotADirectoryError):
            raise self._agent_unknown() from None
        except OSError as error:
            raise from_os_error(error) from error

    def agent_ids(self) -> tuple[str, ...]:
        """Return the ids of all agents below the root, sorted; empty if the root cannot be read."""
        try:
            names = os.listdir(self.root)
        except OSError:
            return ()
        return tuple(
            sorted(name for name in names if is_id(name) and os.path.isdir(self.root / name / "personas"))
        )

    def not_found(self, persona: str) -> AgentUnknown | PersonaNotFound:
        """Return the error for a persona without a file; it suggests the most similar existing id."""
        try:
            # Never suggest the same name: a dangling symlink is listed but is not a persona.
            known = [name for name in self.persona_ids() if name != persona]
        except AgentUnknown as error:
            return error
        import difflib

        close = difflib.get_close_matches(persona, known, n=1, cutoff=0.5)
        advice = f"did you mean {close[0]!r}?" if close else f"to create it: hal0-budget init {persona}"
        return PersonaNotFound(
            f"agent {self.agent!r} has no persona {persona!r} ({self.persona_file(persona)}); {advice}",
            persona=persona,
            nearest=close[0] if close else None,
        )

    def _ids(self) -> tuple[str, ...]:
        """Return the ids that have a persona file, sorted. Raises OSError."""
        names = os.listdir(self.personas)
        stems = (name.removesuffix(".toml") for name in names if name.endswith(".toml"))
        return tuple(sorted(stem for stem in stems if is_id(stem)))

    def _agent_unknown(self) -> AgentUnknown:
        folders = (self.root, self.agent_dir, self.agent_dir / "personas", self.personas)
        missing = next((folder for folder in folders if not _is_folder(folder)), self.personas)
        state = "is not a folder" if os.path.lexists(missing) else "does not exist"
        nearest = None if missing == self.root else self._nearest_agent()
        command = self._init_command()
        if missing == self.root:
            advice = f"mount it, or name another with --root or HAL0_BUDGET_ROOT; to create it: {command}"
        elif nearest is not None:
            advice = f"did you mean agent {nearest!r} (--agent or HAL0_AGENT)? to create this one: {command}"
        else:
            advice = f"to create it: {command}"
        return AgentUnknown(
            f"no agent {self.agent!r}: {missing} {state}; {advice}", agent=self.agent, nearest=nearest
        )

    def _init_command(self) -> str:
        """Return the command that creates the agent's folders; it names an existing persona, if any, so that
        `init` creates no new one.
        """
        command = f"hal0-budget --root {self.root} --agent {self.agent}"
        if self.personas_dir is None:
            return f"{command} init"
        known: tuple[str, ...] = ()
        with suppress(OSError):
            known = self._ids()[:1]
        return " ".join((command, "--personas-dir", str(self.personas_dir), "init", *known))

    def _nearest_agent(self) -> str | None:
        """Return the agent below the root with the most similar id; None if there is none."""
        import difflib

        agents = [name for name in self.agent_ids() if name != self.agent]
        close = difflib.get_close_matches(self.agent, agents, n=1, cutoff=0.5)
        return close[0] if close else None


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or a symlink to one. Raises PermissionRefused, WriteFailed."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise from_os_error(error) from error
