"""Executions that died with three drivers, whose nodes run elsewhere: the fourth runs them one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from dray.actors.pool.shapes import Shape
from dray.cluster.driver.options import DriverOptions
from dray.cluster.driver.suspects import is_suspect
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.records import Claimed
from tests.chaos.effects import EFFECTS, read_effects
from tests.db.test_driver import HANDLERS, PATIENCE, driving, effect
from tests.pg import Sql


@pytest.fixture(autouse=True)
def _effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))


@pytest.mark.parametrize(("one_process", "suspects"), [(True, [2, 3]), (False, [3])])
def test_from_which_death_on(one_process: bool, suspects: list[int]) -> None:
    options = DriverOptions(("default",), 4, 4, 0.05, 15.0, 5.0, 20.0, Shape(), Policy(), one_process=one_process)
    claims = [Claimed("x", 1, 1, deaths, 0.0, None) for deaths in range(6)]
    assert [each.crash_count for each in claims if is_suspect(each, options)] == suspects


def test_no_two_of_them_run_side_by_side_and_none_is_condemned(
    store: DriverStore, client: Client, sql: Sql, tmp_path: Path
) -> None:
    client.apply_workflow("w", canonical({"nodes": [effect("a", 0.2)], "edges": []}, HANDLERS))
    executions = client.submit_many("w", [None] * 5)
    sql("UPDATE dray.execution SET crash_count = 3, claim_count = 3")
    with driving(store, concurrency=10, claim_batch=10):
        for each in executions:
            assert client.wait(each, PATIENCE).status == "completed"
    assert len(read_effects(tmp_path / "effects.jsonl")) == 5
    side_by_side = """
        SELECT count(*) FROM dray.checkpoint a JOIN dray.checkpoint b ON a.execution_id < b.execution_id
        WHERE b.at BETWEEN a.at AND a.at + interval '0.19 s' OR a.at BETWEEN b.at AND b.at + interval '0.19 s'
    """
    assert sql(side_by_side) == [(0,)], "each node takes 0.2 s, and none began before another was recorded"
