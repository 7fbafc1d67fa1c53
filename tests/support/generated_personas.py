"""Persona files generated at random."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Literal, NamedTuple

from hypothesis import strategies as st

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


def as_toml(value: Decimal | bool) -> str:
    return str(value).lower()
