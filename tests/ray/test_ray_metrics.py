"""What a person finds of runners in a real Ray: numbers, names, log lines. A real Prometheus reads the numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_monitoring import free_port, until
from tests.acceptance.test_prometheus import dashboard, expressions
from tests.servers import http_server

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
ENDED = {
    ("ray.echo", "completed"): 20.0,
    ("ray.raises", "failed"): 3.0,
    ("ray.wait_a_minute", "waiting"): 2.0,
    ("unknown", "failed"): 3.0,
    ("ray.speaks", "completed"): 1.0,
    ("ray.threads", "completed"): 1.0,
    ("ray.sleeps", "completed"): 1.0,
}


@pytest.fixture(scope="module")
def ray_up() -> Iterator[dict[str, Any]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DRAY_"))}
    with http_server() as grafana:  # and a Prometheus: what Ray asks both is whether they are well
        grafana.default = (200, {"Content-Type": "application/json"}, {"database": "ok", "status": "success"})
        told = {name: value for name, value in of_the_head().items() if name.startswith(("RAY_GRAFANA", "RAY_PROM"))}
        told |= {"RAY_GRAFANA_HOST": grafana.url, "RAY_PROMETHEUS_HOST": grafana.url}
        told |= {"RAY_metrics_report_interval_ms": "1000", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray.metrics_scenario"], cwd=ROOT, env=kept | told,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.stderr.read()[-3000:])
        yield json.loads(line)
        process.communicate(timeout=60)


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    return found


def of_the_head() -> dict[str, str]:
    """What Compose tells Ray's head, as it is where nobody sets a variable."""
    found: dict[str, str] = compose()["head"]["environment"]
    return {name: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value) for name, value in found.items()}


def got(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def samples(ray_up: dict[str, Any], name: str) -> list[tuple[dict[str, str], float]]:
    families = text_string_to_metric_families(got(ray_up["metrics"]))
    return [(each.labels, each.value) for family in families for each in family.samples if each.name == name]


def test_runners_tell_what_ended_by_type_and_outcome_and_what_runs(ray_up: dict[str, Any]) -> None:
    def ended() -> dict[tuple[str, str], float]:
        found = samples(ray_up, "ray_dray_runner_nodes_total")
        return {(labels["type"], labels["outcome"]): value for labels, value in found}

    until(lambda: ended() == ENDED)
    [(labels, running)] = until(lambda: samples(ray_up, "ray_dray_runner_nodes_running"))
    assert (running, labels["pool"]) == (2.0, "0.5 CPU")
    assert labels["runner"] == ray_up["runners"][0]["name"]
    assert [value for _, value in samples(ray_up, "ray_dray_runner_nodes_waiting")] == [1.0]

    def timed() -> dict[str, float]:
        found = samples(ray_up, "ray_dray_runner_node_seconds_bucket_total")
        return {labels["type"]: value for labels, value in found if labels["le"] == "+Inf"}

    until(lambda: timed() == {name: value for (name, _), value in ENDED.items()})
    sums = until(lambda: samples(ray_up, "ray_dray_runner_node_seconds_sum_total"))
    assert {labels["type"]: value for labels, value in sums}["ray.sleeps"] >= 0.05


def test_no_label_of_a_runner_names_an_execution(ray_up: dict[str, Any]) -> None:
    until(lambda: samples(ray_up, "ray_dray_runner_nodes_total"))
    ours = [
        {name for name in each.labels if not name.startswith("otel_")}
        for family in text_string_to_metric_families(got(ray_up["metrics"]))
        for each in family.samples
        if each.name.startswith("ray_dray_")
    ]
    of_ray = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId"}
    assert set().union(*ours) - of_ray == {"runner", "pool", "type", "outcome", "le"}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus: apt-get install it")
def test_a_real_prometheus_finds_them_by_rays_own_list(ray_up: dict[str, Any], tmp_path: Path) -> None:
    server = free_port()
    listed = Path(ray_up["temp"]) / ray_up["session"] / "prom_metrics_service_discovery.json"
    until(listed.exists)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [{"job_name": "ray", "file_sd_configs": [{"files": [str(listed)]}]}],
            }
        )
    )
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{server}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as prometheus:
        try:

            def ask(expression: str) -> dict[str, float] | None:
                query = urllib.parse.urlencode({"query": expression})
                try:
                    answer = json.loads(got(f"http://127.0.0.1:{server}/api/v1/query?{query}"))
                except OSError:
                    return None
                return {each["metric"].get("type", ""): float(each["value"][1]) for each in answer["data"]["result"]}

            wanted = {name: count for (name, _), count in ENDED.items()}
            until(lambda: ask("sum by (type) (ray_dray_runner_nodes_total)") == wanted)
            until(lambda: ask("sum(ray_dray_runner_nodes_running)") == {"": 2.0})
            quantile = "histogram_quantile(0.5, sum by (le, type) (ray_dray_runner_node_seconds_bucket_total))"
            found = until(lambda: ask(quantile))
            assert found.keys() == wanted.keys()
            assert 0 < found["ray.echo"] <= 600
            for each in expressions("runners.json"):
                assert until(lambda each=each: ask(each.replace("$__rate_interval", "1m"))), f"says nothing: {each}"
        finally:
            prometheus.terminate()


def test_driver_and_runners_are_found_by_name(ray_up: dict[str, Any]) -> None:
    [actor] = ray_up["actors"]
    [runner] = ray_up["runners"]
    assert runner["name"] == "dray-0190a5b2-runner-1"
    assert (actor["name"], actor["repr_name"], actor["ray_namespace"]) == (runner["name"], runner["name"], "dray")
    assert (actor["pid"], actor["node_id"]) == (runner["pid"], runner["node_id"])
    [job] = ray_up["jobs"]
    assert job["metadata"]["job_name"] == f"dray driver on {socket.gethostname()}"
    assert int(job["pid"]) == ray_up["pid"]


def test_the_lines_of_a_node_are_in_the_file_of_its_runner(ray_up: dict[str, Any]) -> None:
    [runner] = ray_up["runners"]
    [file] = (Path(ray_up["temp"]) / ray_up["session"] / "logs").glob(f"worker-*-{runner['pid']}.err")
    lines = [each for each in file.read_text().splitlines() if "execution=e1" in each]
    assert any("a line of the node's own" in each and "node=n attempt=1" in each for each in lines)


def asked(ray_up: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(got(ray_up["dashboard"] + path, Authorization=f"Bearer {ray_up['token']}"))
    assert found["result"], found
    return found["data"]


def test_rays_dashboard_shows_ours_from_the_grafana_that_it_is_told(ray_up: dict[str, Any]) -> None:
    """The page builds <grafanaHost>/d/<uid>?var-datasource=<dashboardDatasource>; its second tab shows uids.data."""
    found = asked(ray_up, "/api/grafana_health")
    asked(ray_up, "/api/prometheus_health")
    assert found["grafanaHost"] == "http://127.0.0.1:3000"
    assert found["dashboardUids"]["data"] == dashboard("dashboard.json")["uid"]
    sources = yaml.safe_load((ROOT / "docker" / "grafana" / "datasource.yml").read_text())["datasources"]
    assert found["dashboardDatasource"] in [each["name"] for each in sources]
    for name in ("dashboard.json", "runners.json"):
        assert [each["name"] for each in dashboard(name)["templating"]["list"]] == ["datasource"]


def test_grafana_is_given_rays_own_dashboard(ray_up: dict[str, Any], tmp_path: Path) -> None:
    [python, *command] = compose()["ray-dashboard"]["command"]
    assert python == "python"
    command = [each.replace("/dashboards/", f"{tmp_path}/") for each in command]
    subprocess.run([sys.executable, *command], check=True, timeout=60, env={"PATH": os.environ["PATH"]})
    made = json.loads((tmp_path / "ray.json").read_text())
    assert made["uid"] == asked(ray_up, "/api/grafana_health")["dashboardUids"]["default"]
    assert f"/d/{made['uid']}" in [each["url"] for each in dashboard("dashboard.json")["links"]]
