"""dray check-history in a real process, on a database in which something is right, and then wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.acceptance.commands import Shell
from tests.db.helpers import end, outcome, register
from tests.pg import Sql


@pytest.fixture
def shell(database: str, tmp_path: Path) -> Shell:
    return Shell(tmp_path, DRAY_DATABASE_URL=database)


def ran(client: Client, store: DriverStore, count: int) -> list[str]:
    """Executions that a driver has completed."""
    graph = {"nodes": [{"id": "a", "type": "trigger"}], "edges": []}
    client.apply_workflow("w", canonical(graph, load_handlers()))
    ids = client.submit_many("w", [{}] * count)
    driver = register(store)
    assert len(store.claim(driver, ["default"], count)) == count
    store.commit(
        driver, [outcome(each, "a", runner=None, duration_ms=None) for each in ids], [end(each) for each in ids]
    )
    return ids


def test_a_good_history_and_a_bad_one(shell: Shell, client: Client, store: DriverStore, sql: Sql) -> None:
    ids = ran(client, store, 5)
    done = shell("check-history", "--at-least", "5", "--idle")
    assert (done.code, done.err) == (0, "")
    assert done.out == "5 completed, 5 executions, 5 final, 5 records\n"
    assert shell("check-history", "--limit", "2", "--json").json["counts"]["executions"] == 2
    little = shell("check-history", "--at-least", "6")
    assert (little.code, little.out.splitlines()[1]) == (1, "little: too little happened: 5 final, 6 are wanted")
    sql("INSERT INTO dray.checkpoint (execution_id, at, attempt, kind, node_key) "
        "VALUES (%(id)s::uuid, clock_timestamp(), 2, 'c', 'a')", id=ids[0])  # fmt: skip
    done = shell("check-history", "--json")
    assert done.code == 1
    assert done.line == "2 contradictions, 0 executions too large to be checked"
    told = shell("check-history").out
    assert f"once: execution {ids[0]}: a ended 2 times (c, c)\n    row=record, execution_id={ids[0]}" in told
    assert f"end: execution {ids[0]}: 1 outcomes were recorded after its end" in told
    assert shell("check-history", "--since", "2999-01-01").out == "nothing to check\n"


def test_a_log_of_effects_is_compared(shell: Shell, client: Client, store: DriverStore, tmp_path: Path) -> None:
    ran(client, store, 1)
    log = tmp_path / "log"
    log.write_text('{"key": "01970f3e-5b1c-7a42-9d07-3f2b8c6e1a55/a", "attempt": 1, "at": 1, "pid": 2}\n')
    done = shell("check-history", "--effects", str(log))
    assert done.code == 1
    assert "accepted: execution 01970f3e-5b1c-7a42-9d07-3f2b8c6e1a55: it took effect and was never accepted" in done.out
    log.write_text("no JSON")
    assert shell("check-history", "--effects", str(log)).line.startswith(f"--effects {log}: JSONDecodeError")
