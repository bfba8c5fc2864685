"""Every object of every overlay fits its schema, and one wrong key anywhere is seen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s.manifests import OVERLAYS, problems, render

# Keys below these are of the one who writes them, so none can be a typo to a schema.
FREE = {
    *("labels", "annotations", "matchLabels", "data", "stringData", "rayStartParams", "nodeSelector", "requests"),
    "limits",
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every key that a schema must know."""
    if isinstance(value, dict):
        for key, each in value.items():
            if not (path and path[-1] in FREE):
                yield (*path, key)
            yield from paths(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from paths(each, (*path, index))


def misspelt(manifest: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    inside: Any = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[f"{path[-1]}x"] = inside.pop(path[-1])
    return changed


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_fits_its_schema(name: str) -> None:
    found = {f"{each['kind']}/{each['metadata']['name']}": problems(each) for each in render(name)}
    assert found
    assert {key: value for key, value in found.items() if value} == {}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_misspelt_key_is_seen_wherever_it_is(name: str) -> None:
    unseen = []
    for manifest in render(name):
        if name != "base" and manifest in render("base"):
            continue  # tried there
        for path in paths(manifest):
            free = "triggers" in path and path[-2] == "metadata"
            free |= manifest["kind"] == "Service" and path[:2] == ("spec", "selector") and len(path) > 2
            if not free and not problems(misspelt(manifest, path)):
                unseen.append((manifest["kind"], path))
    assert unseen == []


def test_a_wrong_type_and_a_wrong_word_are_seen() -> None:
    for manifest in render("overlays/autoscaling"):
        if manifest["kind"] == "RayCluster":
            wrong = copy.deepcopy(manifest)
            wrong["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
            assert problems(wrong)
            wrong = copy.deepcopy(manifest)
            wrong["spec"]["autoscalerOptions"]["version"] = "v3"
            assert problems(wrong)
            wrong = copy.deepcopy(manifest)
            del wrong["spec"]["workerGroupSpecs"][0]["maxReplicas"]
            assert problems(wrong)
