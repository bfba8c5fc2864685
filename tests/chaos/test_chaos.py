"""A minute of everything at once: whatever is done to drivers and server, what is recorded can be true, and all ends.

More of it, with other seeds: make chaos SEED=... SECONDS=...
"""

from __future__ import annotations

import pytest

from dray.cluster.cli.history import lines
from tests.chaos.plan import KINDS, plan
from tests.chaos.run import chaos

pytestmark = pytest.mark.chaos

SEED, SECONDS = 7, 60.0


def test_a_minute_of_chaos_breaks_no_promise() -> None:
    report = chaos(SEED, SECONDS)
    assert report.violations == [], "\n".join([*lines(report), f"again: make chaos SEED={SEED} SECONDS={SECONDS:g}"])


def test_a_plan_follows_from_its_seed_and_has_everything_in_it() -> None:
    assert plan(1, 600) == plan(1, 600) != plan(2, 600)
    assert plan(1, 60) == [each for each in plan(1, 600) if each.at < 60], "longer is more of the same"
    assert {each.what for each in plan(1, 600)} == set(KINDS)
    assert {each.what for each in plan(1, 60, frozenset({"kill", "stop"}))} == {"kill", "stop"}
    without = frozenset({"full"})
    assert plan(1, 600, without=without) == [each for each in plan(1, 600) if each.what != "full"]
