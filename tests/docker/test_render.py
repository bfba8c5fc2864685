"""The blueprints for Render against what Render publishes of its rules."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from dray.cluster.cli.main import app
from dray.cluster.settings import PLATFORM_NAMES, Settings
from tests.docker.render_schema import BLUEPRINT

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "docker" / "render.yaml", ROOT / "docker" / "render-dashboard.yaml"]
# The others that are read: cluster/ray_bootstrap.py, and Render itself.
NAMES = {*PLATFORM_NAMES.values(), "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "PORT"}


def problems(blueprint: Any) -> list[str]:
    found = [error.message for error in jsonschema.Draft202012Validator(BLUEPRINT).iter_errors(blueprint)]
    for each in blueprint["services"] if not found else ():
        found += list(_rules(each))
    return found


def _rules(service: Any) -> Any:
    """What Render's schema does not say, but its documentation and its dashboard do."""
    name, plan = service["name"], service.get("plan", "starter")
    if service["type"] in ("worker", "pserv") and plan == "free":
        yield f"{name}: there is no free {service['type']}"
    if service["type"] == "worker" and "healthCheckPath" in service:
        yield f"{name}: nothing asks a worker over HTTP"
    if "maxShutdownDelaySeconds" in service and (plan == "free" or "disk" in service):
        yield f"{name}: maxShutdownDelaySeconds is refused with the free plan and with a disk"
    if "disk" in service and (service.get("numInstances", 1) > 1 or "scaling" in service):
        yield f"{name}: a disk allows one instance"
    if "scaling" in service and not service["scaling"].keys() & {"targetCPUPercent", "targetMemoryPercent"}:
        yield f"{name}: scaling needs a target"
    keys = [each["key"] for each in service.get("envVars", ()) if "key" in each]
    yield from (f"{name}: {key} stands twice" for key in {key for key in keys if keys.count(key) > 1})


def snippets() -> list[Any]:
    text = (ROOT / "docs" / "deploy" / "render.md").read_text()
    return [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_blueprint_is_valid(path: Path) -> None:
    assert problems(yaml.safe_load(path.read_text())) == []


def test_what_the_page_shows_fits_into_the_blueprint() -> None:
    service = yaml.safe_load(FILES[0].read_text())["services"][0]
    shown = snippets()
    assert shown
    for each in shown:
        changed = {**service, **{name: value for name, value in each.items() if name != "databases"}}
        if "scaling" in each:
            changed.pop("numInstances")
        blueprint = {"services": [changed], **{name: value for name, value in each.items() if name == "databases"}}
        assert problems(blueprint) == [], each


def misspell(service: dict[str, Any]) -> None:
    service["maxShutdownDelaySecond"] = service.pop("maxShutdownDelaySeconds")


MISTAKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field": misspell,
    "a type": lambda service: service.update(type="background"),
    "a plan": lambda service: service.update(plan="tiny"),
    "the free plan": lambda service: service.update(plan="free"),
    "too long a shutdown": lambda service: service.update(maxShutdownDelaySeconds=301),
    "a disk": lambda service: service.update(disk={"name": "d", "mountPath": "/d"}),
    "scaling without a target": lambda service: service.update(scaling={"minInstances": 1, "maxInstances": 3}),
    "a variable's field": lambda service: service["envVars"].append({"key": "X", "synch": False}),
    "a variable twice": lambda service: service["envVars"].append({"key": "ENVIRONMENT", "value": "x"}),
    "no runtime": lambda service: service.pop("runtime"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    blueprint = copy.deepcopy(yaml.safe_load(FILES[0].read_text()))
    MISTAKES[mistake](blueprint["services"][0])
    assert problems(blueprint) != []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_is_in_it_and_every_name_is_read(path: Path) -> None:
    (service,) = yaml.safe_load(path.read_text())["services"]
    variables = {each["key"]: each for each in service["envVars"]}
    assert variables["DRAY_DATABASE_URL"] == {"key": "DRAY_DATABASE_URL", "sync": False}
    ours = {"DRAY_" + name.upper() for name in Settings.model_fields}
    assert sorted(variables.keys() - ours - NAMES) == []
    if "RAY_AUTH_TOKEN" in variables:
        assert variables["RAY_AUTH_TOKEN"] == {"key": "RAY_AUTH_TOKEN", "generateValue": True}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_there_is_time_to_drain(path: Path) -> None:
    (service,) = yaml.safe_load(path.read_text())["services"]
    assert service["maxShutdownDelaySeconds"] >= Settings.model_fields["drain_timeout"].default + 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_exist(path: Path) -> None:
    (service,) = yaml.safe_load(path.read_text())["services"]
    known = typer.main.get_command(app).commands
    for command in (service["dockerCommand"], service["preDeployCommand"]):
        called = re.findall(r"\bdray ([a-z]+)", command)
        assert called
        for each in called:
            if each == "single" and "single" not in known:
                pytest.skip("this version has no `dray single`")
            assert each in known
        assert shlex.split(command)
