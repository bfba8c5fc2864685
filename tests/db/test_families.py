"""A cancel takes all below along, at once, whatever else happens to the rows; and is kept with who asked and why."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dray.store.client.client import Client
from dray.store.driver_store import DriverStore, claim_parameters
from dray.store.errors import DataRefused
from dray.store.queries import QUERIES
from dray.store.records import Child, Kind
from tests.db.helpers import (
    GRAPH,
    QUEUES,
    Running,
    claimed,
    commit,
    commit_given,
    end,
    outcome,
    register,
    status,
    submitted,
    transaction,
    until_blocked,
)
from tests.pg import Sql


def tree(sql: Sql, client: Client, parents: list[int | None]) -> list[str]:
    """Queued executions; of each the index of its parent, None = it has none. In the order of their ids."""
    ids = submitted(client, len(parents))
    pairs = [(each, ids[parent]) for each, parent in zip(ids, parents, strict=True) if parent is not None]
    sql(
        "UPDATE dray.execution e SET parent_id = p.parent "
        "FROM unnest(%(ids)s::uuid[], %(parents)s::uuid[]) p (id, parent) WHERE e.id = p.id",
        ids=[each for each, _ in pairs],
        parents=[each for _, each in pairs],
    )
    return ids


def statuses(sql: Sql) -> dict[str, int]:
    return dict(sql("SELECT coalesce(control, status), count(*) FROM dray.execution GROUP BY 1"))


def child_of(parent: str, **other: Any) -> Child:
    return Child(str(uuid.uuid4()), parent, "w", None, "{}")._replace(**other)


def waiting_for(child: Child) -> Any:
    return outcome(child.parent_id, "n", f'{{"child": "{child.id}"}}', kind=Kind.WAITS_FOR_NEWS)


# All at once


def test_a_deep_tree_is_cancelled_in_the_transaction_of_the_cancel(client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, *range(299)])
    client.cancel(ids[0])
    assert statuses(sql) == {"cancelled": 300}
    assert sql("SELECT count(*) FROM dray.pending_mark") == [(0,)]


def test_a_wide_tree_too(client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, *[0] * 3_000, *[1] * 500])
    client.cancel(ids[0])
    assert statuses(sql) == {"cancelled": 3_501}


def test_what_runs_in_it_is_marked_and_its_driver_sees_it(store: DriverStore, client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, 0, 1, 2, 3])
    incarnation = register(store)
    runs = {each.id for each in store.claim(incarnation, QUEUES, 3)}
    client.cancel(ids[0])
    assert {each for each, control in store.controls(incarnation) if control == "cancel"} == runs
    assert statuses(sql) == {"cancel": 3, "cancelled": 2}
    assert store.claim(incarnation, QUEUES, 9) == []


@pytest.mark.parametrize("what", ["dray.cancel(%(parent)s::uuid)", "dray.pause(%(child)s::uuid)"])
def test_drivers_that_listen_are_told_at_once(
    store: DriverStore, client: Client, sql: Sql, database: str, what: str
) -> None:
    parent, child = tree(sql, client, [None, 0])
    sql("UPDATE dray.execution SET status = 'waiting' WHERE id = %(id)s::uuid", id=parent)
    store.claim(register(store), QUEUES, 9)
    with transaction(database) as listener:
        listener.execute("LISTEN dray")
        commit(listener)
        sql(f"SELECT {what}", parent=parent, child=child)
        listener.execute("SELECT 1")
        assert "control" in [each.payload for each in listener.connection.notifies]


def test_a_detached_child_and_all_below_it_go_on(client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, 0, 1, 0])
    sql("UPDATE dray.execution SET detached = true WHERE id = %(id)s::uuid", id=ids[1])
    client.cancel(ids[0])
    assert [status(sql, each) for each in ids] == ["cancelled", "queued", "queued", "cancelled"]


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_the_end_of_a_parent_takes_all_below_along_in_its_commit(
    store: DriverStore, client: Client, sql: Sql, ending: str
) -> None:
    ids = tree(sql, client, [None, 0, 1, 2])
    incarnation = register(store)
    (top,) = store.claim(incarnation, QUEUES, 1)
    assert top.id == ids[0]
    store.commit(incarnation, [], [end(top.id, ending)])
    assert [status(sql, each) for each in ids[1:]] == ["cancelled"] * 3


def test_a_completed_parent_takes_nothing_along(store: DriverStore, client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, 0])
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 1)
    store.commit(incarnation, [], [end(ids[0])])
    assert status(sql, ids[1]) == "queued"


# Beside others


def test_a_claim_of_the_same_moment_is_waited_for_and_marked(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    parent, child = tree(sql, client, [None, 0])
    sql("UPDATE dray.execution SET status = 'waiting' WHERE id = %(id)s::uuid", id=parent)
    incarnation = register(store)
    with transaction(database) as claim:
        claim.execute(QUERIES["claim_if_fenced"], claim_parameters(incarnation, QUEUES, 9))
        cancelling = Running(lambda: client.cancel(parent))
        until_blocked(sql)
        commit(claim)
    assert cancelling.result() == "cancelled"
    assert store.controls(incarnation) == [(child, "cancel")]


def test_a_child_that_somebody_keeps_locked_holds_no_cancel_up_and_gets_its_mark(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    ids = tree(sql, client, [None, 0, 1, 0])
    with transaction(database) as other:
        other.execute("SELECT dray.signal(%s, 'x')", (ids[1],))
        assert client.cancel(ids[0]) == "cancelled"
        assert [status(sql, each) for each in ids] == ["cancelled", "queued", "cancelled", "cancelled"]
        commit(other)
    store.place_marks(9)
    assert status(sql, ids[1]) == "cancelled"


def test_a_child_started_before_the_cancel_came_is_found_by_it(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    child = child_of(claim.id)
    given = commit_given(incarnation, [waiting_for(child)], [])
    given |= {
        "child_ids": f"{{{child.id}}}", "child_parents": f"{{{claim.id}}}", "child_workflows": "{w}",
        "child_versions": "{NULL}", "child_inputs": '{"{}"}', "child_detached": "{false}",
    }  # fmt: skip
    with transaction(database) as starting:
        starting.execute(QUERIES["commit_if_fenced"], given)
        cancelling = Running(lambda: client.cancel(claim.id))
        until_blocked(sql)
        commit(starting)
    assert cancelling.result() == "cancelling"
    assert status(sql, child.id) == "cancelled"


def test_a_child_is_not_started_once_the_cancel_of_its_parent_has_come(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    incarnation, (claim,) = claimed(store, client)
    client.cancel(claim.id)
    child, free = child_of(claim.id), child_of(claim.id, detached=True)
    store.commit(incarnation, [waiting_for(child)], [], [child, free])
    assert [each.id for each in client.list() if each.id != claim.id] == [free.id]
    store.commit(incarnation, [], [end(claim.id, "waiting")])
    assert (status(sql, claim.id), status(sql, free.id)) == ("cancelled", "queued")


@pytest.mark.parametrize("what", ["SELECT dray.cancel(%s)", "SELECT dray.signal(%s, 'x')"])
def test_a_child_whose_parent_somebody_has_locked_begins_once_it_is_known_whether_it_may(
    store: DriverStore, client: Client, sql: Sql, database: str, what: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    child = child_of(claim.id)
    with transaction(database) as person:
        person.execute(what, (claim.id,))
        store.commit(incarnation, [waiting_for(child)], [], [child])  # waits for nobody
        assert store.place_marks(9) == 0
        assert store.claim(incarnation, QUEUES, 9) == []
        commit(person)
    assert store.claim(incarnation, QUEUES, 9) == []
    assert store.place_marks(9) == 1
    assert status(sql, child.id) == ("cancelled" if "cancel" in what else "queued")
    assert store.place_marks(9) == 0


def test_a_child_whose_parent_is_gone_before_it_began_never_does(
    store: DriverStore, client: Client, sql: Sql, database: str
) -> None:
    incarnation, (claim,) = claimed(store, client)
    child = child_of(claim.id)
    with transaction(database) as person:
        person.execute("SELECT dray.signal(%s, 'x')", (claim.id,))
        store.commit(incarnation, [waiting_for(child)], [], [child])
    sql("DELETE FROM dray.execution WHERE id = %(id)s::uuid", id=claim.id)
    store.place_marks(9)
    assert status(sql, child.id) == "cancelled"


def test_cancels_of_one_tree_from_everywhere_at_once_end_all_of_it(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    ids = tree(sql, client, [None, 0, 0, 1, 1, 2, 2, *range(3, 60)])
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 20)
    cancels = [Running(lambda each=each: client.cancel(each)) for each in (ids[0], ids[1], ids[-1], ids[30], ids[2])]
    cancels.append(Running(lambda: client.bulk("cancel")))
    for each in cancels:
        each.result()
    while store.place_marks(99):
        pass
    assert statuses(sql) == {"cancel": 20, "cancelled": len(ids) - 20}


# Who, and why


def test_a_cancel_is_kept_with_who_asked_and_why(client: Client, sql: Sql) -> None:
    parent, child = tree(sql, client, [None, 0])
    assert client.get(parent).cancelled_by is None
    client.cancel(parent, "the order was withdrawn", by="Ada")
    for each in (parent, child):
        found = client.get(each).cancelled_by
        assert found is not None
        assert found.pop("at")
        (role,) = sql("SELECT current_user")[0]
        assert found == {"role": role, "by": "Ada", "reason": "the order was withdrawn", "execution": parent}


def test_the_first_who_asks_counts(store: DriverStore, client: Client) -> None:
    _, (claim,) = claimed(store, client)
    client.cancel(claim.id, "first")
    client.cancel(claim.id, "second")
    found = client.get(claim.id).cancelled_by
    assert found is not None
    assert (found["reason"], found["by"]) == ("first", None)


def test_one_that_had_ended_was_not_cancelled(store: DriverStore, client: Client) -> None:
    incarnation, (claim,) = claimed(store, client)
    store.commit(incarnation, [], [end(claim.id)])
    client.cancel(claim.id, "too late")
    assert client.get(claim.id).cancelled_by is None


def test_a_child_of_a_parent_that_failed_was_cancelled_by_nobody(store: DriverStore, client: Client, sql: Sql) -> None:
    ids = tree(sql, client, [None, 0, 1])
    client.cancel(ids[1], "not that one")
    incarnation = register(store)
    store.claim(incarnation, QUEUES, 1)
    store.commit(incarnation, [], [end(ids[0], "failed")])
    asked = [client.get(each).cancelled_by for each in ids]
    assert [each and each["execution"] for each in asked] == [None, ids[1], ids[1]]


def test_a_bulk_says_so_too(client: Client) -> None:
    ids = submitted(client, 3)
    assert client.bulk("cancel", reason="a wrong import", by="night shift").done == 3
    asked = [client.get(each).cancelled_by for each in ids]
    assert [each and (each["reason"], each["by"]) for each in asked] == [("a wrong import", "night shift")] * 3


@pytest.mark.parametrize("given", [{"reason": "x" * 2_001}, {"by": "x" * 201}])
def test_a_reason_without_end_is_refused_and_nothing_cancelled(client: Client, sql: Sql, given: dict[str, str]) -> None:
    (execution,) = submitted(client)
    with pytest.raises(DataRefused, match="cancellation_length_check"):
        client.cancel(execution, **given)
    assert status(sql, execution) == "queued"


def test_the_end_of_a_cancel_lies_behind_the_submit(client: Client, sql: Sql, database: str) -> None:
    with transaction(database) as person:
        person.execute("SELECT now()")
        client.apply_workflow("w", GRAPH)
        execution = client.submit("w")
        person.execute("SELECT dray.cancel(%s), dray.signal(dray.submit('w'), 'x')", (execution,))
        commit(person)
    found = client.get(execution)
    assert found.finished_at is not None
    assert found.finished_at > found.created_at
    assert sql("SELECT sent_at > %(at)s FROM dray.signal", at=found.created_at) == [(True,)]
