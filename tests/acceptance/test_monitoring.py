"""How a driver is seen from outside: `dray health`, `dray runners`, the HTTP port, runs that end by themselves."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.commands import EXAMPLES, Shell

PATIENCE = 120.0
SLOW = {
    "nodes": [
        {"id": "start", "type": "trigger"},
        {"id": "hold", "type": "delay", "config": {"seconds": 3600}},
        {"id": "slow", "type": "probe_slow"},
    ],
    "edges": [{"from": "start", "to": "slow"}, {"from": "slow", "to": "hold"}],
}
HANDLERS = """
import time
from dray.actors.registry import handler

@handler("probe_slow")
def slow(config, ctx):
    while not ctx.cancelled():
        time.sleep(0.05)
    return {}
"""


def until(found: Callable[[], Any]) -> Any:
    limit = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < limit
        time.sleep(0.1)
    return value


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def a_shell(folder: Path, database: str, **environ: str) -> Shell:
    shell = Shell(folder, DRAY_DATABASE_URL=database, DRAY_HEALTH_FILE=str(folder / "health.json"), **environ)
    assert shell("migrate").code == 0
    return shell


def test_health_tells_a_driver_from_none_and_a_frozen_one(tmp_path: Path, postgres: str) -> None:
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="health")
    gone = shell("health")
    assert (gone.code, gone.out) == (1, "gone: no driver runs here\n")
    with shell.running("worker", "--executor", "local") as worker:
        worker.wait_for("Workflow worker started")
        assert until(lambda: shell("health", "--ready").code == 0)
        assert shell("health").out == "alive: nothing to do\n"
        assert shell("health", "--live").code == 0
        assert postgres not in (tmp_path / "health.json").read_text()
        os.kill(worker.process.pid, signal.SIGSTOP)
        assert until(lambda: shell("health", "--live").code == 1)
        assert shell("health", "--live", "--json").out.startswith('{"state": "gone"')
        os.kill(worker.process.pid, signal.SIGCONT)
        assert until(lambda: shell("health", "--live").code == 0)
        worker.stop(signal.SIGTERM)
    assert shell("health").code == 1


def test_runners_name_what_they_run(tmp_path: Path, postgres: str) -> None:
    (tmp_path / "probe_slow.py").write_text(HANDLERS)
    (tmp_path / "slow.json").write_text(json.dumps({"name": "slow", **SLOW}))
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="runners", DRAY_HANDLERS="probe_slow")
    assert "no driver runs here" in shell("runners").line
    assert shell("workflow", "apply", "slow.json").code == 0
    with shell.running("worker", "--executor", "local") as worker:
        worker.wait_for("Workflow worker started")
        execution = shell("submit", "slow", "--queue", "runners").out.strip()
        (runner,) = until(lambda: [each for each in shell("runners", "--json").json if each["doing"]])
        assert runner["doing"][0].items() >= {"execution": execution, "node": "slow", "attempt": 1}.items()
        assert (runner["state"], runner["nodes"]) == ("ready", 1)
        assert runner["pid"] == worker.process.pid  # the local executor's runners are threads
        assert shell("health").out.startswith("progressing: executions 1, nodes 1")
        assert shell("executions", "cancel", execution).code == 0
        assert until(lambda: not [each for each in shell("runners", "--json").json if each["doing"]])


def test_the_http_port_answers_and_counts(tmp_path: Path, postgres: str) -> None:
    port = free_port()
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="http", DRAY_HTTP_PORT=str(port))
    assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
    with shell.running("worker", "--executor", "local") as worker:
        worker.wait_for("Workflow worker started")
        assert until(lambda: asked(port, "/readyz")[0] == 200)
        assert asked(port, "/livez")[0] == 200
        assert asked(port, "/")[0] == 404
        assert shell("submit", "hello", "--queue", "http", "--wait").code == 0

        def finished() -> bool:
            return 'dray_executions_finished_total{outcome="completed"} 1.0' in asked(port, "/metrics")[1]

        assert until(finished)
        text = asked(port, "/metrics")[1]
        for name in ("process_resident_memory_bytes", "dray_lease_age_seconds", "dray_commit_seconds_count"):
            assert name in text
        assert postgres not in text
        again = shell("worker", "--executor", "local", DRAY_HEALTH_FILE=str(tmp_path / "other.json"))
        assert again.code == 6
        assert f"cannot open the HTTP port 127.0.0.1:{port}" in again.err
        worker.stop(signal.SIGTERM)


def test_a_drain_run_does_what_is_due_and_ends(tmp_path: Path, postgres: str) -> None:
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="cron")
    assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
    due = [shell("submit", "hello", "--queue", "cron").out.strip() for _ in range(3)]
    later = shell("submit", "hello", "--queue", "cron", "--run-at", "2100-01-01").out.strip()
    done = shell("worker", "--executor", "local", "--drain", "--max-runtime", "14m")
    assert done.code == 0, done.err
    assert "nothing is left to do" in done.err
    assert [shell("executions", "show", each, "--json").json["status"] for each in due] == ["completed"] * 3
    assert shell("executions", "show", later, "--json").json["status"] == "waiting"
    assert shell("worker", "--executor", "local", "--drain").code == 0


def test_a_run_whose_time_is_over_gives_back_what_runs(tmp_path: Path, postgres: str) -> None:
    (tmp_path / "probe_slow.py").write_text(HANDLERS)
    (tmp_path / "slow.json").write_text(json.dumps({"name": "slow", **SLOW}))
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="bounded", DRAY_HANDLERS="probe_slow", DRAY_DRAIN_TIMEOUT="1")
    assert shell("workflow", "apply", "slow.json").code == 0
    execution = shell("submit", "slow", "--queue", "bounded").out.strip()
    done = shell("worker", "--executor", "local", "--drain", "--max-runtime", "10s")
    assert (done.code, "the time of this run is over" in done.err) == (0, True), done.err
    assert shell("executions", "show", execution, "--json").json["status"] == "queued"
    assert shell("executions", "cancel", execution).code == 0
    refused = shell("worker", "--max-runtime", "5s")
    assert (refused.code, "DRAY_DRAIN_TIMEOUT" in refused.line) == (2, True)
