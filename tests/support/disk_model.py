"""A model of a file system that a power cut can hit: what it may lose, and what a crash can leave behind.

A change of a file's bytes is pending until an fsync of that file. A change of a folder's names is pending
until an fsync of that folder; on a file system with a journal, an fsync of any file makes names durable too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as copied
from pathlib import Path, PurePath
from typing import NamedTuple

# The files and folders of a state by path: the bytes of a file, None for a folder, and for a second name of a
# file its first name.
Tree = Mapping[str, bytes | str | None]

# How many bytes of each change persist; `ZEROS` where a file grew and its new bytes never came. A change that
# is missing here is lost.
Kept = Mapping["Change", int]

ZEROS = -1

_PAGE = 4096
_TOP = 0


@dataclass(eq=False, slots=True)
class Change:
    """One change of a file: `data` at `offset`, or without data its new size. Or one of a folder: `name`
    given to the node `target`, or removed where that is None; a rename removes `source`, too.

    `lost_pages` are those that a failed fsync marked clean: only another write brings them to the disk.
    """

    node: int
    offset: int = 0
    data: bytes | None = None
    is_append: bool = False
    name: str | None = None
    target: int | None = None
    source: str | None = None
    is_durable: bool = False
    lost_pages: set[int] = field(default_factory=set)

    @property
    def length(self) -> int:
        """How many parts of it can persist: the bytes of a write, else one."""
        return 1 if self.data is None else len(self.data)

    @property
    def pages(self) -> set[int]:
        """The pages of the file that a write changes."""
        if self.data is None:
            return set()
        return {*range(self.offset // _PAGE, (self.offset + len(self.data) - 1) // _PAGE + 1)}


class State(NamedTuple):
    """What a power cut left: the tree, how it came about, whether all changes of a kind met the same, and if
    bytes are missing of which an fsync had failed.
    """

    tree: Tree
    how: str
    is_plain: bool
    is_faulty: bool


class Disk:
    """The files below a folder: as programs see them, and as the disk holds them.

    `has_journal`: an fsync of a file makes pending names durable, as ext4 and XFS do; else strict POSIX.
    """

    def __init__(self, folder: Path, *, has_journal: bool) -> None:
        self.has_journal = has_journal
        self.changes: list[Change] = []
        # What is durable at the start: bytes of files, names in folders.
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {_TOP: {}}
        self._folders = {_TOP}
        self._next = _TOP + 1
        inodes: dict[int, int] = {}
        for path in sorted(folder.rglob("*")):
            parent = self.find(path.relative_to(folder).parent)
            assert parent is not None
            node = inodes.setdefault(path.stat().st_ino, self._next)
            self._next = max(self._next, node + 1)
            self._names[parent][path.name] = node
            if path.is_dir():
                self._names[node] = {}
                self._folders.add(node)
            else:
                self._bytes[node] = path.read_bytes()
        self._sizes = {node: len(data) for node, data in self._bytes.items()}
        self._contents: dict[tuple[int, tuple[int, ...]], bytes] = {}

    def fork(self) -> Disk:
        """A disk of its own with the same contents and the same pending changes."""
        other: Disk = object.__new__(Disk)
        other.has_journal, other._bytes, other._names = self.has_journal, self._bytes, self._names
        other._next, other._sizes, other._folders = self._next, dict(self._sizes), set(self._folders)
        other.changes = [copied(one, lost_pages={*one.lost_pages}) for one in self.changes]
        other._contents = {}
        return other

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def find(self, path: PurePath) -> int | None:
        """The node that programs see at a path relative to the folder."""
        node: int | None = _TOP
        for part in path.parts:
            names = self._seen_names(node) if node is not None else {}
            node = names.get(part)
        return node

    def _seen_names(self, folder: int) -> dict[str, int]:
        return _named(self._names.get(folder, {}), self._of(folder), None)

    def _of(self, node: int) -> list[Change]:
        return [change for change in self.changes if change.node == node]

    def size(self, node: int) -> int:
        """The size of a file as programs see it."""
        return self._sizes.get(node, 0)

    # What programs do.

    def make(self, path: PurePath, *, is_folder: bool = False) -> None:
        """Make an empty file or folder and its name."""
        node = self._new()
        if is_folder:
            self._folders.add(node)
        self._name(path, node)

    def _name(self, path: PurePath, node: int | None, source: str | None = None) -> None:
        folder = self.find(path.parent)
        assert folder is not None, f"{path} is in no known folder"
        self.changes.append(Change(folder, name=path.name, target=node, source=source))

    def rename(self, old: PurePath, new: PurePath) -> None:
        """Rename within a folder, replacing what has the name."""
        assert old.parent == new.parent, "a rename between folders is not modelled"
        self._name(new, self.find(old), old.name)

    def link(self, old: PurePath, new: PurePath) -> None:
        """Give a file a second name."""
        self._name(new, self.find(old))

    def unlink(self, path: PurePath) -> None:
        """Remove a name."""
        self._name(path, None)

    def write(self, node: int, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""
        if not data:
            return
        size = self.size(node)
        change = Change(node, offset=offset, data=data, is_append=offset >= size)
        for other in self._of(node):
            other.lost_pages -= change.pages
        self.changes.append(change)
        self._sizes[node] = max(size, offset + len(data))

    def truncate(self, node: int, size: int) -> None:
        """Give a file a size."""
        self.changes.append(Change(node, offset=size))
        self._sizes[node] = size

    def sync(self, node: int) -> None:
        """Make a file's bytes or a folder's names durable."""
        for change in self.changes:
            is_covered = change.node == node or (change.name is not None and self.has_journal)
            if is_covered and not change.lost_pages:
                change.is_durable = True

    def fail_sync(self, node: int) -> None:
        """Fail an fsync as Linux does: what was pending counts as clean, on the disk or not."""
        for change in self._of(node):
            if not change.is_durable:
                change.lost_pages = change.pages

    # What a power cut leaves.

    def seen(self) -> Tree:
        """What programs see."""
        return self._tree(None)

    def states(self) -> Iterator[State]:
        """What a power cut now can leave: the plain choices first."""
        pending = [change for change in self.changes if not change.is_durable]
        for is_plain, choices in ((True, _plain_choices(pending)), (False, _choices(pending))):
            for how, kept in choices:
                lacking = any(one.lost_pages and kept.get(one, 0) < one.length for one in pending)
                yield State(self._tree(kept), how, is_plain, lacking)

    def _tree(self, kept: Kept | None) -> Tree:
        tree: dict[str, bytes | str | None] = {}
        first: dict[int, str] = {}
        by_node: dict[int, list[Change]] = {}
        for change in self.changes:
            by_node.setdefault(change.node, []).append(change)
        folders = [(_TOP, "")]
        while folders:
            folder, prefix = folders.pop()
            for name, node in _named(self._names.get(folder, {}), by_node.get(folder, []), kept).items():
                if node in self._folders:
                    tree[prefix + name] = None
                    folders.append((node, f"{prefix}{name}/"))
                elif node in first:
                    tree[prefix + name] = first[node]
                else:
                    first[node] = prefix + name
                    tree[prefix + name] = self._content(node, by_node.get(node, []), kept)
        return tree

    def _content(self, node: int, own: list[Change], kept: Kept | None) -> bytes:
        # Many states share the bytes of most of their files.
        counts = tuple(_kept(change, kept) for change in own)
        if (node, counts) not in self._contents:
            self._contents[node, counts] = _written(self._bytes.get(node, b""), own, counts)
        return self._contents[node, counts]


def _plain_choices(pending: list[Change]) -> Iterator[tuple[str, Kept]]:
    """All pending changes persist, or none; names or bytes alone; one node alone, or all but it."""
    whole = {one: one.length for one in pending}
    yield "all pending changes", whole
    yield "no pending change", {}
    yield "names without bytes", {one: one.length for one in pending if one.name is not None}
    yield "bytes without names", {one: one.length for one in pending if one.name is None}
    for node in dict.fromkeys(one.node for one in pending):
        yield f"node {node} alone", {one: size for one, size in whole.items() if one.node == node}
        yield f"all but node {node}", {one: size for one, size in whole.items() if one.node != node}


def _choices(pending: list[Change]) -> Iterator[tuple[str, Kept]]:
    """All pending changes but one persist, or one alone; a file's up to each one and up to a byte of it, with
    those of the other files and without.
    """
    whole = {one: one.length for one in pending}
    for number, change in enumerate(pending):
        same = [one for one in pending if one.node == change.node]
        # Appends reach the disk in order: none without those before it, which share its page.
        before = [one for one in same[: same.index(change)] if one.is_append and change.is_append]
        after = {one for one in same[same.index(change) :] if one.is_append and change.is_append}
        without = {one: size for one, size in whole.items() if one is not change and one not in after}
        yield f"all but pending change {number}", without
        yield f"pending change {number} alone", {one: one.length for one in (*before, change)}
        upto = {one: one.length for one in same[: same.index(change)]}
        rest = {one: size for one, size in whole.items() if one.node != change.node}
        cuts = {0, 1, change.length // 2, change.length - 1} if change.data else {0}
        for cut in sorted(cuts | ({ZEROS} if change.is_append else set())):
            own = upto | {change: cut}
            part = "with zeros for bytes" if cut == ZEROS else f"up to its byte {cut}"
            yield f"change {number} {part}, the other files whole", rest | own
            yield f"change {number} {part}, nothing of the other files", own


def _kept(change: Change, kept: Kept | None) -> int:
    """How much of a change is there: all of it where programs look, else what is durable or kept."""
    return change.length if kept is None or change.is_durable else kept.get(change, 0)


def _named(before: Mapping[str, int], changes: list[Change], kept: Kept | None) -> dict[str, int]:
    names = dict(before)
    for change in changes:
        if change.name is None or not _kept(change, kept):
            continue
        if change.source is not None:
            names.pop(change.source, None)
        if change.target is None:
            names.pop(change.name, None)
        else:
            names[change.name] = change.target
    return names


def _written(before: bytes, changes: list[Change], counts: tuple[int, ...]) -> bytes:
    if not any(counts):
        return before
    data = bytearray(before)
    for change, count in zip(changes, counts, strict=True):
        if not count:
            continue
        if change.data is None:
            del data[change.offset :]
            data.extend(bytes(change.offset - len(data)))
        else:
            data.extend(bytes(max(0, change.offset - len(data))))
            part = bytes(change.length) if count == ZEROS else change.data[:count]
            data[change.offset : change.offset + len(part)] = part
    return bytes(data)
