"""What a claim takes is bounded in bytes, and so is an input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused
from dray.store.records import Budget, Child
from tests.chaos.effects import EFFECTS
from tests.db.helpers import GRAPH, QUEUES, claimed, end, expire, outcome, register
from tests.db.test_driver import PATIENCE, driving, until
from tests.pg import Sql

HANDLERS = load_handlers(["tests.chaos.effects"])
KB = 1 << 10
MB = 1 << 20
SUBMIT = "SELECT dray.submit('w', %(input)s::jsonb)"


def sized(size: int) -> dict[str, str]:
    """An input of so many bytes as JSON text, as the database writes it."""
    return {"x": "y" * (size - len('{"x": ""}'))}


def take(store: DriverStore, driver: str, budget: Budget, limit: int = 100) -> list[str]:
    return [each.id for each in store.claim(driver, QUEUES, limit, budget)]


@pytest.fixture
def driver(store: DriverStore, client: Client) -> str:
    client.apply_workflow("w", GRAPH)
    return register(store)


# What a claim takes


def test_a_claim_takes_what_fits(store: DriverStore, client: Client, driver: str) -> None:
    ids = client.submit_many("w", [sized(100 * KB)] * 10)
    assert take(store, driver, Budget(MB, 350 * KB)) == ids[:3]
    assert store.limited, "so that room is a reason to look again"
    assert take(store, driver, Budget(MB, 99 * KB)) == []
    assert take(store, driver, Budget(MB, 700 * KB)) == ids[3:]


def test_small_inputs_do_not_count(store: DriverStore, client: Client, driver: str, sql: Sql) -> None:
    ids = client.submit_many("w", [sized(8 * KB)] * 10)
    assert sql("SELECT DISTINCT input_size FROM dray.execution") == [(None,)]
    assert take(store, driver, Budget(MB, 1)) == ids
    assert not store.limited


def test_the_size_is_that_of_the_text_however_well_it_is_compressed(client: Client, driver: str, sql: Sql) -> None:
    client.submit("w", sized(500 * KB))
    client.submit("w", {"x": [1] * 5_000})
    found = sql(
        "SELECT e.input_size, octet_length(i.input::text) FROM dray.execution e"
        " JOIN dray.execution_input i ON i.execution_id = e.id ORDER BY e.id"
    )
    assert found == [(500 * KB, 500 * KB), (15_007, 15_007)]


def test_the_first_that_does_not_fit_keeps_the_others_waiting(store: DriverStore, client: Client, driver: str) -> None:
    """It would never come to its turn."""
    small, large, later = client.submit_many("w", [sized(100 * KB), sized(300 * KB), sized(100 * KB)])
    assert take(store, driver, Budget(MB, 250 * KB)) == [small]
    assert take(store, driver, Budget(MB, 500 * KB)) == [large, later]


def test_one_that_is_larger_than_the_whole_budget_is_claimed_without_its_input(
    store: DriverStore, client: Client, driver: str
) -> None:
    before, large, after = client.submit_many("w", [sized(20 * KB), sized(300 * KB), sized(20 * KB)])
    found = store.claim(driver, QUEUES, 9, Budget(100 * KB, 50 * KB))
    assert [each.id for each in found] == [before, large, after]
    assert [each.input is None for each in found] == [False, True, False]
    assert [each.input_size for each in found] == [20 * KB, 300 * KB, 20 * KB]


def test_one_that_died_too_often_is_claimed_without_its_input(
    store: DriverStore, client: Client, driver: str, sql: Sql
) -> None:
    ids = client.submit_many("w", [sized(60 * KB)] * 3)
    sql("UPDATE dray.execution SET crash_count = 4 WHERE id = %(id)s::uuid", id=ids[0])
    sql("UPDATE dray.execution SET crash_count = 3 WHERE id = %(id)s::uuid", id=ids[1])
    found = store.claim(driver, QUEUES, 9, Budget(MB, 130 * KB, 3))
    assert [(each.id, each.input is None) for each in found] == [(ids[0], True), (ids[1], False), (ids[2], False)]


def test_an_unheard_claim_gives_no_input_that_is_too_large_either(
    store: DriverStore, client: Client, driver: str
) -> None:
    client.submit_many("w", [sized(20 * KB), sized(300 * KB)])
    assert len(take(store, driver, Budget())) == 2
    store._held.clear()
    found = store._claim_unheard(driver, 9, Budget(100 * KB, MB))
    assert [each.input is None for each in found] == [False, True]


@pytest.mark.parametrize("limits", [{"concurrency": 100}, {"tenant": ["t"]}, {"key": ["t"], "key_limit": 50}])
def test_where_limits_hold_a_claim_takes_what_fits_too_and_forgets_none(
    store: DriverStore, client: Client, driver: str, limits: dict[str, Any]
) -> None:
    client.apply_workflow("w", {**GRAPH, "limits": limits})
    client.limit_queue("default", concurrency=1000)
    ids = client.submit_many("w", [{**sized(100 * KB), "t": n % 2} for n in range(10)])
    taken: list[str] = []
    for _ in range(4):
        found = take(store, driver, Budget(MB, 350 * KB))
        assert len(found) <= 3
        taken += found
        store.commit(driver, [], [end(each) for each in found])
    assert sorted(taken) == ids


def test_what_was_queued_before_there_was_a_size_is_measured_by_the_migration(
    store: DriverStore, client: Client, driver: str, sql: Sql
) -> None:
    """The statement of the migration itself."""
    text = (Path(__file__).parents[2] / "store/migrations/0012_bytes.sql").read_text()
    (statement,) = re.findall(r"^DO \$\$.*?END \$\$;", text, re.DOTALL | re.MULTILINE)
    small, large, huge = client.submit_many("w", [sized(2 * KB), sized(50 * KB), {}])
    sql("ALTER TABLE dray.execution_input DISABLE TRIGGER input_written")
    numbers = f"[{', '.join(['1e131000'] * 9_000)}]"
    try:
        sql("UPDATE dray.execution_input SET input = %(n)s::jsonb WHERE execution_id = %(i)s::uuid", n=numbers, i=huge)
    finally:
        sql("ALTER TABLE dray.execution_input ENABLE TRIGGER input_written")
    sql("UPDATE dray.execution SET input_size = NULL")
    sql(statement)
    found = dict(sql("SELECT id::text, input_size FROM dray.execution"))
    assert found == {small: None, large: 50 * KB, huge: 2**31 - 1}
    claims = {each.id: each.input is None for each in store.claim(driver, QUEUES, 9, Budget(MB, MB))}
    assert claims == {small: False, large: False, huge: True}


# In a driver


@pytest.fixture
def _effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))


@pytest.mark.usefixtures("_effects")
def test_a_driver_never_holds_more_than_its_budget_and_all_is_done(store: DriverStore, client: Client) -> None:
    node = {"id": "a", "type": "effect", "config": {"seconds": 0.01}}
    client.apply_workflow("w", canonical({"nodes": [node], "edges": []}, HANDLERS))
    ids = client.submit_many("w", [sized(100 * KB)] * 40)
    most = 0
    drivers: list[Any] = []

    def look() -> None:
        nonlocal most
        for each in drivers:
            most = max(most, sum(len(run.claim.input or "") for run in each._runs.values()))

    with driving(store, look, concurrency=100, claim_batch=100, held_bytes=MB) as (driver, _):
        drivers.append(driver)
        assert {client.wait(each, PATIENCE).status for each in ids} == {"completed"}
        until(lambda: not driver._runs)
        assert driver._runs.bytes == 0
    assert 0 < most <= MB


@pytest.mark.usefixtures("_effects")
def test_one_that_is_too_large_alone_fails_alone_and_says_why(store: DriverStore, client: Client) -> None:
    node = {"id": "a", "type": "effect", "config": {"seconds": 0.0}}
    client.apply_workflow("w", canonical({"nodes": [node], "edges": []}, HANDLERS))
    small, large, other = client.submit_many("w", [{}, sized(900 * KB), sized(90 * KB)])
    with driving(store, concurrency=100, claim_batch=100, held_bytes=200 * KB):
        found = client.wait(large, PATIENCE)
        assert found.status == "failed"
        assert found.error is not None
        assert found.error["type"] == "input_too_large"
        assert f"{900 * KB} bytes" in found.error["message"]
        assert "DRAY_HELD_MB" in found.error["message"]
        assert {client.wait(each, PATIENCE).status for each in (small, other)} == {"completed"}


@pytest.mark.usefixtures("_effects")
def test_what_died_too_often_fails_before_anything_of_it_is_loaded(
    store: DriverStore, client: Client, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"id": "a", "type": "effect", "config": {"seconds": 0.0}}
    client.apply_workflow("w", canonical({"nodes": [node], "edges": []}, HANDLERS))
    execution, other = client.submit_many("w", [sized(90 * KB), {}])
    sql("UPDATE dray.execution SET crash_count = 4, claim_count = 4 WHERE id = %(id)s::uuid", id=execution)
    sql("UPDATE dray.execution SET claim_count = 4 WHERE id = %(id)s::uuid", id=other)
    loaded: list[str] = []
    load = store.load_checkpoints
    monkeypatch.setattr(store, "load_checkpoints", lambda ids: loaded.extend(ids) or load(ids))
    with driving(store):
        assert (client.wait(execution, PATIENCE).error or {})["type"] == "poison"
        assert client.wait(other, PATIENCE).status == "completed"
    assert loaded == [other]


# What an input may have


def test_an_input_of_4_mib_is_taken_and_one_byte_more_is_refused_from_sql_and_client_alike(
    client: Client, driver: str, sql: Sql
) -> None:
    client.submit("w", sized(4 * MB))
    sql(SUBMIT, input=json.dumps(sized(4 * MB)))
    refused = f"the input has {4 * MB + 1} bytes as JSON, and {4 * MB} is the most.*DRAY_MAX_INPUT_BYTES"
    with pytest.raises(DataRefused, match=refused):
        client.submit("w", sized(4 * MB + 1))
    with pytest.raises(DataRefused, match=refused):
        sql(SUBMIT, input=json.dumps(sized(4 * MB + 1)))
    with pytest.raises(DataRefused, match=refused):
        client.submit_many("w", [{}, sized(4 * MB + 1)])
    assert sql("SELECT count(*) FROM dray.execution") == [(2,)]


def test_the_limit_is_a_setting_of_the_database(store: DriverStore, client: Client, driver: str) -> None:
    assert store.limit_inputs(1024) is True
    assert store.limit_inputs(1024) is False
    client.submit("w", sized(1024))
    with pytest.raises(DataRefused, match="1025 bytes as JSON, and 1024 is the most"):
        client.submit("w", sized(1025))
    assert store.limit_inputs(2 * MB) is True
    client.submit("w", sized(2 * MB))


def test_a_number_that_is_short_to_write_and_long_as_it_is_stored_is_refused(client: Client, driver: str) -> None:
    """It would be claimed again and again, and be gigabytes then."""
    with pytest.raises(DataRefused, match=r"60\d{5} bytes"):
        client._ask("submit", given(f'{{"x": [{", ".join(["1e300"] * 20_000)}]}}'))


def given(text: str) -> dict[str, Any]:
    names = ("priority", "run_at", "idempotency_key", "labels", "tenant", "concurrency_key", "idempotency_window")
    return {**dict.fromkeys(names), "workflow": "w", "queue": "default", "input": text}


def test_a_child_with_such_an_input_is_refused_and_nothing_of_that_commit_is_stored(
    store: DriverStore, client: Client
) -> None:
    incarnation, (claim,) = claimed(store, client)
    child = Child("018f0000-0000-7000-8000-000000000000", claim.id, "w", None, json.dumps(sized(4 * MB + 1)))
    with pytest.raises(DataRefused, match="is the most"):
        store.commit(incarnation, [outcome(claim.id)], [], [child])
    assert client.attempts(claim.id) == []


def test_what_is_from_before_the_limit_may_be_repeated(
    store: DriverStore, client: Client, driver: str, sql: Sql
) -> None:
    execution = client.submit("w", sized(90 * KB))
    take(store, driver, Budget())
    store.commit(driver, [], [end(execution, "failed")])
    store.limit_inputs(10 * KB)
    again = client.retry(execution)
    assert sql("SELECT input_size FROM dray.execution WHERE id = %(id)s::uuid", id=again) == [(90 * KB,)]


def test_the_size_of_what_a_dead_driver_held_is_known(
    store: DriverStore, client: Client, driver: str, sql: Sql
) -> None:
    client.submit_many("w", [sized(90 * KB)] * 3)
    take(store, driver, Budget())
    expire(sql, driver)
    store.reap()
    assert len(take(store, register(store), Budget(MB, 200 * KB))) == 2
