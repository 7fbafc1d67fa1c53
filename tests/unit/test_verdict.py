"""The verdict follows from the caps, what is used of them and the estimate, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal0_budget import Budget, Scope, Usage, decide
from hal0_budget.model.verdict import remaining
from hal0_budget.model.windows import SPEND_WINDOWS, WINDOWS, Window


def scope(
    caps: Mapping[str, str],
    spent: Mapping[str, str] | str = "0",
    held: str = "0",
    *,
    hard: bool = True,
    warn_at: str | None = None,
    warnings: tuple[str, ...] = (),
    name: str = "hermes",
) -> Scope:
    """A scope as the tables below write it; one text for `spent` stands for every window."""
    by_window = spent if isinstance(spent, Mapping) else dict.fromkeys(SPEND_WINDOWS, spent)
    return Scope(
        name,
        Budget(
            {window: Decimal(caps[window]) for window in WINDOWS if window in caps},
            hard,
            Decimal(warn_at) if warn_at else None,
        ),
        Usage({window: Decimal(by_window.get(window, "0")) for window in SPEND_WINDOWS}, Decimal(held)),
        warnings,
    )


def usd(text: str | None) -> Decimal | None:
    """An estimate as the tables below write it."""
    return None if text is None else Decimal(text)


case = pytest.param

DAY = {"caps": {"daily": "1"}}
CALL = {"caps": {"per_call": "1"}}
EVERY = dict.fromkeys(WINDOWS, "1")
NEAR = {"warn_at": "0.8"}
MISSPELT = {"warnings": ("dialy_usd is misspelt",)}


@pytest.mark.parametrize(
    ("given", "estimate", "level", "breached"),
    [
        case({"caps": {}}, "999", "allow", "", id="no caps"),
        case({"caps": {}}, None, "allow", "", id="no caps and no estimate"),
        case({"caps": {}, "spent": "999", **NEAR}, "9", "allow", "", id="warn_at without caps"),
        case({"caps": {}, **MISSPELT}, "9", "warn", "", id="a warning without caps"),
        case({**DAY, "spent": "0.5"}, "0.4", "allow", "", id="it fits"),
        case({**DAY, "spent": "0.5"}, "0.5", "allow", "", id="it fits exactly"),
        case({**DAY, "spent": "0.5"}, "0.50000001", "block", "daily", id="a hair over"),
        case({"caps": {"daily": "0.3"}, "spent": "0.2"}, "0.1", "allow", "", id="0.1 + 0.2 is 0.3"),
        case({**DAY, "spent": "1"}, "0.01", "block", "daily", id="all is spent"),
        case({**DAY, "spent": "7"}, "0.01", "block", "daily", id="more is spent"),
        case({**DAY, "spent": "7"}, "0", "allow", "", id="a free call is free"),
        case({"caps": {"daily": "0"}}, "0", "allow", "", id="a free call under a cap of 0"),
        case({"caps": {"daily": "0"}}, "1e-340", "block", "daily", id="a cap of 0 blocks every paid call"),
        case({"caps": {"daily": "0"}}, None, "block", "daily", id="a cap of 0 has nothing left"),
        case({"caps": {"per_call": "0"}}, None, "block", "per_call", id="a cap of 0 on each call"),
        case({"caps": {"per_call": "0"}}, "0", "allow", "", id="a free call under a cap of 0 on each"),
        case({**DAY, "spent": "0.99"}, None, "allow", "", id="something is left"),
        case({**DAY, "spent": "1"}, None, "block", "daily", id="nothing is left"),
        case({**DAY, "spent": "2"}, None, "block", "daily", id="less than nothing"),
        case({**CALL, "spent": "9"}, "1", "allow", "", id="each call stands alone"),
        case({**CALL, "spent": "9"}, None, "allow", "", id="a call's cap is never used"),
        case({**CALL, "held": "9"}, "1", "allow", "", id="nor is it ever held"),
        case(CALL, "1.01", "block", "per_call", id="one call that is too much"),
        case({**DAY, "held": "0.6"}, "0.4", "allow", "", id="held, and it fits"),
        case({**DAY, "held": "0.6"}, "0.41", "block", "daily", id="held by others"),
        case({**DAY, "held": "1"}, None, "block", "daily", id="all of it is held"),
        case({**DAY, "spent": "0.5", "held": "0.5"}, None, "block", "daily", id="and spent"),
        case({"caps": EVERY}, "1", "allow", "", id="every cap fits"),
        case({"caps": EVERY}, "2", "block", " ".join(WINDOWS), id="every cap is breached, in order"),
        case({"caps": EVERY, "spent": "1"}, None, "block", " ".join(SPEND_WINDOWS), id="all used up"),
        case(
            {"caps": {"lifetime": "9", "weekly": "3"}, "spent": {"lifetime": "9", "weekly": "2.5"}},
            "1", "block", "weekly lifetime", id="the order is of windows, not of the file",
        ),
        case(
            {"caps": EVERY, "spent": {"monthly": "1", "lifetime": "1"}},
            "0.5", "block", "monthly lifetime", id="long windows alone",
        ),
        case({**DAY, "hard": False}, "2", "warn", "daily", id="warn-only, breached"),
        case({**DAY, "hard": False}, "1", "allow", "", id="warn-only, and it fits"),
        case({"caps": {"daily": "0"}, "hard": False}, None, "warn", "daily", id="warn-only, nothing left"),
        case({**DAY, **NEAR}, "0.79", "allow", "", id="below warn_at"),
        case({**DAY, **NEAR}, "0.8", "warn", "", id="exactly at warn_at"),
        case({**DAY, "spent": "0.8", **NEAR}, None, "warn", "", id="spent to warn_at"),
        case({**DAY, "held": "0.8", **NEAR}, None, "warn", "", id="held to warn_at"),
        case({**DAY, "spent": "0.8", **NEAR}, "0", "warn", "", id="a free call at warn_at"),
        case({**CALL, **NEAR}, "0.9", "warn", "", id="one call near its cap"),
        case({**DAY, "warn_at": "1"}, "1", "warn", "", id="warn_at the cap itself"),
        case({**DAY, **NEAR}, "1.1", "block", "daily", id="a breach outweighs warn_at"),
        case({**DAY, **MISSPELT}, "0.1", "warn", "", id="a warning warns"),
        case({**DAY, **MISSPELT}, "2", "block", "daily", id="a breach outweighs that"),
    ],
)  # fmt: skip
def test_verdict_of_one_scope(given: dict[str, Any], estimate: str | None, level: str, breached: str) -> None:
    verdict = decide([scope(**given)], usd(estimate))
    assert verdict.level == level
    assert [breach.window for breach in verdict.breaches] == breached.split()
    if breached:
        assert (verdict.window, verdict.reason) == (verdict.breaches[0].window, verdict.breaches[0].reason)
    if level == "allow":
        assert (verdict.reason, verdict.window) == (None, None)


@pytest.mark.parametrize(
    ("given", "estimate", "reason"),
    [
        case(
            {**DAY, "spent": "0.7"}, "0.5",
            "daily cap $1.0000 would be exceeded: spent $0.7000, estimate $0.5000", id="a window",
        ),
        case(
            {"caps": {"per_call": "0.05"}}, "0.1",
            "per-call cap $0.0500 exceeded by estimate $0.1000", id="one call",
        ),
        case(
            {"caps": {"weekly": "1"}, "spent": "0.5", "held": "0.25"}, "0.3",
            "weekly cap $1.0000 would be exceeded: spent $0.5000, held $0.2500, estimate $0.3000", id="held",
        ),
        case(
            {"caps": {"hourly": "1"}, "spent": "1.00000015"}, None,
            "hourly cap $1.0000 is used up: spent $1.00000015", id="used up, every digit kept",
        ),
        case(
            {"caps": {"per_call": "0"}}, None, "per-call cap $0.0000 blocks every paid call", id="no call"
        ),
        case(
            {"caps": {"monthly": "50"}, "spent": "40", **NEAR}, "0.5",
            "monthly use $40.5000 reaches 80% of cap $50.0000", id="warn_at",
        ),
        case(
            {**CALL, **NEAR}, "0.9",
            "per-call use $0.9000 reaches 80% of cap $1.0000", id="warn_at of one call",
        ),
        case({"caps": {}, **MISSPELT}, None, "dialy_usd is misspelt", id="a warning"),
    ],
)  # fmt: skip
def test_reason_reads_like_a_sentence(given: dict[str, Any], estimate: str | None, reason: str) -> None:
    assert decide([scope(**given)], usd(estimate)).reason == reason


def test_three_calls_of_a_dime_fit_a_cap_of_30_cents_and_a_fourth_does_not() -> None:
    spent, levels = Decimal(0), []
    for _ in range(4):
        verdict = decide([scope({"daily": "0.3"}, str(spent))], Decimal("0.1"))
        levels.append(verdict.level)
        spent += Decimal("0.1")
    assert levels == ["allow", "allow", "allow", "block"]


PERSONA: dict[str, Any] = {**DAY, "spent": "0.9", "name": "hermes"}
AGENT: dict[str, Any] = {"caps": {"hourly": "1", "monthly": "1"}, "spent": "0.9", "name": "agent"}
SOFT = {"hard": False}
ROOM = {"spent": "0"}


@pytest.mark.parametrize(
    ("chain", "level", "breached"),
    [
        case([], "allow", "", id="nobody has caps"),
        case([PERSONA | ROOM, AGENT | ROOM], "allow", "", id="both have room"),
        case(
            [PERSONA, AGENT], "block", "hermes:daily agent:hourly agent:monthly", id="the first link speaks"
        ),
        case([PERSONA | ROOM, AGENT], "block", "agent:hourly agent:monthly", id="the second link blocks"),
        case(
            [PERSONA | SOFT, AGENT], "block", "agent:hourly agent:monthly hermes:daily",
            id="what blocks stands before what warns",
        ),
        case(
            [PERSONA, AGENT | SOFT], "block", "hermes:daily agent:hourly agent:monthly", id="soft after hard"
        ),
        case(
            [PERSONA | SOFT, AGENT | SOFT], "warn", "hermes:daily agent:hourly agent:monthly", id="both warn"
        ),
        case([PERSONA | SOFT, AGENT | ROOM], "warn", "hermes:daily", id="one warns, one has room"),
        case(
            [PERSONA | ROOM | {"warn_at": "0.5"}, AGENT | SOFT], "warn", "agent:hourly agent:monthly",
            id="a breach that warns stands before a cap that is near",
        ),
    ],
)  # fmt: skip
def test_verdict_of_a_chain_is_that_of_its_strictest_link(
    chain: list[dict[str, Any]], level: str, breached: str
) -> None:
    verdict = decide([scope(**link) for link in chain], Decimal("0.5"))
    assert verdict.level == level
    assert [f"{breach.scope}:{breach.window}" for breach in verdict.breaches] == breached.split()
    if breached:
        assert verdict.reason == verdict.breaches[0].reason


def test_near_cap_of_the_second_link_warns() -> None:
    verdict = decide([scope(**(PERSONA | ROOM)), scope(**(AGENT | NEAR))], Decimal("0.05"))
    assert (verdict.level, verdict.window, verdict.breaches) == ("warn", "hourly", ())


@pytest.mark.parametrize(("cap", "used", "left"), [("1", "0.3", "0.7"), ("1", "1", "0"), ("1", "9", "0")])
def test_what_remains_is_never_below_zero(cap: str, used: str, left: str) -> None:
    assert remaining(Decimal(cap), Decimal(used)) == Decimal(left)


CENTS = st.integers(0, 20).map(lambda tenths: Decimal(tenths) / 10)


@settings(max_examples=300, deadline=None)
@given(
    caps=st.dictionaries(st.sampled_from(WINDOWS), CENTS),
    spent=st.fixed_dictionaries(dict.fromkeys(SPEND_WINDOWS, CENTS)),
    held=CENTS,
    estimate=CENTS.filter(bool),
    hard=st.booleans(),
)
def test_no_paid_call_that_would_go_beyond_a_hard_cap_is_ever_allowed(
    caps: dict[Window, Decimal], spent: dict[Window, Decimal], held: Decimal, estimate: Decimal, hard: bool
) -> None:
    beyond = {
        window
        for window, cap in caps.items()
        if Fraction(estimate) + (0 if window == "per_call" else Fraction(spent[window]) + Fraction(held))
        > cap
    }
    verdict = decide([Scope("any", Budget(caps, hard), Usage(spent, held))], estimate)
    assert {breach.window for breach in verdict.breaches} == beyond
    assert verdict.level == ("allow" if not beyond else "block" if hard else "warn")
