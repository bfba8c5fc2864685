"""What no schema knows: the operator's own rules, and what the parts of a manifest promise each other."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
import yaml

from dray.cluster.cli.main import app
from dray.cluster.settings import PREFIX, Settings
from tests.k8s.manifests import K8S, ON_KUBERAY, OVERLAYS, one, render
from tests.k8s.operator_rules import groups, refusals

# After the running nodes: commits, giving back the rest, leaving Ray.
AFTER_DRAIN = 20
RAY_DRAIN = 30
Change = Callable[[dict[str, Any]], Any]


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in render(name):
        if manifest["kind"] == "RayCluster":
            for group in groups(manifest["spec"]):
                yield group["groupName"], group["template"]["spec"]
        elif manifest["kind"] in ("Deployment", "Job", "StatefulSet"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", ON_KUBERAY)
def test_the_operator_accepts_the_cluster(name: str) -> None:
    assert refusals(one(name, "RayCluster")) == []


def _redis_env(cluster: dict[str, Any]) -> None:
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"})


CHANGES: dict[str, Change] = {
    "a name that is none": lambda c: c["metadata"].update(name="Dray_1"),
    "a name too long": lambda c: c["metadata"].update(name="d" * 54),
    "no token": lambda c: c["spec"]["authOptions"].update(mode="Token"),
    "a Ray without tokens": lambda c: c["spec"].update(rayVersion="2.51.0"),
    "two kinds of token": lambda c: c["spec"]["authOptions"].update(enableK8sTokenAuth=True),
    "another upgrade strategy": lambda c: c["spec"]["upgradeStrategy"].update(type="RollingUpdate"),
    "a feature that is off": lambda c: c["spec"].update(networkPolicy={"mode": "DenyAll"}),
    "a restart in place": lambda c: c["spec"]["workerGroupSpecs"][0]["template"]["spec"].update(restartPolicy="Always"),
    "fewer than the least": lambda c: c["spec"]["workerGroupSpecs"][1].update(minReplicas=11),
    "no most": lambda c: c["spec"]["workerGroupSpecs"][1].pop("maxReplicas"),
    "one name twice": lambda c: c["spec"]["workerGroupSpecs"][1].update(groupName="driver"),
    "labels as parameters": lambda c: c["spec"]["headGroupSpec"]["rayStartParams"].update(labels="a=b"),
    "resources twice": lambda c: c["spec"]["headGroupSpec"].update(resources={"cpu": "1"}),
    "no container": lambda c: c["spec"]["workerGroupSpecs"][0]["template"]["spec"].update(containers=[]),
    "a suspended group": lambda c: c["spec"]["workerGroupSpecs"][0].update(suspend=True),
    "options of an autoscaler that is off": lambda c: c["spec"].update(enableInTreeAutoscaling=False),
    "Redis past the options": _redis_env,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_operator_refuses_is_seen(change: str) -> None:
    cluster = copy.deepcopy(one("overlays/autoscaling", "RayCluster"))
    assert refusals(cluster) == []
    CHANGES[change](cluster)
    assert refusals(cluster) != []


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_run_with_the_least_rights(name: str) -> None:
    for called, spec in pods(name):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, called
        assert security["runAsUser"] == (999 if called == "dray-redis" else 1000), called
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, called
        assert called == "head" or spec["automountServiceAccountToken"] is False, called
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, called
            mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            written = {each["name"] for each in spec["volumes"] if "emptyDir" in each}
            homes = [each["value"] for each in container.get("env", ()) if each["name"] == "HOME"]
            assert {mounted[path] for path in ["/tmp", *homes]} <= written, called
            assert set(mounted.values()) <= {each["name"] for each in spec["volumes"]} | {"data"}, called
            assert "lifecycle" not in container, f"{called}: a preStop would end Ray before it has drained"


@pytest.mark.parametrize("name", ON_KUBERAY)
def test_ray_nodes_have_whole_cpus_and_all_that_they_ask_for(name: str) -> None:
    for group in groups(one(name, "RayCluster")["spec"]):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        assert re.fullmatch(r"[1-9]\d*", str(resources["limits"]["cpu"])), group["groupName"]
        runs_handlers = group["groupName"] not in ("head", "driver")
        assert group["rayStartParams"].get("num-cpus") == (None if runs_handlers else "0")


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_is_given_the_time_to_drain(name: str) -> None:
    drain = float(one(name, "ConfigMap", "dray-settings")["data"]["DRAY_DRAIN_TIMEOUT"])
    for called, spec in pods(name):
        if called in ("driver", "dray-worker"):
            needed = drain + AFTER_DRAIN + (RAY_DRAIN if called == "driver" else 0)
        elif called in ("dray-migrate", "dray-redis"):
            continue
        else:
            needed = RAY_DRAIN + AFTER_DRAIN
        assert spec["terminationGracePeriodSeconds"] > needed, called


@pytest.mark.parametrize("name", ON_KUBERAY)
def test_only_the_driver_knows_the_database(name: str) -> None:
    for group in groups(one(name, "RayCluster")["spec"]):
        told = "dray-database" in yaml.safe_dump(group)
        assert told == (group["groupName"] == "driver")
    driver = one(name, "RayCluster")["spec"]["workerGroupSpecs"][0]
    assert driver["template"]["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
    assert driver["minReplicas"] == driver["replicas"] == driver["maxReplicas"] == 1


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_referred_to_is_there(name: str) -> None:
    made = {each["metadata"]["name"] for each in render(name)}
    example = yaml.safe_load_all((K8S / "common/secrets.example.yaml").read_text())
    keys = {each["metadata"]["name"]: set(each["stringData"]) for each in example}
    text = yaml.safe_dump_all(render(name))
    references = set(re.findall(r"(?:configMapRef|configMap):\s+name: (\S+)", text))
    references |= set(re.findall(r"serviceAccountName: (\S+)", text))
    assert references <= made
    secrets = set(re.findall(r"secretRef:\s+name: (\S+)|secretName: (\S+)", text))
    assert {left or right for left, right in secrets} <= set(keys)
    assert keys["dray-ray-token"] == {"auth_token"}
    assert not [each for each in render(name) if each["kind"] == "Secret"], "no secret is part of a manifest"
    assert {each["metadata"].get("namespace", "dray") for each in render(name)} == {"dray"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_settings_and_commands_are_those_of_dray(name: str) -> None:
    text = yaml.safe_dump_all(render(name))
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    said = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    assert said - known == set()
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for called, spec in pods(name):
        for container in spec["containers"]:
            if container.get("command", [""])[0] == "dray":
                assert container["command"][1] in commands, called


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_find_pods(name: str) -> None:
    found = []
    for manifest in render(name):
        if manifest["kind"] == "RayCluster":
            for group in groups(manifest["spec"]):
                labels = {"ray.io/cluster": manifest["metadata"]["name"], "ray.io/is-ray-node": "yes"}
                kind = "head" if group["groupName"] == "head" else "worker"
                of_group = "headgroup" if kind == "head" else group["groupName"]
                found.append(labels | {"ray.io/group": of_group, "ray.io/node-type": kind})
        elif manifest["kind"] in ("Deployment", "StatefulSet"):
            found.append(manifest["spec"]["template"]["metadata"]["labels"])
    wanted = []
    for manifest in render(name):
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("PodDisruptionBudget", "PodMonitor", "NetworkPolicy"):
            wanted.append((spec.get("selector") or spec["podSelector"])["matchLabels"])
    for _, pod in pods(name):
        wanted += [each["labelSelector"]["matchLabels"] for each in pod.get("topologySpreadConstraints", ())]
    assert wanted
    for labels in wanted:
        assert [each for each in found if labels.items() <= each.items()], labels


@pytest.mark.parametrize("name", ON_KUBERAY)
def test_the_ports_of_ray_are_closed_to_the_rest(name: str) -> None:
    policies = [each["spec"] for each in render(name) if each["kind"] == "NetworkPolicy"]
    ours = {"ray.io/cluster": "dray"}
    of_ray = [each for each in policies if each["podSelector"]["matchLabels"] == ours]
    assert of_ray
    for policy in of_ray:
        assert policy["policyTypes"] == ["Ingress"]
        for rule in policy["ingress"]:
            if rule["from"] != [{"podSelector": {"matchLabels": ours}}]:
                assert {each["port"] for each in rule["ports"]} <= {8080, 8081}


def test_the_image_is_set_in_one_place() -> None:
    for name in OVERLAYS:
        for called, spec in pods(name):
            images = {each["image"] for each in spec["containers"]}
            assert images == {"redis:7.4" if called == "dray-redis" else "dray:latest"}


def test_the_alerts_are_those_that_promtool_tests() -> None:
    tested = yaml.safe_load((K8S.parent / "docker" / "monitoring" / "rules.yml").read_text())
    found = one("overlays/monitoring", "PrometheusRule")["spec"]["groups"]
    assert found[0] == tested["groups"][0]
    pods = one("overlays/monitoring", "PodMonitor", "dray-driver")
    (endpoint,) = pods["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "dray"}], "the job that they name"


def test_plain_runners_leave_the_cpus_beside_a_gpu() -> None:
    cluster = one("overlays/gpu", "RayCluster")
    cpus = {
        group["groupName"]: group["replicas"]
        * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in cluster["spec"]["workerGroupSpecs"]
    }
    assert one("overlays/gpu", "ConfigMap", "dray-settings")["data"]["DRAY_RUNNERS"] == str(cpus["workers"])
    assert cpus["gpu"] > 0


def test_grafana_is_given_the_dashboards_and_rays_head_is_told_where_it_is() -> None:
    monitoring = K8S.parent / "docker" / "monitoring"
    found = one("overlays/monitoring", "ConfigMap", "dray-dashboards")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["data"] == {name: (monitoring / name).read_text() for name in ("dashboard.json", "runners.json")}
    head = one("overlays/monitoring", "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    compose = yaml.safe_load((K8S.parent / "docker" / "compose.yaml").read_text())["services"]["head"]["environment"]
    told = {each["name"]: each["value"] for each in head["env"]}
    names = {name for name in compose if name.startswith(("RAY_GRAFANA", "RAY_PROMETHEUS"))}
    assert names == {name for name in told if name.startswith(("RAY_GRAFANA", "RAY_PROMETHEUS"))}
    assert told["RAY_GRAFANA_DATA_DASHBOARD_UID"] == yaml.safe_load(found["data"]["dashboard.json"])["uid"]
