"""What a loop node is: its kind, the labels of its edges, the names that its body knows, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dray.actors.expressions.dialects import node_path
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.source import RawNode

LOOP_TYPES = frozenset({"loop", "for", "while", "repeat", "foreach"})
LEAVING = frozenset({"break", "continue"})
KINDS = {"for": "for", "repeat": "for", "while": "while", "foreach": "each"}
EXPRESSIONS = frozenset({"array_expression", "items", "condition_expression", "condition", "repeat_count"})
LIMITS = frozenset({"max_iterations", "max_parallel"})
FIXED = ("loop_type", "loop_label", "loop_variable", "on_error", *sorted(LIMITS))
BODY, DONE = "body", "done"
# Labels in circulation, as the plan compares them; done and exit are what happens when a loop is over.
LOOP_LABELS = {"body": BODY, "loop": BODY, "done": DONE, "exit": DONE, "success": DONE, "failed": "failed"}


def is_loop(node: RawNode) -> bool:
    return node.type in LOOP_TYPES


def meaning(node: RawNode) -> str:
    """for, while, repeat or foreach: for the type `loop` its loop_type says."""
    if node.type != "loop":
        return node.type
    wanted = str(node.config.get("loop_type") or "for").lower()
    return wanted if wanted in KINDS else "for"


def kind(node: RawNode) -> str:
    """The kind of the region: each, for or while."""
    return KINDS[meaning(node)]


def tidy(config: dict[str, Any]) -> dict[str, Any]:
    """A loop node's config without the fields that an editor left empty, and with its limits as numbers."""
    tidied = {key: value for key, value in config.items() if not (key in EXPRESSIONS and value == "")}
    for key in LIMITS & tidied.keys():
        value = tidied[key]
        if isinstance(value, str) and value.strip().isdecimal():
            tidied[key] = int(value)
    return tidied


def picture(node: RawNode) -> str:
    """What to draw."""
    name = shown(node.id)
    return f"{name} -body-> work -> {name}, {name} -done-> next"


def shown(node_id: str) -> str:
    return node_id if node_id.isprintable() and len(node_id) <= 80 else quoted(node_id)


def aliases(node: RawNode, outer: Mapping[str, str]) -> Mapping[str, str]:
    """What the body's expressions call the turn's item and index, beside the names of the loops around it."""
    output = f"{node_path(node.id)}.output"
    names = {**outer, "index": f"{output}.index"}
    counts = meaning(node) in ("while", "repeat") or not _has_items(node.config)
    variable = node.config.get("loop_variable")
    named = [variable] if isinstance(variable, str) and variable.isidentifier() else []
    if not counts:
        names |= dict.fromkeys(["item", *named], f"{output}.item")
    elif named == ["item"]:  # the canvas writes it into every loop: of one around it, that has items, more likely meant
        names.setdefault("item", f"{output}.index")
    else:
        names |= dict.fromkeys(named, f"{output}.index")
    return names


def _has_items(config: Mapping[str, Any]) -> bool:
    return any(config.get(key) is not None for key in ("array_expression", "items"))


def loop_names(node: RawNode) -> set[str]:
    """What a break or continue may call this loop."""
    label = node.config.get("loop_label")
    return {node.id, label} if isinstance(label, str) and label else {node.id}
