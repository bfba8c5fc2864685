"""What the KubeRay operator refuses although the schema allows it (its utils/validation.go)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_OF_RESOURCES = {"num-cpus", "num-gpus", "memory", "resources"}
_REDIS = {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"}


def refusals(cluster: dict[str, Any]) -> list[str]:
    spec = cluster["spec"]
    return [
        *_of_cluster(cluster),
        *_of_authentication(spec),
        *_of_autoscaler(spec),
        *_of_redis(spec),
        *_of_groups(spec),
    ]


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"groupName": "head", **spec["headGroupSpec"]}, *spec.get("workerGroupSpecs", ())]


def environment(group: dict[str, Any]) -> set[str]:
    return {
        each["name"] for container in group["template"]["spec"]["containers"][:1] for each in container.get("env", ())
    }


def _version(spec: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, spec["rayVersion"].split(".")))


def _of_cluster(cluster: dict[str, Any]) -> Iterator[str]:
    name = cluster["metadata"]["name"]
    if not _DNS_1035.fullmatch(name) or len(name) > 53:
        yield f"{name!r} is no name of a RayCluster"
    if cluster["spec"].get("upgradeStrategy", {}).get("type", "None") not in ("Recreate", "None"):
        yield "upgradeStrategy.type is Recreate or None"
    for behind_gate in ("networkPolicy", "tlsOptions", "historyServerOptions"):
        if behind_gate in cluster["spec"]:
            yield f"{behind_gate} needs a feature gate that is off"


def _of_authentication(spec: dict[str, Any]) -> Iterator[str]:
    options = spec.get("authOptions", {})
    if options.get("mode") != "token":
        yield "without authOptions.mode token everybody who reaches the cluster runs code on it"
    if _version(spec) < (2, 52):
        yield "a token needs Ray 2.52"
    if options.get("enableK8sTokenAuth") and "secretName" in options:
        yield "enableK8sTokenAuth and secretName exclude each other"


def _of_autoscaler(spec: dict[str, Any]) -> Iterator[str]:
    on, options = spec.get("enableInTreeAutoscaling", False), spec.get("autoscalerOptions", {})
    for group in groups(spec):
        name = group["groupName"]
        if on and options.get("version") == "v2" and group["template"]["spec"].get("restartPolicy") != "Never":
            yield f"{name}: autoscaler v2 needs restartPolicy Never"
        if "RAY_enable_autoscaler_v2" in environment(group) and (not on or "version" in options):
            yield f"{name}: RAY_enable_autoscaler_v2 is the operator's to set"
        if on and group.get("suspend"):
            yield f"{name}: a group is not suspended while there is an autoscaler"
    if options and not on:
        yield "autoscalerOptions without enableInTreeAutoscaling"


def _of_redis(spec: dict[str, Any]) -> Iterator[str]:
    kept = "gcsFaultToleranceOptions" in spec
    head = spec["headGroupSpec"]
    if kept and (_REDIS & environment(head) or "redis-password" in head.get("rayStartParams", {})):
        yield "Redis is told in gcsFaultToleranceOptions only"
    if not kept and "RAY_REDIS_ADDRESS" in environment(head):
        yield "RAY_REDIS_ADDRESS without gcsFaultToleranceOptions"


def _of_groups(spec: dict[str, Any]) -> Iterator[str]:
    names = [group["groupName"] for group in groups(spec)]
    if len(names) != len(set(names)):
        yield "two groups have one name"
    for group in groups(spec):
        name, params = group["groupName"], group.get("rayStartParams", {})
        if not _DNS_1035.fullmatch(name):
            yield f"{name!r} is no name of a group"
        if not group["template"]["spec"].get("containers"):
            yield f"{name}: no container"
        if "labels" in params:
            yield f"{name}: labels are not told in rayStartParams"
        for twice in _OF_RESOURCES & params.keys() if group.get("resources") else ():
            yield f"{name}: {twice} both in rayStartParams and in resources"
    for group in spec.get("workerGroupSpecs", ()):
        least, most = group.get("minReplicas"), group.get("maxReplicas")
        if least is None or most is None or not 0 <= least <= group.get("replicas", least) <= most:
            yield f"{group['groupName']}: 0 <= minReplicas <= replicas <= maxReplicas"
