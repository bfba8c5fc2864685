"""Hours in which the database refuses, and handlers that leave threads behind: seen from outside, in processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from tests.acceptance.commands import Shell
from tests.acceptance.test_monitoring import asked, free_port, until
from tests.pg import Sql

FULL = "could not extend file: No space left on device"
REFUSE = f"""
    CREATE FUNCTION dray.disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{FULL}' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON dray.checkpoint EXECUTE FUNCTION dray.disk_is_full();
"""
HANDLERS = """
import threading, time
from dray import handler

@handler("leaves_a_thread")
def leaves(config, ctx):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return {}
"""
LOG = {"nodes": [{"id": "a", "type": "log", "config": {"message": "x"}}], "edges": []}


def test_a_full_disk_is_told_in_the_databases_words_and_nothing_is_restarted_for_it(
    tmp_path: Path, database: str, client: Client, sql: Sql
) -> None:
    client.apply_workflow("w", canonical(LOG, load_handlers()))
    port = free_port()
    shell = Shell(
        tmp_path, DRAY_DATABASE_URL=database, DRAY_EXECUTOR="local", DRAY_HTTP_PORT=str(port), DRAY_STUCK_AFTER="3",
        DRAY_HEALTH_FILE=str(tmp_path / "health.json"),
    )  # fmt: skip
    with shell.running("worker") as running:
        running.wait_for("Workflow worker started")
        sql(REFUSE)
        execution = client.submit("w")
        until(lambda: FULL in asked(port, "/readyz")[1])
        told = len(running.lines)
        for _ in range(4):  # pauses grow: longer than a driver may be stuck
            running.wait_for('"what": "commit"', after=told)
            told = len(running.lines)
            assert asked(port, "/livez")[0] == 200
        code, line = asked(port, "/livez")
        assert (code, line.startswith("late: commit waits for the database")) == (200, True), line
        assert asked(port, "/readyz")[0] == 503
        sql("DROP FUNCTION dray.disk_is_full() CASCADE")
        assert client.wait(execution, 60).status == "completed"
        until(lambda: asked(port, "/readyz")[0] == 200)
        running.stop(signal.SIGTERM)
    assert sql("SELECT max(crash_count), max(claim_count) FROM dray.execution") == [(0, 1)]


@pytest.mark.parametrize("how", ["drain", "SIGTERM"])
def test_a_thread_that_a_handler_left_does_not_keep_the_process(
    tmp_path: Path, database: str, client: Client, how: str
) -> None:
    (tmp_path / "leaving.py").write_text(HANDLERS)
    (tmp_path / "w.json").write_text(json.dumps({"nodes": [{"id": "a", "type": "leaves_a_thread"}], "edges": []}))
    shell = Shell(tmp_path, DRAY_DATABASE_URL=database, DRAY_EXECUTOR="local", DRAY_HANDLERS="leaving")
    assert shell("workflow", "apply", "w.json").code == 0
    execution = client.submit("w")
    if how == "drain":
        assert shell("worker", "--drain").code == 0
    else:
        with shell.running("worker") as running:
            client.wait(execution, 60)
            running.stop(signal.SIGTERM)
    assert client.get(execution).status == "completed"
