"""What two versions of a workflow differ in: nodes, keys of their configs, edges, and what stands beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Follows from the rest, or says nothing of what runs.
DERIVED = frozenset({"format", "nodes", "edges", "regions", "added", "forks", "idle", "warnings"})
_MISSING: Any = object()


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two canonical graphs, as a list of changes, in the order of the nodes: {"what": "node", "edge" or "graph",
    "change": "added", "removed" or "changed", "name": id or ends, "keys"?: [{"key", "old", "new"}]}. A key that one of
    the two does not have is missing there. Empty: they run alike."""
    return [*_graph(old, new), *_nodes(old, new), *_edges(old, new)]


def lines(changes: list[dict[str, Any]]) -> Iterator[str]:
    """For people: one line per change and key."""
    signs = {"added": "+", "removed": "-", "changed": "~"}
    for change in changes:
        yield f"{signs[change['change']]} {change['what']} {change['name']}"
        for key in change.get("keys", ()):
            yield f"    {key['key']}: {_shown(key, 'old')} -> {_shown(key, 'new')}"


def _graph(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    keys = list(_changed(_without(old, DERIVED), _without(new, DERIVED), ""))
    if keys:
        yield {"what": "graph", "change": "changed", "name": "as a whole", "keys": keys}


def _nodes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    before = {node["id"]: node for node in old["nodes"]}
    after = {node["id"]: node for node in new["nodes"]}
    for name, node in before.items():
        if name not in after:
            yield {"what": "node", "change": "removed", "name": name}
        elif keys := list(_changed(_without(node, {"needs"}), _without(after[name], {"needs"}), "")):
            yield {"what": "node", "change": "changed", "name": name, "keys": keys}
    for name, node in after.items():
        if name not in before:
            keys = list(_changed({}, _without(node, {"id", "needs"}), ""))
            yield {"what": "node", "change": "added", "name": name, "keys": keys}


def _edges(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    before, after = (dict.fromkeys(map(_edge, graph["edges"])) for graph in (old, new))
    for change, found, other in (("removed", before, after), ("added", after, before)):
        for name in found:
            if name not in other:
                yield {"what": "edge", "change": change, "name": name}


def _edge(edge: Mapping[str, Any]) -> str:
    label = f" ({edge['label']})" if edge["label"] else ""
    return f"{edge['from']} -> {edge['to']}{label}"


def _changed(old: Any, new: Any, path: str) -> Iterator[dict[str, Any]]:
    """Key by key through objects; a list is one value."""
    old, new = ({} if one is _MISSING and isinstance(other, dict) else one for one, other in ((old, new), (new, old)))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            place = f"{path}.{key}" if path else key
            yield from _changed(old.get(key, _MISSING), new.get(key, _MISSING), place)
    elif old != new or type(old) is not type(new):
        found = {"key": path, "old": old, "new": new}
        yield {key: value for key, value in found.items() if value is not _MISSING}


def _without(given: Mapping[str, Any], keys: frozenset[str] | set[str]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in keys}


def _shown(key: Mapping[str, Any], which: str) -> str:
    if which not in key:
        return "nothing"
    text = " ".join(repr(key[which]).split())
    return text if len(text) <= 100 else text[:99] + "…"
