"""Changes keys of one table in the text of a TOML document, in every layout that TOML allows.

The table may have a header, be inline, be made of dotted keys, or be a mixture of these; keys may be
quoted. New keys are written in the layout of the existing keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hal0_budget.stores.files.toml_text import (
    Header,
    Inline,
    Outline,
    Pair,
    Path,
    line_end,
    line_start,
    outline_of,
)

# What may follow a member of an inline table if the member is alone on its line.
_REST_OF_LINE = re.compile(r"[ \t]*+(,?)[ \t]*+(?:#[^\n]*+|)\r?\n")


class Splice(NamedTuple):
    """A range of a text, and its replacement."""

    start: int
    end: int
    text: str


def with_keys(text: str, table: Path, values: Mapping[str, str | None]) -> str:
    """Return the document `text` with keys of one table set to values, which are TOML source text; None
    removes a key. `table` is a path of two parts. No other byte changes. `text` must be valid TOML.
    """
    edit = _Edit(text, table)
    splices: list[Splice] = []
    added: dict[str, str] = {}
    removed: set[Pair] = set()
    for key, value in values.items():
        pair = edit.pair_of(key)
        if pair is not None and value is not None:
            splices.append(Splice(pair.value, pair.end, value))
            continue
        sections = edit.sections_of(key)
        removed.update([pair] if pair is not None else edit.dotted_within(key, sections))
        splices += edit.without_sections(sections)
        if value is not None:
            added[key] = value
    splices += edit.without(removed)
    if added:
        splices.append(edit.addition(added, removed))
    return _spliced(text, splices)


class _Edit:
    """A document, and the table in it to change."""

    def __init__(self, text: str, table: Path) -> None:
        self.text = text
        self.table = table
        self.outline: Outline = outline_of(text)
        self.newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        depth = len(table)
        # The pairs whose path leads into the table, in the order of the text.
        inner = [pair for pair in self.outline.pairs if pair.path[:depth] == table and len(pair.path) > depth]
        self.pairs = sorted(inner, key=lambda pair: pair.start)
        self.inlines = {inline.start - 1: inline for inline in self.outline.inlines}

    def pair_of(self, key: str) -> Pair | None:
        """Return the pair that sets the key of the table directly; None if there is none."""
        path = (*self.table, key)
        return next((pair for pair in self.pairs if pair.path == path), None)

    def sections_of(self, key: str) -> list[int]:
        """Return the indexes of the headers that define the key as a table, or a table inside it."""
        path = (*self.table, key)
        headers = self.outline.headers
        return [number for number, header in enumerate(headers) if header.path[: len(path)] == path]

    def dotted_within(self, key: str, sections: Sequence[int]) -> list[Pair]:
        """Return the pairs whose dotted key leads through the key of the table."""
        path, below = (*self.table, key), set(sections)
        return [p for p in self.pairs if p.path[: len(path)] == path and p.header not in below]

    def without_sections(self, numbers: Sequence[int]) -> list[Splice]:
        """Return splices that remove headers, each with all pairs below it."""
        ends = {number: self.outline.headers[number].end for number in numbers}
        for pair in self.outline.pairs:
            if pair.header in ends:
                ends[pair.header] = max(ends[pair.header], pair.end)
        return [
            Splice(self.outline.headers[number].start, line_end(self.text, end - 1), "")
            for number, end in ends.items()
        ]

    def without(self, removed: set[Pair]) -> Iterator[Splice]:
        """Yield splices that remove pairs: lines with their comments, inline members with their commas."""
        for pair in removed:
            if pair.inline < 0:
                yield Splice(line_start(self.text, pair.start), line_end(self.text, pair.end), "")
        for at in {pair.inline for pair in removed if pair.inline >= 0}:
            yield from self.without_members(self.members_of(self.inlines[at]), removed)

    def members_of(self, inline: Inline) -> list[Pair]:
        """Return the direct members of an inline table, in order."""
        members = [pair for pair in self.outline.pairs if pair.inline == inline.start - 1]
        return sorted(members, key=lambda pair: pair.start)

    def without_members(self, members: list[Pair], removed: set[Pair]) -> Iterator[Splice]:
        """Yield splices that remove members, each with the comma after it, or before it at the end."""
        last_kept = max((number for number, pair in enumerate(members) if pair not in removed), default=-1)
        tail = []
        for number, pair in enumerate(members):
            if pair not in removed:
                continue
            if lines := self.own_lines(pair, is_last=number + 1 == len(members)):
                yield lines
            elif number < last_kept:
                yield Splice(pair.start, members[number + 1].start, "")
            else:
                tail.append(pair)
        if tail:
            start = members[last_kept].end if last_kept >= 0 else tail[0].start
            yield Splice(start, tail[-1].end, "")

    def own_lines(self, pair: Pair, *, is_last: bool) -> Splice | None:
        """Return a splice that removes the lines of a member that is alone on them (TOML 1.1), else None."""
        start = line_start(self.text, pair.start)
        rest = _REST_OF_LINE.match(self.text, pair.end)
        if start <= pair.inline or rest is None or self.text[start : pair.start].strip(" \t"):
            return None
        return Splice(start, rest.end(), "") if is_last or rest[1] else None

    def addition(self, added: Mapping[str, str], removed: set[Pair]) -> Splice:
        """Return a splice that adds keys in the layout of the table; without a table, adds one at the end."""
        headers, inlines = self.outline.headers, self.outline.inlines
        lines = [f"{key} = {value}" for key, value in added.items()]
        for number, header in enumerate(headers):
            if header.path == self.table:
                return self.below_header(number, header, lines, removed)
        for inline in inlines:
            if inline.path == self.table:
                return self.within(inline, lines, removed)
        dotted = [pair for pair in self.pairs if self.depth_of(pair) < len(self.table)]
        if dotted:
            pair = next((pair for pair in reversed(dotted) if pair not in removed), dotted[-1])
            return self.next_to_dotted(pair, lines, removed)
        for inline in inlines:
            if inline.path == self.table[:-1]:
                return self.within(inline, [f"{self.table[-1]} = {{ {', '.join(lines)} }}"], removed)
        return self.at_the_end(lines)

    def depth_of(self, pair: Pair) -> int:
        """Return how many parts of a pair's path come from its header or inline table."""
        if pair.inline >= 0:
            return len(self.inlines[pair.inline].path)
        return len(self.outline.headers[pair.header].path) if pair.header >= 0 else 0

    def below_header(self, number: int, header: Header, lines: list[str], removed: set[Pair]) -> Splice:
        """Add lines after the last key of the table, indented like it, or after a header without keys."""
        keys = [
            pair
            for pair in self.pairs
            if pair.header == number and pair.inline < 0 and len(pair.parts) == 1 and pair not in removed
        ]
        if keys:
            return self.after(keys[-1], lines)
        return self.lines_at(header.end, "", lines)

    def next_to_dotted(self, pair: Pair, lines: list[str], removed: set[Pair]) -> Splice:
        """Add lines after a dotted key, with the parts of its key that lead to the table."""
        prefix = self.text[pair.start : pair.parts[len(self.table) - self.depth_of(pair)]]
        lines = [prefix + line for line in lines]
        if pair.inline >= 0:
            return self.within(self.inlines[pair.inline], lines, removed)
        if pair in removed:
            return self.lines_at(line_start(self.text, pair.start), self.indent_of(pair), lines)
        return self.after(pair, lines)

    def within(self, inline: Inline, items: list[str], removed: set[Pair]) -> Splice:
        """Add items after the last member of an inline table."""
        members = self.members_of(inline)
        kept = [pair for pair in members if pair not in removed]
        text = ", ".join(items)
        if kept:
            return Splice(kept[-1].end, kept[-1].end, f", {text}")
        if members:
            return Splice(members[0].start, members[0].start, text)
        space = self.text[inline.start : inline.end][:1]
        return Splice(inline.start, inline.start, space + text)

    def after(self, pair: Pair, lines: list[str]) -> Splice:
        """Add lines after the line of a pair, indented like it."""
        return self.lines_at(line_end(self.text, pair.end), self.indent_of(pair), lines)

    def indent_of(self, pair: Pair) -> str:
        """Return the indentation of a pair."""
        return self.text[line_start(self.text, pair.start) : pair.start]

    def lines_at(self, at: int, indent: str, lines: list[str]) -> Splice:
        """Add lines at the beginning of a line, or at the end of a text, which may lack its last newline."""
        end = self.newline if at == len(self.text) and not self.text.endswith("\n") else ""
        return Splice(at, at, end + "".join(f"{indent}{line}{self.newline}" for line in lines))

    def at_the_end(self, lines: list[str]) -> Splice:
        """Add the table with its header at the end, after a blank line."""
        header = f"[{'.'.join(self.table)}]"
        return self.lines_at(len(self.text), "", ["", header, *lines])


def _spliced(text: str, splices: list[Splice]) -> str:
    done, parts = 0, []
    for splice in sorted(splices):
        parts += [text[done : splice.start], splice.text]
        done = splice.end
    return "".join([*parts, text[done:]])
