"""Configs as the forms of an editor write them: every value a text, "" where nobody has filled one in.

A "" that its field does not take is not given. A text that is a JSON object or list is that, where the field takes one;
in a field marked JsonText any JSON is what it says. What is canonical already is not read so again: there a text is a
text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from dray.actors.expressions.config_shape import BareExpression, Shape
from dray.actors.expressions.dialects import node_path
from dray.actors.registry import HandlerSpec, JsonText
from dray.cluster.graph.written.json_text import MAX_DEPTH, json_problems
from dray.cluster.graph.written.models import names_of, quoted
from dray.cluster.graph.written.nearest import Nearest
from dray.cluster.graph.written.source import Findings, RawGraph, RawNode

ROUNDS = 4  # a field that is given now may show others that are not
OBJECTS = frozenset({"dict_type", "list_type", "model_type", "model_attributes_type"})


def read_forms(graph: RawGraph, handlers: Mapping[str, HandlerSpec], findings: Findings) -> None:
    for node in graph.nodes:
        handler = handlers.get(node.type)
        if handler is not None and handler.config_model is not None:
            model = handler.config_model
            node.config = _without_empty(node.config, Shape(model=model))
            _marked(node, model, findings)
            _refused(node, model, findings)
            node.config = _without_empty(node.config, Shape(model=model))  # also in what was a text before
        if node.type == "code" and node.config.get("requirements"):
            findings.warn(node.place, "config.requirements is not read: packages belong into the image of the runners")
    _sources(graph, findings)


def _without_empty(value: Any, shape: Shape) -> Any:
    """Without expressions that nobody has written."""
    if not isinstance(value, dict):
        return value
    return {
        key: _without_empty(each, shape.child(key))
        for key, each in value.items()
        if not (isinstance(shape.child(key).marker, BareExpression) and isinstance(each, str) and not each.strip())
    }


def _marked(node: RawNode, model: type[BaseModel], findings: Findings) -> None:
    for name, field in model.model_fields.items():
        marker = next((each for each in field.metadata if isinstance(each, JsonText)), None)
        if marker is None:
            continue
        for key in names_of(name, field) & node.config.keys():
            value = node.config[key]
            if value == "":
                del node.config[key]
            elif isinstance(value, str) and (not marker.objects or value.lstrip()[:1] in ("{", "[")):
                node.config[key] = _parsed(value, node, key, findings, value)


def _refused(node: RawNode, model: type[BaseModel], findings: Findings) -> None:
    for _ in range(ROUNDS if _may_be_meant_otherwise(node.config) else 0):
        try:
            model.model_validate(node.config)
            return
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
        except Exception:  # noqa: BLE001  # a validator is a user's code, which may raise anything; told by the check
            return
        # The last of a list first, so that the places of the others stay.
        changed = [_mend(node, each["loc"], each["type"], findings) for each in reversed(found)]
        if not any(changed):
            return


def _may_be_meant_otherwise(value: Any) -> bool:
    """Whether it is worth asking the model, which costs as much as the check."""
    if isinstance(value, dict):
        return any(map(_may_be_meant_otherwise, value.values()))
    return isinstance(value, str) and value.lstrip()[:1] in ("", "{", "[")


def _mend(node: RawNode, place: tuple[int | str, ...], problem: str, findings: Findings) -> bool:
    holder: Any = node.config
    for part in place[:-1]:
        if not (isinstance(holder, dict) and part in holder):
            return False  # in a list each text was written by somebody
        holder = holder[part]
    if not place or not isinstance(holder, dict) or not isinstance(value := holder.get(str(place[-1])), str):
        return False
    key = str(place[-1])
    if not value.strip():
        del holder[key]
        return True
    if problem not in OBJECTS or value.lstrip()[:1] not in ("{", "[") or value.lstrip().startswith("{{"):
        return False
    parsed = _parsed(value, node, ".".join(map(str, place)), findings, None)
    if parsed is None:
        if "{{" in value:  # else told by the check
            where = f"config.{'.'.join(map(str, place))}"
            findings.problem(node.place, f"{where}: is no JSON: put each {{{{ }}}} in it in quotes")
        return False
    holder[key] = parsed
    return True


def _parsed(text: str, node: RawNode, key: str, findings: Findings, otherwise: Any) -> Any:
    """What the JSON text says; `otherwise` if it is none."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return otherwise
    problems, _ = json_problems(value, f"config.{key} of {node.place}", MAX_DEPTH)
    findings.problems += problems
    return otherwise if problems else value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _sources(graph: RawGraph, findings: Findings) -> None:
    """input_sources of a merge: what is no predecessor is a path, or the output of a node further before it."""
    before: dict[str, set[str]] = {}
    for edge in graph.edges:
        before.setdefault(edge.target, set()).add(edge.source)
    nearest = Nearest()
    for node in graph.nodes:
        given = node.config.get("input_sources") if node.type == "merge" else None
        if isinstance(given, str) and "{{" not in given:
            given = [each.strip() for each in given.split(",") if each.strip()]
        if isinstance(given, list):
            known = before.get(node.id, set())
            node.config["input_sources"] = [_source(each, node, known, graph, nearest, findings) for each in given]


def _source(given: Any, node: RawNode, before: set[str], graph: RawGraph, nearest: Nearest, findings: Findings) -> Any:
    if not isinstance(given, str) or given in before:
        return given
    if given in graph.known:
        return {"expression": f"{node_path(given)}.output"}
    hint = nearest.hint(given, graph.known)
    is_path = any(each in given for each in ".[{")
    if not is_path and (hint or not given.isidentifier()):
        findings.problem(node.place, f"config.input_sources: there is no node {quoted(given)}{hint}")
    return {"expression": given}
