"""Where the headers, keys and values of a TOML document stand in its text.

For edits that leave every other byte as it is. The document must be valid: a TOML parser has read
it before. One pass, without recursion.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import tomli

BOM = "\ufeff"

Path = tuple[str, ...]

# No longer beginning of a path is of use to an edit; headers may have thousands of parts.
_DEPTH = 4

_BLANKS = re.compile(r"[ \t\r\n]*+")
_SPACES = re.compile(r"[ \t]*+")
_LINE = re.compile(r"[^\n]*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]*+")
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')


class Header(NamedTuple):
    """`[a.b]` or `[[a.b]]`: its path from the top, and where its line begins and ends."""

    path: Path
    start: int
    end: int


class Inline(NamedTuple):
    """`{ ... }`: the path of the key whose value it is, and where its inner text begins and ends."""

    path: Path
    start: int
    end: int


class Pair(NamedTuple):
    """`key = value`: its path from the top, where each part of the key begins, and the value's place.

    `header` is the number of the header that it stands below, -1 above the first; `inline` the start of
    the inline table that it is in, -1 for a line of its own.
    """

    path: Path
    parts: tuple[int, ...]
    value: int
    end: int
    header: int
    inline: int

    @property
    def start(self) -> int:
        """Where the key begins."""
        return self.parts[0]


class Outline(NamedTuple):
    """A document's headers, in order, and its pairs and inline tables, each after those within it.

    What stands in an array is left out. Paths are cut after their fourth part.
    """

    headers: list[Header]
    pairs: list[Pair]
    inlines: list[Inline]


class _Open(NamedTuple):
    """A bracket that is not closed yet, and the pair whose value it begins, if it is of use."""

    at: int
    is_table: bool
    pair: Pair | None


def outline_of(text: str) -> Outline:
    """Where everything stands in a valid TOML document."""
    outline = Outline([], [], [])
    at = _skip(text, len(BOM) if text.startswith(BOM) else 0)
    path: Path = ()
    while at < len(text):
        if text[at] == "[":
            path, _, end = _key(text, at + text.startswith("[[", at) + 1)
            end = line_end(text, end)
            outline.headers.append(Header(path, line_start(text, at), end))
        else:
            end = _pair(text, at, path, outline)
        at = _skip(text, end)
    return outline


def line_start(text: str, at: int) -> int:
    """Where the line begins that `at` is in, behind a byte-order mark."""
    start = text.rfind("\n", 0, at) + 1
    return start or (len(BOM) if text.startswith(BOM) else 0)


def line_end(text: str, at: int) -> int:
    """Where the next line begins."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _skip(text: str, at: int) -> int:
    """Skip blanks, line ends and comments."""
    while True:
        at = _end(_BLANKS, text, at)
        if not text.startswith("#", at):
            return at
        at = _end(_LINE, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _key(text: str, at: int) -> tuple[Path, tuple[int, ...], int]:
    """The parts of a key, where each begins, and where what follows the key begins."""
    names, starts = [], []
    while True:
        at = _end(_SPACES, text, at)
        end = _string(text, at) if text[at] in "\"'" else _end(_BARE_KEY, text, at)
        names.append(_name(text[at:end]))
        starts.append(at)
        at = _end(_SPACES, text, end)
        if text[at] != ".":
            return tuple(names[:_DEPTH]), tuple(starts[:_DEPTH]), at
        at += 1


def _name(written: str) -> str:
    if written[0] == '"' and "\\" in written:
        name: str = tomli.loads(f"name = {written}")["name"]
        return name
    return written[1:-1] if written[0] in "\"'" else written


def _pair(text: str, at: int, path: Path, outline: Outline) -> int:
    """Take a key and its value, and all pairs in that; where the value ends."""
    header = len(outline.headers) - 1
    pair: Pair | None
    pair, at = _begin(text, at, path, header, -1)
    stack: list[_Open] = []
    while True:
        if text[at] in "[{":
            stack.append(_Open(at, text[at] == "{", pair))
            at += 1
        else:
            at = _scalar(text, at)
            if pair:
                outline.pairs.append(pair._replace(end=at))
        at = _close(text, at, stack, outline)
        if not stack:
            return at
        opened, pair = stack[-1], None
        if opened.is_table:
            pair, at = _begin(text, at, opened.pair.path if opened.pair else (), header, opened.at)
            # In an array, no path leads to it.
            pair = pair if opened.pair else None


def _begin(text: str, at: int, path: Path, header: int, inline: int) -> tuple[Pair, int]:
    """The pair whose key begins at `at`, its end unknown, and where its value begins."""
    key, parts, at = _key(text, at)
    at = _end(_SPACES, text, at + 1)
    return Pair((path + key)[:_DEPTH], parts, at, at, header, inline), at


def _close(text: str, at: int, stack: list[_Open], outline: Outline) -> int:
    """Skip to the next value or key in the innermost open bracket; close those that end before."""
    while stack:
        at = _skip(text, at)
        if text[at] == ",":
            at += 1
        elif text[at] in "]}":
            opened = stack.pop()
            if opened.pair:
                if opened.is_table:
                    outline.inlines.append(Inline(opened.pair.path, opened.at + 1, at))
                outline.pairs.append(opened.pair._replace(end=at + 1))
            at += 1
        else:
            break
    return at


def _scalar(text: str, at: int) -> int:
    """Where a string, number, date or bool ends."""
    if text[at] in "\"'":
        return _string(text, at)
    return at + len(text[at : _end(_BARE_VALUE, text, at)].rstrip(" \t"))


def _string(text: str, at: int) -> int:
    quote = text[at]
    long = quote * 3
    if not text.startswith(long, at):
        return text.index(quote, at + 1) + 1 if quote == "'" else _after_escapes(text, at + 1, quote)
    end = text.index(long, at + 3) + 3 if quote == "'" else _after_escapes(text, at + 3, long)
    # A string of several lines may end in two quotes of its own.
    for _ in range(2):
        end += text.startswith(quote, end)
    return end


def _after_escapes(text: str, at: int, quotes: str) -> int:
    """Where a string with escapes ends, behind its closing quotes."""
    while not text.startswith(quotes, at):
        found = _QUOTE_OR_ESCAPE.search(text, at)
        if found is None:
            raise ValueError("a string is not closed")
        at = found.start()
        if text[at] == "\\":
            at += 2
        elif not text.startswith(quotes, at):
            at += 1
    return at + len(quotes)
