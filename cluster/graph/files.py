"""From a file that a person wrote to a graph that can be stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical

YAML = (".yaml", ".yml")


def canonical_graph(source: Any, handlers: Sequence[str] = ()) -> dict[str, Any]:
    """The form of a graph that Client.apply_workflow stores. handlers: modules, beside the built-in node types.

    source: a graph, or the platform's workflow around one: {"name", "graph_config": {...}, "trigger_config": {...},
    "is_active": false}. Raises GraphInvalid with every problem, HandlerLoadError.
    """
    if isinstance(source, dict) and "nodes" not in source and isinstance(source.get("graph_config"), dict):
        given = {key: source[key] for key in ("trigger_config", "is_active") if source.get(key) is not None}
        source = {**given, **source["graph_config"]}
    return canonical(source, load_handlers(handlers))


def read(place: str) -> Any:
    """The value in a JSON or YAML file (by its ending; anything else is JSON); `-` is standard input, as JSON.

    Raises ValueError in one line that names the file.
    """
    try:
        text = sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {place}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"cannot read {place}: it is not UTF-8 text") from None
    return parse_yaml(text, place) if place.endswith(YAML) else parse_json(text, place)


def parse_json(text: str, place: str) -> Any:
    """place: what to call it in the error. Raises ValueError in one line, also for a key that is given twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{place} is not JSON: {error.msg} at {at}") from None
    except RecursionError:
        raise ValueError(f"{place} is nested too deep") from None
    except ValueError as error:  # of _unique, or a number of more digits than Python reads
        raise ValueError(f"{place}: {error}") from None


def parse_yaml(text: str, place: str) -> Any:
    """As parse_json."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{place} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{place} is nested too deep") from None
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"{place} is not YAML: a value is not what its tag says it is ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice in one object, so one of them would be lost")
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, which SafeLoader reads as the last one; and tells the place of a value that is
    not what its tag says, for which SafeLoader raises anything."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001
            problem = f"cannot be read as {node.tag} ({type(error).__name__}: {error})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
