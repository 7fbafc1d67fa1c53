"""Changes keys of one table in the text of a TOML document, whatever the layout of that table.

The table may be one with a header, an inline one, made of dotted keys, or a mixture; keys may be
quoted. New keys are written as those beside them are.
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

# What may stand behind a member of an inline table that has its line to itself.
_REST_OF_LINE = re.compile(r"[ \t]*+(,?)[ \t]*+(?:#[^\n]*+|)\r?\n")


class Splice(NamedTuple):
    """A piece of a text, and what is to stand there."""

    start: int
    end: int
    text: str


def with_keys(text: str, table: Path, values: Mapping[str, str | None]) -> str:
    """A valid TOML document whose table at `table`, of two parts, has keys with these values, as TOML
    writes them; None removes a key. No other byte changes.
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
    """A document and the table in it that changes."""

    def __init__(self, text: str, table: Path) -> None:
        self.text = text
        self.table = table
        self.outline: Outline = outline_of(text)
        self.newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        depth = len(table)
        # Those whose path leads into the table, in the order of the text.
        inner = [pair for pair in self.outline.pairs if pair.path[:depth] == table and len(pair.path) > depth]
        self.pairs = sorted(inner, key=lambda pair: pair.start)
        self.inlines = {inline.start - 1: inline for inline in self.outline.inlines}

    def pair_of(self, key: str) -> Pair | None:
        """The pair that gives the table's key its value as a whole."""
        path = (*self.table, key)
        return next((pair for pair in self.pairs if pair.path == path), None)

    def sections_of(self, key: str) -> list[int]:
        """The numbers of the headers that make a table of the key, or one within it."""
        path = (*self.table, key)
        headers = self.outline.headers
        return [number for number, header in enumerate(headers) if header.path[: len(path)] == path]

    def dotted_within(self, key: str, sections: Sequence[int]) -> list[Pair]:
        """The pairs with a dotted key that leads through the table's key."""
        path, below = (*self.table, key), set(sections)
        return [p for p in self.pairs if p.path[: len(path)] == path and p.header not in below]

    def without_sections(self, numbers: Sequence[int]) -> list[Splice]:
        """Remove headers, each with all lines below it that set a key."""
        ends = {number: self.outline.headers[number].end for number in numbers}
        for pair in self.outline.pairs:
            if pair.header in ends:
                ends[pair.header] = max(ends[pair.header], pair.end)
        return [
            Splice(self.outline.headers[number].start, line_end(self.text, end - 1), "")
            for number, end in ends.items()
        ]

    def without(self, removed: set[Pair]) -> Iterator[Splice]:
        """Remove pairs: each line with its comment, and of an inline table a member with its comma."""
        for pair in removed:
            if pair.inline < 0:
                yield Splice(line_start(self.text, pair.start), line_end(self.text, pair.end), "")
        for at in {pair.inline for pair in removed if pair.inline >= 0}:
            yield from self.without_members(self.members_of(self.inlines[at]), removed)

    def members_of(self, inline: Inline) -> list[Pair]:
        """The pairs that stand in an inline table directly, in order."""
        members = [pair for pair in self.outline.pairs if pair.inline == inline.start - 1]
        return sorted(members, key=lambda pair: pair.start)

    def without_members(self, members: list[Pair], removed: set[Pair]) -> Iterator[Splice]:
        """Remove each with the comma behind it; those at the end with the comma before them."""
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
        """Remove the lines of a member that has some of its own, as TOML 1.1 allows; None if it has not."""
        start = line_start(self.text, pair.start)
        rest = _REST_OF_LINE.match(self.text, pair.end)
        if start <= pair.inline or rest is None or self.text[start : pair.start].strip(" \t"):
            return None
        return Splice(start, rest.end(), "") if is_last or rest[1] else None

    def addition(self, added: Mapping[str, str], removed: set[Pair]) -> Splice:
        """Add keys: in the table's own layout, and with a header at the end where there is no table."""
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
            return self.beside_dotted(pair, lines, removed)
        for inline in inlines:
            if inline.path == self.table[:-1]:
                return self.within(inline, [f"{self.table[-1]} = {{ {', '.join(lines)} }}"], removed)
        return self.at_the_end(lines)

    def depth_of(self, pair: Pair) -> int:
        """How many parts of a pair's path its key does not write itself."""
        if pair.inline >= 0:
            return len(self.inlines[pair.inline].path)
        return len(self.outline.headers[pair.header].path) if pair.header >= 0 else 0

    def below_header(self, number: int, header: Header, lines: list[str], removed: set[Pair]) -> Splice:
        """After the last key of the table, indented like it; after the header if it has none."""
        keys = [
            pair
            for pair in self.pairs
            if pair.header == number and pair.inline < 0 and len(pair.parts) == 1 and pair not in removed
        ]
        if keys:
            return self.after(keys[-1], lines)
        return self.lines_at(header.end, "", lines)

    def beside_dotted(self, pair: Pair, lines: list[str], removed: set[Pair]) -> Splice:
        """After a dotted key, with the parts of its key that lead to the table."""
        prefix = self.text[pair.start : pair.parts[len(self.table) - self.depth_of(pair)]]
        lines = [prefix + line for line in lines]
        if pair.inline >= 0:
            return self.within(self.inlines[pair.inline], lines, removed)
        if pair in removed:
            return self.lines_at(line_start(self.text, pair.start), self.indent_of(pair), lines)
        return self.after(pair, lines)

    def within(self, inline: Inline, items: list[str], removed: set[Pair]) -> Splice:
        """In an inline table, behind its last member."""
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
        """New lines after the line of a pair, indented like it."""
        return self.lines_at(line_end(self.text, pair.end), self.indent_of(pair), lines)

    def indent_of(self, pair: Pair) -> str:
        """What stands before a pair on its line: blanks."""
        return self.text[line_start(self.text, pair.start) : pair.start]

    def lines_at(self, at: int, indent: str, lines: list[str]) -> Splice:
        """New lines at a line's beginning, or at the end of a file whose last line may lack its end."""
        end = self.newline if at == len(self.text) and not self.text.endswith("\n") else ""
        return Splice(at, at, end + "".join(f"{indent}{line}{self.newline}" for line in lines))

    def at_the_end(self, lines: list[str]) -> Splice:
        """A table with a header, after a blank line."""
        header = f"[{'.'.join(self.table)}]"
        return self.lines_at(len(self.text), "", ["", header, *lines])


def _spliced(text: str, splices: list[Splice]) -> str:
    done, parts = 0, []
    for splice in sorted(splices):
        parts += [text[done : splice.start], splice.text]
        done = splice.end
    return "".join([*parts, text[done:]])
