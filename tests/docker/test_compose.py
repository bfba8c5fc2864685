"""docker/compose.yaml: valid for the Compose that is here, and brought up, scaled and hurt where there is an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dray.cluster.settings import Settings
from tests.docker import engine

FILE = engine.ROOT / "docker" / "compose.yaml"
SECRETS = {"POSTGRES_PASSWORD": "a:b@c/d%e", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
EXECUTIONS = 40
GRAPH = {
    "nodes": [
        {"id": "start", "type": "trigger"},
        {"id": "each", "type": "code", "config": {"code": "import time\ntime.sleep(5)"}},
    ],
    "edges": [{"from": "start", "to": "each"}],
}


def read() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


class Project:
    """`docker compose` on the file, as a project of its own."""

    def __init__(self, *profiles: str, **environ: str) -> None:
        self.name = f"dray-test-{os.getpid()}"
        self.environ = {**SECRETS, "COMPOSE_PROFILES": ",".join(profiles), "DASHBOARD_PORT": "0", **environ}

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        command = (*engine.compose(), "-p", self.name, "-f", str(FILE), *arguments)
        return engine.call(*command, environ=self.environ, given=given)

    def containers(self, service: str) -> list[str]:
        """Those that run."""
        found = self("ps", "-q", service).split()
        return [each for each in found if engine.inspect(each)["State"]["Running"]]


def test_the_file_is_valid() -> None:
    project = Project("pgbouncer", "monitoring")
    services = set(project("config", "--services").split())
    rest = {"pgbouncer", "prometheus", "ray-dashboard", "grafana"}
    assert services == {"postgres", "migrate", "head", "driver", "worker", *rest}


@pytest.mark.parametrize("name", SECRETS)
def test_without_its_secrets_nothing_starts(name: str) -> None:
    command = (*engine.compose(), "-f", str(FILE), "config", "-q")
    rest = {each: value for each, value in SECRETS.items() if each != name}
    done = subprocess.run(command, env={**os.environ, **rest}, capture_output=True, text=True, cwd="/")
    assert done.returncode != 0
    assert name in done.stderr


def test_a_typing_error_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(FILE.read_text().replace("stop_grace_period", "stop_grace_perid"))
    command = (*engine.compose(), "-f", str(path), "config", "-q")
    assert subprocess.run(command, env={**os.environ, **SECRETS}, capture_output=True).returncode != 0


def test_only_the_driver_and_the_migration_know_the_password() -> None:
    services = read()["services"]
    told = {name for name, each in services.items() if "POSTGRES_PASSWORD" in each.get("environment", {})}
    assert told == {"postgres", "migrate", "driver", "pgbouncer"}


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for each in read()["services"].values() for port in each.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_setting_that_is_named_exists() -> None:
    text = FILE.read_text() + (FILE.parent / "compose.env.example").read_text()
    names = {name.lower() for name in re.findall(r"\bDRAY_([A-Z_]+)", text)} - {"image"}
    assert names
    assert sorted(names - Settings.model_fields.keys()) == []


def test_every_file_that_is_mounted_is_there() -> None:
    mounts = [each for service in read()["services"].values() for each in service.get("volumes", [])]
    paths = [FILE.parent / each.split(":")[0] for each in mounts if each.startswith(".")]
    assert paths
    missing = [path for path in paths if not path.is_file()]
    assert missing == []


def test_prometheus_can_read_its_configuration() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: apt install prometheus")
    done = subprocess.run(
        ["promtool", "check", "config", str(FILE.parent / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_driver_has_time_to_drain() -> None:
    grace = read()["services"]["driver"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) >= Settings.model_fields["drain_timeout"].default + 15


@pytest.fixture(scope="module")
def up() -> Iterator[Project]:
    engine.need_engine()
    postgres = engine.image("POSTGRES_IMAGE", engine.STAND_IN_POSTGRES)
    project = Project(DRAY_IMAGE=engine.dray_image(), POSTGRES_IMAGE=postgres, WORKER_CPUS="1", DRAY_RUNNERS="3")
    try:
        project("up", "-d", "--scale", "worker=1")
        engine.until(lambda: "Workflow worker started" in project("logs", "--no-color", "driver"))
        yield project
    finally:
        if os.environ.get("KEEP_LOGS"):
            print(project("logs", "--no-color", "--tail", "60"))  # noqa: T201
        project("down", "-v", "--timeout", "30")


def statuses(project: Project) -> dict[str, int]:
    rows = sql(project, "SELECT status || ' ' || count(*) FROM dray.execution GROUP BY status")
    return {name: int(count) for name, count in zip(rows[::2], rows[1::2], strict=True)}


@pytest.mark.docker
def test_it_runs_grows_loses_a_node_and_finishes_everything(up: Project) -> None:
    up("exec", "-T", "driver", "dray", "workflow", "apply", "-", "--name", "w", given=json.dumps(GRAPH))
    first = up("exec", "-T", "driver", "dray", "submit", "w", "--wait")
    assert json.loads(first)["exit_code"] == 0
    up("up", "-d", "--no-recreate", "--scale", "worker=3")
    engine.until(lambda: len(living(up)) == 3)
    sql(up, f"SELECT count(dray.submit('w')) FROM generate_series(1, {EXECUTIONS})")
    engine.until(lambda: statuses(up).get("running", 0) > 0)
    victim = up.containers("worker")[0]
    lost = living(up) & {engine.inspect(victim)["Config"]["Hostname"]}
    assert lost
    engine.call("docker", "kill", victim)
    engine.until(lambda: statuses(up) == {"completed": EXECUTIONS + 1})
    engine.until(lambda: not lost & living(up))
    assert sql(up, "SELECT count(*) FROM dray.checkpoint WHERE kind = 'c' AND node_key = 'each'") == [
        str(EXECUTIONS + 1)
    ]


def living(project: Project) -> set[str]:
    """The hosts on which a runner lives."""
    return set(sql(project, "SELECT DISTINCT host FROM dray.runner WHERE ended_at IS NULL"))


def sql(project: Project, statement: str) -> list[str]:
    return project("exec", "-T", "postgres", "psql", "-U", "dray", "-d", "dray", "-Atc", statement).split()


@pytest.mark.docker
def test_the_dashboard_is_on_loopback_and_asks_for_the_token(up: Project) -> None:
    (head,) = up.containers("head")
    (binding,) = engine.inspect(head)["NetworkSettings"]["Ports"]["8265/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    url = f"http://127.0.0.1:{binding['HostPort']}/api/jobs/"
    assert _http(url) in (401, 403)
    assert _http(url, SECRETS["RAY_AUTH_TOKEN"]) == 200


def _http(url: str, token: str | None = None) -> int:
    import httpx

    return httpx.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=60).status_code


@pytest.mark.docker
def test_prometheus_would_read_the_runners_numbers_from_every_ray_node(up: Project) -> None:
    config = yaml.safe_load((FILE.parent / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = [each["dns_sd_configs"][0] for each in config if each["job_name"] == "ray"]

    def read(name: str) -> str:
        script = (
            f"import urllib.request as r; print(r.urlopen('http://{name}:{found['port']}/metrics').read().decode())"
        )
        return up("exec", "-T", "driver", "python", "-c", script)

    assert all("ray_node_mem_total" in read(name) for name in found["names"])
    engine.until(lambda: "ray_dray_runner_nodes_running" in read("worker"))


@pytest.mark.docker
def test_rays_own_dashboard_is_in_the_volume_that_grafana_reads(up: Project) -> None:
    up("run", "--rm", "ray-dashboard")
    found = up("run", "--rm", "-u", "1000:1000", "ray-dashboard", "cat", "/dashboards/ray.json")
    assert json.loads(found[found.index("{") :])["uid"] == "rayDefaultDashboard"


@pytest.mark.docker
def test_no_ray_process_is_told_the_password(up: Project) -> None:
    for service in ("head", "worker", "driver"):
        for container in up.containers(service):
            seen = engine.call(
                "docker", "exec", "-u", "0", container, "sh", "-c",
                "for each in /proc/[0-9]*; do grep -qz ^POSTGRES_PASSWORD= $each/environ 2>/dev/null "
                "&& tr '\\0' ' ' < $each/cmdline && echo; done; true",
            )  # fmt: skip
            allowed = "dray worker" if service == "driver" else "\n"
            assert [line for line in seen.splitlines() if allowed not in line] == [], service


@pytest.mark.docker
def test_stopped_it_drains(up: Project) -> None:
    (driver,) = up.containers("driver")
    up("stop", "driver")
    assert "Workflow worker stopped" in engine.logs(driver)
    assert engine.inspect(driver)["State"]["ExitCode"] == 0


@pytest.mark.docker
def test_it_runs_behind_pgbouncer(up: Project) -> None:
    given = {"POSTGRES_SERVER": "pgbouncer", "POSTGRES_PORT": "6543", "PGBOUNCER_IMAGE": engine.pgbouncer_image()}
    pooled = Project("pgbouncer", **{**up.environ, **given, "COMPOSE_PROFILES": "pgbouncer"})
    before = len(sql(up, "SELECT id FROM dray.driver"))
    pooled("up", "-d", "--scale", "worker=2")
    engine.until(lambda: len(sql(up, "SELECT id FROM dray.driver")) > before)
    (driver,) = pooled.containers("driver")
    engine.until(lambda: "Workflow worker started" in engine.logs(driver))
    assert "pgbouncer:6543" in engine.logs(driver)
    pooled("exec", "-T", "driver", "dray", "submit", "w", "--wait")
    pooled("rm", "-sf", "pgbouncer")
