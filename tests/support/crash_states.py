"""Every state that a power cut can leave of a story of commands, interrupted and not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.crash_steps import Step, Tried, started
from tests.support.disk_model import Disk, Tree
from tests.support.recorder import Call, Mark, Recorder

# In memory, where there is such a folder: what the disk would do is what the model says.
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


class Story(NamedTuple):
    """What was done and is durable; the commands that a cut, a kill or a failed fsync meets; and those that
    run after a kill or a failed fsync, and may meet a cut in turn.

    `is_damaged`: until the repair in it is acknowledged, the gate may refuse.
    """

    name: str
    before: tuple[Step, ...]
    struck: tuple[Step, ...]
    after: tuple[Step, ...]
    is_damaged: bool = False


class Case(NamedTuple):
    """A state that a power cut left of a story: how it came about, and what was tried until then.

    `is_plain`: all pending changes of a kind met the same. `is_faulty`: the disk lost what it failed to sync
    before, which the gate may call damage.
    """

    story: Story
    how: str
    tree: Tree
    steps: tuple[Tried, ...]
    is_plain: bool
    is_faulty: bool


class _Begun(NamedTuple):
    """A step that is about to begin: the disks, what was tried before it, and what it will sync."""

    step: Step
    disks: list[Disk]
    steps: tuple[Tried, ...]
    syncs: list[str]


class Explorer:
    """Makes the cases of a story, each once."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story, self._folder = story, folder
        self._seen: set[int] = set()
        self._copies = 0

    def cases(self, is_struck: Callable[[str, int], bool]) -> Iterator[Case]:
        """The cases of the story undisturbed, then with a kill after each call, or an error at each fsync,
        of those that `is_struck` says yes to: what is done, and which of them it is.
        """
        recorder = self._recorder({})
        recorder.run(_argv(self.story.before))
        kept = started(*self.story.before)
        disks = [Disk(recorder.folder, has_journal=with_journal) for with_journal in (False, True)]
        events = recorder.record(_argv(self.story.struck))
        struck: list[tuple[str, list[Disk], tuple[Tried, ...]]] = []
        begun: list[_Begun] = []
        for event, steps in self._replayed(events, self.story.struck, disks, kept):
            yield from self._cut(f"cut after {_text(event)}", disks, steps)
            forks = [disk.fork() for disk in disks]
            if isinstance(event, Call) and is_struck(event.text, len(struck)):
                struck.append((f"killed after {event.text} ({len(struck)})", forks, steps))
            if isinstance(event, Mark) and event.word == "begins":
                begun.append(_Begun(steps[-1].step, forks, steps[:-1], []))
            elif isinstance(event, Call) and event.text.startswith(("fsync", "fdatasync")):
                begun[-1].syncs.append(event.text)
        for how, forks, steps in struck:
            yield from self._go_on(how, forks, steps)
        for step in begun:
            for at, sync in enumerate(step.syncs):
                if is_struck(sync, at):
                    yield from self._failed(step, sync, at)

    def _failed(self, begun: _Begun, sync: str, at: int) -> Iterator[Case]:
        """The cases of a step of which one fsync fails."""
        call = sync.partition(" ")[0]
        number = sum(other.startswith(f"{call} ") for other in begun.syncs[: at + 1])
        disks, steps = [disk.fork() for disk in begun.disks], begun.steps
        recorder = self._recorder(disks[0].seen())
        events = recorder.record([begun.step.argv], f"{call}:error=EIO:when={number}")
        assert any(isinstance(event, Call) and event.has_failed for event in events), (begun.step, sync)
        how = f"{sync} failed ({at})"
        for event, now in self._replayed(events, (begun.step,), disks, begun.steps):
            steps = now
            yield from self._cut(f"{how}, then cut after {_text(event)}", disks, now)
        yield from self._go_on(how, disks, steps)

    def _go_on(self, how: str, disks: list[Disk], steps: tuple[Tried, ...]) -> Iterator[Case]:
        """The cases of the commands that come after a kill or an error."""
        recorder = self._recorder(disks[0].seen())
        events = recorder.record(_argv(self.story.after))
        for event, now in self._replayed(events, self.story.after, disks, steps):
            yield from self._cut(f"{how}, then cut after {_text(event)}", disks, now)

    def _recorder(self, tree: Tree) -> Recorder:
        self._copies += 1
        folder = self._folder / str(self._copies)
        lay(tree, folder / "disk")
        return Recorder(folder / "disk", folder / "notes")

    def _replayed(
        self,
        events: list[Mark | Call],
        steps: Sequence[Step],
        disks: list[Disk],
        before: tuple[Tried, ...],
    ) -> Iterator[tuple[Mark | Call, tuple[Tried, ...]]]:
        """Each event once the disks had it, with what was tried until then."""
        tried = list(before)
        for event in events:
            if isinstance(event, Call):
                for disk in disks:
                    event.apply(disk)
            elif event.word == "begins":
                tried.append(Tried(steps[event.step], 0))
            elif event.word == "running":
                tried[-1] = Tried(tried[-1].step, 1)
            elif event.word == "0" and tried[-1].step.is_acknowledged:
                tried[-1] = Tried(tried[-1].step, len(tried[-1].step.effects))
            yield event, tuple(tried)

    def _cut(self, how: str, disks: list[Disk], steps: tuple[Tried, ...]) -> Iterator[Case]:
        for disk in disks:
            for state in disk.states():
                key = _key(state.tree, steps)
                if key not in self._seen:
                    self._seen.add(key)
                    kept = "with a journal" if disk.has_journal else "strict"
                    how_all = f"{how} [{kept}: {state.how}]"
                    yield Case(self.story, how_all, state.tree, steps, state.is_plain, state.is_faulty)


def _argv(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    return [step.argv for step in steps]


def _text(event: Mark | Call) -> str:
    return event.text if isinstance(event, Call) else f"step {event.step} {event.word}"


def _key(tree: Tree, steps: tuple[Tried, ...]) -> int:
    """What tells a case of a story from the others, but for one chance in a billion billions."""
    return hash((steps, frozenset(tree.items())))


def lay(tree: Tree, folder: Path) -> None:
    """Write a tree to a folder, made where missing."""
    folder.mkdir(parents=True)
    # Folders first, each before what is in it, and names of files that are there last.
    for path in sorted(tree, key=lambda path: (tree[path] is not None, isinstance(tree[path], str), path)):
        data = tree[path]
        if data is None:
            (folder / path).mkdir()
        elif isinstance(data, str):
            (folder / path).hardlink_to(folder / data)
        else:
            (folder / path).write_bytes(data)
