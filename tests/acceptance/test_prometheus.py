"""docker/monitoring/: rules that fire, a dashboard whose numbers exist, a real Prometheus on a real driver."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.commands import EXAMPLES, ROOT, Running
from tests.acceptance.test_monitoring import a_shell, free_port, until

FOLDER = ROOT / "docker" / "monitoring"
METRIC = re.compile(r"\b(?:dray|process)_[a-z_]+\b")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus: apt-get install it")


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"][0]["rules"]
    return found


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return found


def expressions(name: str = "dashboard.json") -> list[str]:
    return [target["expr"] for each in dashboard(name)["panels"] for target in each["targets"]]


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_else() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=FOLDER, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test.get("alert_rule_test", ()) if each.get("exp_alerts")}
    assert fired == {each["alert"] for each in rules() if "alert" in each}
    made = {each["expr"] for test in tests for each in test.get("promql_expr_test", ())}
    assert made == {each["record"] for each in rules() if "record" in each}


@pytest.mark.parametrize("name", ["dashboard.json", "runners.json"])
def test_the_panels_lie_side_by_side(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    cells = [(p["gridPos"]["x"] + x, p["gridPos"]["y"] + y) for p in panels
             for x in range(p["gridPos"]["w"]) for y in range(p["gridPos"]["h"])]  # fmt: skip
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def ask(port: int, path: str, **given: str) -> Any:
    query = urllib.parse.urlencode(given)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


@needs_prometheus
def test_a_real_prometheus_finds_everything_that_rules_and_dashboard_name(tmp_path: Path, postgres: str) -> None:
    driver, server = free_port(), free_port()
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "rules.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{driver}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shell = a_shell(tmp_path, postgres, DRAY_QUEUES="prometheus", DRAY_HTTP_PORT=str(driver))
    assert shell("workflow", "apply", str(EXAMPLES / "hello.json")).code == 0
    command = [
        "prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{server}",
    ]  # fmt: skip
    prometheus = Running(command, tmp_path, shell.environ)
    try:
        with shell.running("worker", "--executor", "local") as worker:
            worker.wait_for("Workflow worker started")
            assert shell("submit", "hello", "--queue", "prometheus", "--wait").code == 0
            assert shell("submit", "hello", "--queue", "prometheus", "--run-at", "2100-01-01").code == 0
            asked = [each["expr"] for each in rules()] + expressions()
            wanted = {name for each in asked for name in METRIC.findall(each)}

            def missing() -> set[str]:
                return wanted - set(ask(server, "label/__name__/values") or ())

            try:
                until(lambda: not missing())
            except AssertionError:
                pytest.fail(f"no such metrics: {sorted(missing())}")
            for each in asked:
                found = ask(server, "query", query=each.replace("$__rate_interval", "1m"))
                assert found is not None, each
            health = until(lambda: [each["health"] for each in ask(server, "rules")["groups"][0]["rules"]])
            assert until(lambda: {each["health"] for each in ask(server, "rules")["groups"][0]["rules"]} == {"ok"})
            assert len(health) == len(rules())
            worker.stop(signal.SIGTERM)
        assert until(lambda: ask(server, "query", query='up{job="dray"} == 0')["result"])
    finally:
        prometheus.end()
