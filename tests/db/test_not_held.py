"""Nothing is written of what an incarnation does not hold, and it keeps count of what it does hold."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from dray.actors.registry import load_handlers
from dray.cluster.driver.committer import CommitDone, Committer, Entry, NotHeld
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.types import NO_GRAPH
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from dray.store.errors import Unavailable
from dray.store.records import Child, Kind, Outcome, Settlement, Taken
from tests.chaos.effects import EFFECTS, read_effects
from tests.db.helpers import QUEUES, claimed, end, outcome, register, status, submitted, transaction
from tests.db.test_driver import PATIENCE, driving, until
from tests.pg import Sql

HANDLERS = load_handlers(["tests.chaos.effects"])


class LosesAnswers(DriverStore):
    """The next statement of this name is made, and its answer lost."""

    losing = ""

    def _ask(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        answer = super()._ask(name, given)
        if self.losing == name:
            self.losing = ""
            raise Unavailable("server closed the connection unexpectedly")
        return answer


def lose_a_claim(store: LosesAnswers, incarnation: str) -> None:
    store.losing = "claim_if_fenced"
    with pytest.raises(Unavailable):
        store.claim(incarnation, QUEUES, 9)


# What is held is kept count of


def test_an_end_that_was_left_out_is_held_still_and_not_taken_for_unheard(
    engine: Engine, client: Client, database: str
) -> None:
    store = LosesAnswers(engine)
    incarnation, (claim,) = claimed(store, client)
    lose_a_claim(store, incarnation)
    with transaction(database) as holder:
        holder.execute("SELECT dray.signal(%s, 'anything')", (claim.id,))
        assert store.commit(incarnation, [outcome(claim.id)], [end(claim.id)]) == (frozenset(), frozenset())
        holder.connection.rollback()
    assert store.claim(incarnation, QUEUES, 9) == [], "it is held, and begins nowhere again"
    assert store.commit(incarnation, [], [end(claim.id)]).settled == {claim.id}
    assert store.claim(incarnation, QUEUES, 9) == []


def test_an_unheard_claim_that_somebody_has_locked_is_taken_once_it_is_free(
    engine: Engine, client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LosesAnswers(engine)
    (execution,) = submitted(client)
    incarnation = register(store)
    lose_a_claim(store, incarnation)
    with transaction(database) as holder:
        holder.execute("SELECT dray.signal(%s, 'anything')", (execution,))
        assert store.claim(incarnation, QUEUES, 9) == []
        monkeypatch.setattr("dray.store.driver_store.UNSURE", 0.0)  # what was known of the lost answer is long ago
        holder.connection.rollback()
    assert [each.id for each in store.claim(incarnation, QUEUES, 9)] == [execution]


def test_an_unheard_claim_is_a_new_one_and_all_that_was_decided_under_the_earlier_is_refused(
    store: DriverStore, client: Client, sql: Sql
) -> None:
    """Whatever made the driver forget it: twice in memory, it is once in the database."""
    incarnation, (earlier,) = claimed(store, client)
    store.commit(incarnation, [outcome(earlier.id)], [], claims={earlier.id: 1})
    store._held.clear()
    (later,) = store._claim_unheard(incarnation, 9)
    assert (later.id, later.claim_count) == (earlier.id, 2), "so its checkpoints are loaded"
    late = store.commit(
        incarnation, [outcome(earlier.id, "b")], [end(earlier.id)._replace(claim=1)], claims={earlier.id: 1}
    )
    assert late == (frozenset(), {earlier.id})
    assert [each.node_key for each in client.attempts(earlier.id)] == ["a"]
    assert status(sql, earlier.id) == "running"
    assert store._claim_unheard(incarnation, 9) == [], "the later claim is held"
    assert store.commit(incarnation, [outcome(earlier.id, "b")], [end(earlier.id)], claims={earlier.id: 2}).settled


# The database refuses the rest


def ended(sql: Sql, execution: str) -> None:
    sql(
        "UPDATE dray.execution SET status = 'cancelled', owner = NULL, finished_at = now() WHERE id = %(id)s::uuid",
        id=execution,
    )


def given_away(sql: Sql, execution: str) -> None:
    sql("UPDATE dray.execution SET owner = gen_random_uuid() WHERE id = %(id)s::uuid", id=execution)


def claimed_anew(sql: Sql, execution: str) -> None:
    sql("UPDATE dray.execution SET claim_count = 2 WHERE id = %(id)s::uuid", id=execution)


def deleted(sql: Sql, execution: str) -> None:
    sql("DELETE FROM dray.execution WHERE id = %(id)s::uuid", id=execution)


GONE = [ended, given_away, claimed_anew, deleted]


@pytest.mark.parametrize("gone", GONE)
def test_nothing_is_written_of_an_execution_that_is_not_held_and_all_of_the_others(
    store: DriverStore, client: Client, sql: Sql, gone: Callable[[Sql, str], None]
) -> None:
    incarnation, (lost, kept) = claimed(store, client, 2)
    client.signal(lost.id, "go")
    ((signal,),) = sql("SELECT id FROM dray.signal")
    children = [Child(str(uuid.uuid4()), each.id, "w", None, "{}") for each in (lost, kept)]
    gone(sql, lost.id)
    before = sql("SELECT e::text FROM dray.execution e WHERE id = %(id)s::uuid", id=lost.id)
    answer = store.commit(
        incarnation,
        [outcome(lost.id), outcome(kept.id), outcome(kept.id, "b")],
        [end(lost.id), end(kept.id)],
        children,
        [Taken(signal, "a", lost.id)],
        {lost.id: 1, kept.id: 1},
    )
    assert answer == ({kept.id}, {lost.id})
    assert sql("SELECT e::text FROM dray.execution e WHERE id = %(id)s::uuid", id=lost.id) == before
    assert sql("SELECT execution_id::text, node_key FROM dray.checkpoint ORDER BY 2") == [
        (kept.id, "a"),
        (kept.id, "b"),
    ]
    assert sql("SELECT id::text FROM dray.execution WHERE parent_id IS NOT NULL") == [(children[1].id,)]
    assert sql("SELECT consumed_at FROM dray.signal") == [(None,)]


def test_where_nothing_is_held_nothing_is_written(store: DriverStore, client: Client, sql: Sql) -> None:
    incarnation, (claim,) = claimed(store, client)
    ended(sql, claim.id)
    answer = store.commit(incarnation, [outcome(claim.id)], [end(claim.id)], claims={claim.id: 1})
    assert answer == (frozenset(), {claim.id})
    assert client.attempts(claim.id) == []


# And the driver hears of it


class Bench:
    """A committer, and executions that its incarnation holds."""

    def __init__(self, store: DriverStore, client: Client, count: int) -> None:
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.incarnation, self.claims = claimed(store, client, count)
        self.runs = [ExecutionRun(each, NO_GRAPH, Policy()) for each in self.claims]
        self.committer = Committer(store, self.incarnation, self.events.put)

    def of(self, run: ExecutionRun) -> list[Entry]:
        done = Outcome(run.id, "n", 1, Kind.COMPLETED, None, "1", None, None, 1)
        return [Entry(run, done), Entry(run, settlement=Settlement(run.id, "completed", None, None, 1))]

    def told(self, entries: list[Entry], events: int) -> list[Any]:
        self.committer.add(entries)
        if not self.committer.is_alive():
            self.committer.start()
        return [self.events.get(timeout=30) for _ in range(events)]


@pytest.fixture
def losing(engine: Engine) -> LosesAnswers:
    return LosesAnswers(engine)


@pytest.fixture
def bench(losing: LosesAnswers, client: Client) -> Iterator[Bench]:
    made = Bench(losing, client, 3)
    yield made
    made.committer.stop()


def test_the_driver_hears_of_the_one_that_it_does_not_hold_and_the_others_are_committed(
    bench: Bench, client: Client, sql: Sql
) -> None:
    lost, *others = bench.runs
    ended(sql, lost.id)
    first, second = bench.told([entry for run in bench.runs for entry in bench.of(run)], 2)
    assert first == NotHeld(lost)
    assert [entry.run for entry in second.entries] == [run for run in others for _ in range(2)]
    assert client.attempts(lost.id) == []
    assert {client.get(run.id).status for run in others} == {"completed"}
    assert bench.committer.idle


def test_what_a_commit_with_a_lost_answer_ended_is_done_and_not_lost(
    bench: Bench, losing: LosesAnswers, client: Client
) -> None:
    losing.losing = "commit_if_fenced"
    entries = [entry for run in bench.runs for entry in bench.of(run)]
    assert bench.told(entries, 1) == [CommitDone(entries)]
    assert {client.get(run.id).status for run in bench.runs} == {"completed"}


def test_two_claims_of_one_execution_are_never_in_one_commit(bench: Bench, sql: Sql, client: Client) -> None:
    earlier = bench.runs[0]
    later = ExecutionRun(earlier.claim._replace(claim_count=2), NO_GRAPH, Policy())
    claimed_anew(sql, earlier.id)
    late = Entry(earlier, Outcome(earlier.id, "late", 1, Kind.COMPLETED, None, "1", None, None, 1))
    outcome_of, end_of = bench.of(later)
    assert end_of.settlement is not None
    entries = [outcome_of, end_of._replace(settlement=end_of.settlement._replace(claim=2))]
    assert bench.told([late, *entries], 2) == [NotHeld(earlier), CommitDone(entries)]
    assert [each.node_key for each in client.attempts(earlier.id)] == ["n"]


@pytest.fixture
def _effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EFFECTS, str(tmp_path / "effects.jsonl"))


@pytest.mark.usefixtures("_effects")
def test_nothing_runs_again_where_a_claim_was_lost_and_a_row_was_locked_at_the_end(
    engine: Engine, client: Client, tmp_path: Path, sql: Sql
) -> None:
    """Every effect was there six times, at_most_once or not: the end was left out, and the next look for a claim with a
    lost answer found it."""
    go = tmp_path / "go"
    nodes = [
        {"id": "a", "type": "effect", "config": {"seconds": 0.0}, "at_most_once": True},
        {"id": "b", "type": "hold", "config": {"file": str(go)}},
        {"id": "c", "type": "effect", "config": {"seconds": 0.0}},
    ]
    edges = [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}]
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": edges}, HANDLERS))
    store = LosesAnswers(engine)
    store.losing = "claim_if_fenced"
    execution = client.submit("w")
    with driving(store):
        until((tmp_path / "go.began").exists)
        with engine.connect() as holder:
            holder.exec_driver_sql("BEGIN")
            Client(holder).signal(execution, "anything")  # and the transaction stays open
            go.touch()
            until(lambda: "c" in {each.node_key for each in client.attempts(execution)})
            for _ in range(20):  # as many looks for work
                client.wait(client.submit("w"), PATIENCE)
            holder.exec_driver_sql("COMMIT")
        assert client.wait(execution, PATIENCE).status == "completed"
        until(lambda: not store._held)
    own = [each.key for each in read_effects(tmp_path / "effects.jsonl") if execution in each.key]
    assert sorted(own) == [f"{execution}/a", f"{execution}/c"]


@pytest.mark.usefixtures("_effects")
def test_a_driver_drops_what_others_have_and_goes_on_with_the_rest(
    store: DriverStore, client: Client, tmp_path: Path, sql: Sql
) -> None:
    go = tmp_path / "go"
    nodes = [
        {"id": "a", "type": "hold", "config": {"file": str(go)}},
        {"id": "b", "type": "effect", "config": {"seconds": 0.0}},
    ]
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": [{"from": "a", "to": "b"}]}, HANDLERS))
    lost = client.submit("w")
    with driving(store) as (driver, _):
        until((tmp_path / "go.began").exists)
        other = register(store)
        sql("UPDATE dray.execution SET owner = %(o)s::uuid, claim_count = 2 WHERE id = %(id)s::uuid", o=other, id=lost)
        go.touch()
        until(lambda: lost not in driver._runs)
        kept = client.submit("w")
        assert client.wait(kept, PATIENCE).status == "completed"
        assert client.attempts(lost) == []
        assert status(sql, lost) == "running", "it is the other's"
