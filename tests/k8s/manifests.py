"""Renders k8s/ with the real kubectl, and says of an object everything that is wrong with it.

Core objects: kubernetes-validate, strict. RayCluster: the operator's CRD, closed to unknown keys, from ../shared.
Objects of the Prometheus operator and KEDA: the keys that our manifests use, written down here.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ["base", *sorted(f"overlays/{each.name}" for each in (K8S / "overlays").iterdir())]
ON_KUBERAY = [name for name in OVERLAYS if name not in ("overlays/plain", "overlays/keda")]
_VERSION = "1.32"


@functools.cache
def _crd_file() -> Path | None:
    for parent in ROOT.parents:
        if (found := parent / "shared/kuberay/ray.io_rayclusters.yaml").is_file():
            return found
    return None


@functools.cache
def render(name: str) -> tuple[dict[str, Any], ...]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here, which renders the manifests")
    done = subprocess.run([kubectl, "kustomize", str(K8S / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(name: str, kind: str, called: str | None = None) -> dict[str, Any]:
    [found] = [each for each in render(name) if each["kind"] == kind and called in (None, each["metadata"]["name"])]
    return found


@functools.cache
def ray_schema() -> dict[str, Any]:
    found = _crd_file()
    if found is None:
        pytest.skip("the definition of a RayCluster, ../shared/kuberay/ray.io_rayclusters.yaml, is not here")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(found.read_text(), loader)
    [schema] = [v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == "v1"]
    # The definition leaves metadata open, where a pod's labels and annotations are.
    of_pod = {key: {"type": "object", "additionalProperties": {"type": "string"}} for key in ("labels", "annotations")}
    name = {"type": "string"}
    schema["properties"]["metadata"] = {"type": "object", "properties": {**of_pod, "name": name, "namespace": name}}
    _close(schema)
    return dict(schema)


def _close(schema: Any) -> None:
    """Refuse unknown keys wherever the keys are named, and let int-or-string be either."""
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    if not isinstance(schema, dict):
        return
    if schema.get("x-kubernetes-int-or-string") is True:
        schema.pop("type", None)
        schema.pop("pattern", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for each in schema.values():
        _close(each)


def _keys(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_TIME = {"type": "string", "pattern": r"^\d+(s|m|h)$"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _object(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _keys({"name": _TEXT}, {"namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS})
    return _keys({"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata, "spec": spec})


_RELABEL = _keys({"targetLabel": _TEXT}, {"sourceLabels": _list(_TEXT), "replacement": _TEXT})
_ENDPOINT = _keys({"port": _TEXT, "interval": _TIME}, {"path": _TEXT, "relabelings": _list(_RELABEL)})
_ALERT = _keys({"alert": _TEXT, "expr": _TEXT, "labels": _TEXTS, "annotations": _TEXTS}, {"for": _TIME})
_RULE = {"if": {"required": ["record"]}, "then": _keys({"record": _TEXT, "expr": _TEXT}), "else": _ALERT}
_TRIGGER = _keys({"type": _TEXT, "metadata": _TEXTS, "authenticationRef": _keys({"name": _TEXT})})
OTHERS = {
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        _keys({"selector": _keys({"matchLabels": _TEXTS}), "podMetricsEndpoints": _list(_ENDPOINT)})
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        _keys({"groups": _list(_keys({"name": _TEXT, "rules": _list(_RULE)}))})
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _object(
        _keys({"secretTargetRef": _list(_keys({"parameter": _TEXT, "name": _TEXT, "key": _TEXT}))})
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        _keys(
            {
                "scaleTargetRef": _keys({"name": _TEXT}),
                "minReplicaCount": _COUNT,
                "maxReplicaCount": _COUNT,
                "pollingInterval": _COUNT,
                "cooldownPeriod": _COUNT,
                "triggers": _list(_TRIGGER),
            }
        )
    ),
}


@functools.cache
def _ray_validator() -> Any:
    return jsonschema.Draft202012Validator(ray_schema())


def problems(manifest: dict[str, Any]) -> list[str]:
    """What its schema says against it; nothing if it is right."""
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind == ("ray.io/v1", "RayCluster"):
        return [error.message for error in _ray_validator().iter_errors(manifest)]
    if kind in OTHERS:
        return [error.message for error in jsonschema.Draft202012Validator(OTHERS[kind]).iter_errors(manifest)]
    if not {"apiVersion", "kind", "metadata"} <= manifest.keys():
        return ["no apiVersion, kind or metadata"]
    try:
        kubernetes_validate.validate(manifest, _VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error.message)]
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
        return [str(error)]
    return []
