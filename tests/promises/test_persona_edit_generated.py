"""Whatever a persona file looks like, `set` changes the keys named in its budget and nothing else."""

from __future__ import annotations

import tomllib
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from hal0_budget import Account, Home
from tests.conftest import Proof
from tests.support.generated_personas import (
    BOM,
    DOTTED,
    Generated,
    as_toml,
    personas,
    wanted,
)

pytestmark = pytest.mark.promise(11)


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


def without_inline(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("budget = {")]
