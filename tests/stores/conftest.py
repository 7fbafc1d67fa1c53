"""The contract of stores is no test module, but a failed assertion in it is explained like in one."""

from __future__ import annotations

import pytest

PARTS = ("base", "history", "holds", "policy", "reading", "rules", "together")

pytest.register_assert_rewrite(*(f"tests.stores.contract_{part}" for part in PARTS))
