"""What runs for long: `dray dev` and `dray worker`, how they start, share a folder, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from dray.store.embedded import EmbeddedPostgres
from tests.acceptance.commands import EXAMPLES, SECONDS, Running, Shell, alive

WORDS = {"version", "database", "executor", "concurrency", "runners", "incarnation"}


def test_a_second_dev_on_the_folder_says_so_and_exits(dev: tuple[Shell, Running]) -> None:
    shell, running = dev
    done = shell("dev", "--executor", "local")
    assert (done.code, done.out) == (6, "")
    assert f"is in use by process {running.process.pid}" in done.line
    assert running.process.poll() is None


def test_dev_tells_its_database_and_others_find_it(dev: tuple[Shell, Running], tmp_path: Path) -> None:
    shell, running = dev
    url = running.wait_for("database   ").removeprefix("database   ")
    assert Shell(tmp_path)("status", "--json", DRAY_DATABASE_URL=url).code == 0
    assert shell("status", "--json").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_dev_ends_with_everything_that_it_started(tmp_path: Path, number: int) -> None:
    shell = Shell(tmp_path)
    with shell.running("dev", "--executor", "local") as running:
        running.wait_for("Workflow worker started")
        started = running.descendants()
        assert len(started) > 3  # Postgres has several
        running.stop(number)
    assert alive(started) == []
    assert "no database" in shell("status").line


def test_dev_that_was_killed_is_taken_over_by_the_next_and_loses_nothing(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with shell.running("dev", "--executor", "local") as first:
        first.wait_for("Workflow worker started")
        assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
        execution = shell("submit", "hello", "--input", '{"name": "Ada"}', "--run-at", "2100-01-01").out.strip()
        first.process.kill()
        first.process.wait()
    with shell.running("dev", "--executor", "local") as second:
        second.wait_for("Workflow worker started")
        assert shell("executions", "show", execution, "--json").json["status"] == "waiting"
        assert shell("submit", "hello", "--wait").code == 0
        started = second.descendants()
        second.stop()
    assert alive(started) == []


def test_workers_share_a_database_that_was_migrated(tmp_path: Path, postgres: str) -> None:
    shell = Shell(tmp_path, DRAY_DATABASE_URL=postgres)
    assert [shell("migrate").code for _ in range(2)] == [0, 0]
    arguments = ["worker", "--executor", "local", "--concurrency", "7"]
    with shell.running(*arguments) as one, shell.running(*arguments) as two:
        line = json.loads(one.wait_for("Workflow worker started"))
        two.wait_for("Workflow worker started")
        assert line.keys() >= WORDS
        assert (line["executor"], line["concurrency"]) == ("local", 7)
        assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
        assert shell("submit", "hello", "--wait").code == 0
        assert len(shell("status", "--json").json["drivers"]) == 2
        one.stop(signal.SIGTERM)
        assert shell("submit", "hello", "--wait").code == 0
        two.stop(signal.SIGINT)
    assert shell("status", "--json").json["drivers"] == []


def test_a_worker_waits_for_a_database_that_is_away_and_goes_on(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "server")
    shell = Shell(tmp_path, DRAY_DATABASE_URL=server.start())
    assert shell("migrate").code == 0
    assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
    execution = shell("submit", "hello").out.strip()
    server.stop()
    try:
        with shell.running("worker", "--executor", "local") as running:
            running.wait_for("waiting for the database")
            server.start()
            running.wait_for("Workflow worker started")
            running.wait_for(execution)
            server.stop(immediate=True)
            seen = len(running.lines)
            running.wait_for("waiting for the database", after=seen)
            server.start()
            assert shell("submit", "hello", "--wait").code == 0
            assert shell("executions", "show", execution, "--json").json["status"] == "completed"
            running.stop(signal.SIGTERM)
    finally:
        server.stop()


def test_a_worker_that_waits_for_a_database_can_be_stopped(tmp_path: Path) -> None:
    nowhere = f"postgresql://u@/d?host={tmp_path}"
    with Shell(tmp_path, DRAY_DATABASE_URL=nowhere).running("worker", "--executor", "local") as running:
        running.wait_for("waiting for the database")
        running.stop(signal.SIGTERM)


@pytest.mark.ray
def test_everything_on_ray_with_a_node_type_of_the_users(tmp_path: Path) -> None:
    for name in ("shop_handlers.py", "price_list.json"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text())
    shell = Shell(tmp_path, DRAY_HANDLERS="shop_handlers", DRAY_RETRY_DELAY="0.05")
    with shell.running("dev") as running:
        running.wait_for("Workflow worker started")
        assert shell("workflow", "apply", "price_list.json").code == 0
        done = shell("submit", "price_list", "--input", '{"price": 100, "currency": "SEK"}', "--wait")
        assert done.json["result"] == {"price": 1120.0, "currency": "SEK"}
        done = shell("submit", "price_list", "--input", '{"price": 100, "currency": "XXX"}', "--wait", "--json")
        assert done.json["output"]["result"] == {"price": 100.0, "currency": "EUR"}
        attempts = shell("executions", "show", done.json["id"], "--json").json["attempts"]
        assert [each["kind"] for each in attempts if each["node_key"] == "convert"] == ["retried", "failed"]
        started = running.descendants()
        assert any(each["runner"] for each in attempts)
        running.stop()
    assert alive(started) == []


@pytest.mark.ray
@pytest.mark.chaos
def test_a_worker_whose_ray_node_is_gone_gives_everything_back_and_ends(tmp_path: Path, postgres: str) -> None:
    """Else it would wait for runners for ever, and hold its executions with a lease that lives."""
    shell = Shell(tmp_path, DRAY_DATABASE_URL=postgres, DRAY_DRAIN_TIMEOUT="3600")
    assert shell("migrate").code == 0
    node = {"id": "long", "type": "code", "config": {"language": "bash", "code": "sleep 30"}, "timeout": 3600}
    assert shell("workflow", "apply", "-", "--name", "long", given=json.dumps({"nodes": [node]})).code == 0
    soon = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "2"}
    with shell.running("worker", **soon) as running:
        running.wait_for("runner ready")
        execution = shell("submit", "long").out.strip()
        started = running.descendants()
        names = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in started}
        os.kill(names["raylet"], signal.SIGKILL)
        running.wait_for("dray: Ray is gone")
        assert running.process.wait(SECONDS) == 6
    assert names["gcs_server"] not in alive(started)
    assert shell("executions", "show", execution, "--json").json["status"] == "queued"
    assert shell("status", "--json").json["drivers"] == []


@pytest.mark.ray
@pytest.mark.chaos
def test_the_demo_proves_itself(tmp_path: Path) -> None:
    done = Shell(tmp_path)("demo", "--executions", "120")
    assert done.code == 0, done.out + done.err
    assert "All of it adds up" in done.out
    assert "NO" not in done.out.split()
    assert "SIGKILL to dray-" in done.out


@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    with Shell(tmp_path, TMPDIR=str(tmp_path)).running("demo", "--executions", "2000") as running:
        running.wait_for("executions, ")
        started = running.descendants()
        running.stop(number, code=130)
    assert alive(started) == []
    assert list(tmp_path.glob("dray-demo-*")) == []
