"""Finds the positions of headers, keys and values in the text of a TOML document.

Used for edits that do not change any other byte. The document must be valid: the caller has parsed it
before. One pass, without recursion.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import tomli

BOM = "\ufeff"

Path = tuple[str, ...]

# Paths are cut to this many parts: an edit needs no more, and headers may have thousands.
_DEPTH = 4

_BLANKS = re.compile(r"[ \t\r\n]*+")
_SPACES = re.compile(r"[ \t]*+")
_LINE = re.compile(r"[^\n]*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]++")
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]*+")
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')


class Header(NamedTuple):
    """`[a.b]` or `[[a.b]]`: its path from the top, and the offsets of its line."""

    path: Path
    start: int
    end: int


class Inline(NamedTuple):
    """`{ ... }`: the path of its key, and the offsets of the text between the braces."""

    path: Path
    start: int
    end: int


class Pair(NamedTuple):
    """`key = value`: its path from the top, the offset of each part of the key, and the offsets of the value.

    `header` is the index of the header above the pair, -1 if there is none. `inline` is the offset of the
    inline table that contains the pair, -1 if it is not in one.
    """

    path: Path
    parts: tuple[int, ...]
    value: int
    end: int
    header: int
    inline: int

    @property
    def start(self) -> int:
        """The offset of the key."""
        return self.parts[0]


class Outline(NamedTuple):
    """A document's headers, in order, and its pairs and inline tables, each after those nested in it.

    The contents of arrays are left out. Paths are cut after their fourth part.
    """

    headers: list[Header]
    pairs: list[Pair]
    inlines: list[Inline]


class _Open(NamedTuple):
    """An open bracket, and the pair whose value it begins; None inside an array."""

    at: int
    is_table: bool
    pair: Pair | None


def outline_of(text: str) -> Outline:
    """Return the outline of a valid TOML document."""
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
    """Return the offset of the line that contains `at`, after a byte-order mark."""
    start = text.rfind("\n", 0, at) + 1
    return start or (len(BOM) if text.startswith(BOM) else 0)


def line_end(text: str, at: int) -> int:
    """Return the offset of the next line."""
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
    """Return the parts of a key, the offset of each, and the offset of what follows the key."""
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
    """Add a pair, and all pairs nested in its value, to the outline; return the offset after the value."""
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
            # A pair inside an array has no path.
            pair = pair if opened.pair else None


def _begin(text: str, at: int, path: Path, header: int, inline: int) -> tuple[Pair, int]:
    """Return the pair whose key begins at `at`, its end not yet set, and the offset of its value."""
    key, parts, at = _key(text, at)
    at = _end(_SPACES, text, at + 1)
    return Pair((path + key)[:_DEPTH], parts, at, at, header, inline), at


def _close(text: str, at: int, stack: list[_Open], outline: Outline) -> int:
    """Skip to the next value or key in the innermost open bracket; close the brackets that end before it."""
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
    """Return the offset after a string, number, date or bool."""
    if text[at] in "\"'":
        return _string(text, at)
    return at + len(text[at : _end(_BARE_VALUE, text, at)].rstrip(" \t"))


def _string(text: str, at: int) -> int:
    quote = text[at]
    long = quote * 3
    if not text.startswith(long, at):
        return text.index(quote, at + 1) + 1 if quote == "'" else _after_escapes(text, at + 1, quote)
    end = text.index(long, at + 3) + 3 if quote == "'" else _after_escapes(text, at + 3, long)
    # A multi-line string may end with up to two quotes that belong to its text.
    for _ in range(2):
        end += text.startswith(quote, end)
    return end


def _after_escapes(text: str, at: int, quotes: str) -> int:
    """Return the offset after the closing quotes of a string with escapes."""
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
