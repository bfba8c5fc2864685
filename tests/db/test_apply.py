"""Only graphs that were checked are stored; and what was stored without a check is told in a line."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from sqlalchemy import Engine

import dray
from dray.cluster.cli.main import run
from dray.store.client.client import Client
from dray.store.connection import transaction
from dray.store.driver_store import DriverStore
from dray.store.errors import DataRefused
from tests.db.helpers import claimed, submitted
from tests.pg import Sql

SOUND = {"nodes": [{"id": "a", "type": "trigger"}, {"id": "b", "type": "merge"}], "edges": [{"from": "a", "to": "b"}]}
EFFECT = {"nodes": [{"id": "a", "type": "effect", "config": {"seconds": 0}}], "edges": []}


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"nodes": [{"id": "a", "type": "no_such"}], "edges": []}, "unknown type"),
        ({"nodes": [{"id": "a", "type": "trigger"}], "edges": [{"from": "a", "to": "z"}]}, "z"),
        ({"nodes": "all of them"}, "nodes"),
        ({"format": 1, "nodes": [{"id": "a"}], "edges": []}, "a"),
        ({}, "nodes"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_and_not_the_latest_version(
    engine: Engine, graph: dict[str, Any], words: str
) -> None:
    client = dray.Client(engine)
    client.apply_workflow("w", SOUND)
    with pytest.raises(dray.GraphInvalid, match=words):
        client.apply_workflow("w", graph)
    assert client.workflow("w").version == 1


def test_every_form_of_a_graph_is_stored_in_one(engine: Engine) -> None:
    client = dray.Client(engine)
    assert client.apply_workflow("w", SOUND)[1:] == (1, True)
    assert client.apply_workflow("w", {"name": "x", "graph_config": SOUND})[1:] == (1, False)
    assert client.apply_workflow("w", dray.canonical_graph(SOUND))[1:] == (1, False)
    assert client.workflow("w").graph == dray.canonical_graph(SOUND)


def test_types_of_ones_own_are_known_by_their_modules(engine: Engine) -> None:
    client = dray.Client(engine)
    assert client.apply_workflow("w", EFFECT, handlers=["tests.chaos.effects"])[1:] == (1, True)


def test_in_a_transaction_of_ones_own_it_is_stored_with_that(engine: Engine) -> None:
    def store_and_fail() -> None:
        with transaction(engine) as mine:
            dray.Client(mine).apply_workflow("w", SOUND)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_and_fail()
    assert Client(engine).workflows() == []


@pytest.mark.parametrize(
    "graph", [SOUND, {}, [], None, "w", {"format": "1", "nodes": [], "edges": []}, {"format": 1, "nodes": []}]
)
def test_sql_refuses_what_nobody_has_checked(sql: Sql, graph: Any) -> None:
    with pytest.raises(DataRefused, match=r"\"w\".*nobody has checked it.*dray workflow apply"):
        sql("SELECT dray.apply_workflow('w', %(graph)s::jsonb)", graph=json.dumps(graph))
    assert sql("SELECT count(*) FROM dray.workflow") == [(0,)]


@pytest.fixture
def shell(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """shell("workflow", "list") -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("DRAY_DATABASE_URL", database)
    assert threading.current_thread() is threading.main_thread()

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return (int(code), *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    "graph", [{"nodes": [{"id": "a"}], "edges": []}, {"nodes": 1}, [], {"format": 1, "nodes": [{"id": 1}], "edges": []}]
)
def test_what_was_stored_without_a_check_ends_no_command_in_a_traceback(sql: Sql, shell: Any, graph: Any) -> None:
    insert = "INSERT INTO dray.workflow (name, version, graph, ends) VALUES ('w', %(n)s, %(graph)s::jsonb, '{}')"
    for n in (1, 2):
        sql(insert, n=n, graph=json.dumps(graph))
    for command in (["show", "w"], ["diff", "w"]):
        code, out, err = shell("workflow", *command)
        assert (code, out) == (2, "")
        assert "workflow 'w' version" in err
        assert len(err.splitlines()) == 1
    code, out, _ = shell("workflow", "list")
    assert code == 0
    assert "w" in out


# Cancels


def test_the_command_keeps_and_shows_who_asked_and_why(store: DriverStore, client: Client, shell: Any) -> None:
    _, (claim,) = claimed(store, client)
    assert shell("executions", "cancel", claim.id, "--reason", "no stock", "--by", "Ada")[0] == 0
    code, out, _ = shell("executions", "show", claim.id)
    assert code == 0
    (line,) = [each for each in out.splitlines() if each.startswith("cancelled by")]
    assert "Ada, as role postgres, at 20" in line
    assert line.endswith(": no stock")
    shown = json.loads(shell("executions", "show", claim.id, "--json")[1])["cancelled_by"]
    assert (shown["by"], shown["reason"], shown["execution"]) == ("Ada", "no stock", claim.id)


def test_so_does_the_one_for_many(client: Client, shell: Any) -> None:
    ids = submitted(client, 2)
    assert shell("bulk", "cancel", "--yes", "--reason", "a wrong import")[0] == 0
    assert all("a wrong import" in shell("executions", "show", each)[1] for each in ids)
    code, _, err = shell("bulk", "pause", "--yes", "--reason", "x")
    assert code == 2
    assert "--reason and --by are of cancel" in err
