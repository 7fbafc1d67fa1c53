"""Whatever a persona file looks like, `set` changes the keys named in its budget and nothing else."""

from __future__ import annotations

import tomllib
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Account, Home
from tests.conftest import Proof

pytestmark = pytest.mark.promise(11)

Layout = Literal["table", "inline", "dotted", "none"]


LATER = "[persona.budget.later]"
BOM = "\ufeff"


class Line(NamedTuple):
    """One line of a generated file; where it assigns a key of the budget, what stands around the value."""

    text: str
    key: str = ""
    lead: str = ""
    tail: str = ""


class Generated(NamedTuple):
    """A generated persona file, and how its budget is written."""

    lines: list[Line]
    newlines: list[str]
    layout: Layout
    start: str = ""

    @property
    def text(self) -> str:
        lines = zip(self.lines, self.newlines, strict=True)
        return self.start + "".join(line.text + end for line, end in lines)


VALUES: dict[str, list[Decimal | bool]] = {
    **{
        f"{window}_usd": [Decimal(text) for text in ("0.0", "0.5", "5.0", "7.25", "1000.0")]
        for window in ("per_call_max", "hourly", "daily", "weekly", "monthly", "lifetime")
    },
    "hard_cap": [True, False],
    "warn_at": [Decimal("0.5"), Decimal("1.0")],
}  # fmt: skip
LOOKALIKES = (
    "[persona.budget]",
    "daily_usd = 9",
    "hard_cap = false # x",
    "budget = { daily_usd = 9 }",
    "]",
    "'",
    "",
)
DOTTED = ("budget.", '"budget" . ', "'budget'. ")
BLANKS = ("", "", " ", "\t", "    ")
COMMENTS = ("", "#", *(f"# {text}" for text in LOOKALIKES), "#\t\x85\u2028daily_usd = 5", '#"""[é{\U0001f4b8')
TABLES = ("[persona.tools]", "[z]", "[budget]", "[[q]]", "[[persona.q]]")


class Writer:
    """Writes persona files as people and programs may. Draws from `random`: a hundred draws of
    Hypothesis a file would take ten times as long as the edit that they test.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.pick = random.choice

    def shuffled(self, groups: list[list[Line]]) -> list[Line]:
        self.random.shuffle(groups)
        return [line for group in groups for line in group]

    def assignment(self, key: str, prefix: str = "") -> Line:
        """A line that sets one of our keys, in one of the many ways to write it."""
        value = self.pick(VALUES[key])
        if isinstance(value, bool):
            written = as_toml(value)
        else:
            whole = [f"{value:.0f}", f"+{value:.0f}"] if value == int(value) else []
            written = self.pick([f"{value:.2f}", f"{value:.2f}e0", *whole])
        quote = self.pick(("", "", '"', "'"))
        lead = self.pick(BLANKS) + prefix + quote + key + quote + self.pick(BLANKS) + "=" + self.pick(BLANKS)
        tail = self.pick(BLANKS) + self.pick(COMMENTS)
        return Line(lead + written + tail, key, lead, tail)

    def other(self, name: str) -> list[Line]:
        """Lines that set nothing of ours: a comment, a blank, a key with a value over several lines."""
        quote = self.pick(('"""', "'''"))
        end = self.pick(BLANKS) + self.pick(COMMENTS)
        texts = (
            [end],
            [f"{self.pick(BLANKS)}{name}.x = 1979-05-27T07:32:00Z{self.pick(BLANKS)}"],
            [f"{name} = {quote}", *self.random.choices(LOOKALIKES[:4], k=3), quote + end],
            [f"{name}=[ # [", '  "daily_usd = 9", # x', "]" + end],
            [f"{name} = {{ daily_usd = 1, hard_cap = {{ a = '}}' }} }}{end}"],
        )
        return [Line(text) for text in self.pick(texts)]

    def others(self, name: str) -> list[list[Line]]:
        return [self.other(f"{name}{number}") for number in range(self.random.randint(0, 3))]

    def with_keys(self, name: str) -> list[Line]:
        """The body of a table that has keys named as ours, among others."""
        keys = self.random.sample(sorted(VALUES), self.random.randint(0, 4))
        return self.shuffled([*([self.assignment(key)] for key in keys), *self.others(name)])

    def foreign(self, header: str) -> list[Line]:
        """A table that is not the budget: none of its lines is ours, whatever they are named."""
        return [Line(text) for text in (header, *(line.text for line in self.with_keys("o")))]

    def persona(self, layout: Layout) -> Generated:
        persona = [Line("[persona]"), Line('id = "operator"'), *self.shuffled(self.others("p"))]
        tables = [persona]
        if layout == "inline":
            value = as_toml(self.pick(VALUES["daily_usd"]))
            end = f"hard_cap=true{self.pick(BLANKS)}}}"
            persona.append(Line(f"budget = {{{self.pick(BLANKS)}daily_usd = {value},{end}", "budget"))
        elif layout == "dotted":
            keys = self.random.sample(sorted(VALUES), self.random.randint(1, 4))
            dotted = [[self.assignment(key, self.pick(DOTTED))] for key in keys]
            persona.extend(self.shuffled([*dotted, *self.others("d"), [Line("budget.new.daily_usd = 9")]]))
            if self.pick((True, False, False)):
                tables.append(self.foreign(LATER))
        elif layout == "table":
            header = self.pick(("[persona.budget]", '\t[ persona . "budget" ] ', "[persona.'budget']"))
            tables.append([Line(header + self.pick(COMMENTS)), *self.with_keys("b")])
            if self.pick((True, False, False)):
                tables.append(self.foreign(LATER))
        tables += [self.foreign(header) for header in self.random.sample(TABLES, self.random.randint(0, 4))]
        self.random.shuffle(tables)
        lines = [line for table in (self.foreign("# top"), *tables) for line in table]
        endings = self.pick((["\n"], ["\r\n"], ["\n", "\r\n"]))
        newlines = [self.pick(endings) for _ in lines]
        if lines[-1].text and self.pick((True, False)):
            newlines[-1] = ""
        return Generated(lines, newlines, layout, self.pick((BOM, "", "")))


layouts: st.SearchStrategy[Layout] = st.sampled_from(["table", "table", "table", "inline", "dotted", "none"])
personas = st.builds(
    lambda random, layout: Writer(random).persona(layout), st.randoms(use_true_random=True), layouts
)
wanted = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none() | st.booleans(), min_size=1).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: st.none() if drop is None else st.sampled_from(VALUES[key]) for key, drop in keys.items()}
    )
)


def test_generated_file_differs_in_the_named_keys_alone_or_is_untouched(home: Home, proof: Proof) -> None:
    outcomes = Counter[str]()

    @settings(max_examples=proof.size(300, 10_000), deadline=None)
    @given(generated=personas, changes=wanted)
    def holds_for(generated: Generated, changes: dict[str, Decimal | bool | None]) -> None:
        text = generated.text
        path = home.persona_file("operator")
        path.write_bytes(text.encode())
        Account(home, "operator").set_budget(changes)
        assert_only_these_changed(generated, text, path.read_bytes().decode(), changes)
        outcomes[generated.layout] += 1

    holds_for()
    proof.reached(
        f"{outcomes.total()} generated files, {outcomes['dotted']} of them with dotted keys and "
        f"{outcomes['inline']} with inline tables: all differ in the keys named alone, 0 refused"
    )


def assert_only_these_changed(
    generated: Generated, before: str, after: str, changes: dict[str, Decimal | bool | None]
) -> None:
    old, now = (tomllib.loads(text.removeprefix(BOM), parse_float=Decimal) for text in (before, after))
    had: dict[str, Any] = old["persona"].pop("budget", {})
    will = {key: value for key, value in {**had, **changes}.items() if value is not None}
    assert now["persona"].pop("budget", {}) == will
    assert now == old

    edited = [key for key in changes if had.get(key) != will.get(key)]
    kept = [
        (line.lead + as_toml(will[line.key]) + line.tail if line.key in edited else line.text)
        + end.rstrip("\n")
        for line, end in zip(generated.lines, generated.newlines, strict=True)
        if line.key not in changes or line.key in will
    ]
    assert after.startswith(generated.start)
    lines = after.removeprefix(generated.start).removesuffix("\n").split("\n")
    if not before.endswith("\n"):
        # The last line may have been given an end, of either kind.
        kept, lines = [line.rstrip("\r") for line in kept], [line.rstrip("\r") for line in lines]
    added = [f"{key} = {as_toml(will[key])}" for key in changes if key in will and key not in had]
    if added and generated.layout == "none":
        added += ["", "[persona.budget]"]
    if generated.layout == "inline":
        kept, lines, added = without_inline(kept), without_inline(lines), []
    rest = iter(lines)
    assert all(line in rest for line in kept), "a line that sets nothing has changed, or moved"
    assert (Counter(lines) - Counter(kept)).total() == len(added)
    new = [line.strip() for line in (Counter(lines) - Counter(kept)).elements()]
    if generated.layout == "dotted":
        new = [line.removeprefix(next(filter(line.startswith, DOTTED))) for line in new]
    assert Counter(new) == Counter(added)


def as_toml(value: Decimal | bool) -> str:
    return str(value).lower()


def without_inline(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("budget = {")]
