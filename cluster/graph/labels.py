"""What the label on an edge means: a choice of the node it leaves, an error edge, or nothing."""

from __future__ import annotations

from collections.abc import Collection

from dray.actors.handlers.switch import DEFAULT, case_text, label_keys
from dray.cluster.graph.loops import LOOP_LABELS, is_loop
from dray.cluster.graph.written.models import quoted
from dray.cluster.graph.written.nearest import Nearest
from dray.cluster.graph.written.source import Findings, RawEdge, RawNode

# Only these choose among their edges by label; any other node's own key `branch` must not.
SELECTING = frozenset({"condition", "if", "switch", "rag_switch", "ocr_switch", "human_approval", "catch"})
CAUGHT, PASSED = "caught", "passed"
ERROR_LABELS = frozenset({"success", "failed"})
TRUTH_LABELS = frozenset({"true", "false"})
SHOWN = 8  # labels in a message
CHOICES = {"switch": "one of its cases, 'default'", "catch": "'caught', 'passed'"}


def settle(edge: RawEdge, node: RawNode, nearest: Nearest, findings: Findings) -> tuple[str | None, ...]:
    """The labels as the plan compares them, None for an edge that is followed whatever the node answers.

    More than one where the label stands for several cases of a switch: the written edge is then as many edges.
    node: the one that the edge leaves.
    """
    if not edge.label:
        return (None,)
    lower = edge.label.lower()
    if is_loop(node):
        if lower not in LOOP_LABELS:
            _complain(edge, node, LOOP_LABELS, "'body', 'done' or 'failed'", nearest, findings)
        return (LOOP_LABELS.get(lower),)
    if node.type not in SELECTING:
        if lower in ERROR_LABELS:
            return (lower,)
        _complain(edge, node, ERROR_LABELS, "'success' or 'failed'", nearest, findings)
        return (None,)
    labels = _choices(edge.label, node)
    if not labels:
        known = _known(node) or ()
        shown = ", ".join(map(quoted, known)) if known and len(known) <= SHOWN else ""
        choices = CHOICES.get(node.type) or shown or "one of its options"
        _complain(edge, node, known, f"{choices}, 'success' or 'failed'", nearest, findings)
    return labels


def _complain(
    edge: RawEdge, node: RawNode, known: Collection[str], ways: str, nearest: Nearest, findings: Findings
) -> None:
    """A label that is misspelt would be followed always, or never. Where an editor may have written it, on a node that
    does not choose, it is told only, unless it is like one that there is."""
    hint = nearest.hint(edge.label, {*known, *ERROR_LABELS}, node.id)
    if edge.is_drawn and not hint and node.type not in SELECTING:
        findings.warn(edge.place, f"label {quoted(edge.label)} is not read: of this node they are {ways}")
        return
    message = f"label {quoted(edge.label)} is never chosen by a node of type {quoted(node.type)}"
    findings.problem(edge.place, f"{message}{hint}: use {ways}, or no label")


def _choices(text: str, node: RawNode) -> tuple[str, ...]:
    """The labels that the text means; none if the node can never choose it."""
    lower = text.lower()
    if node.type == "switch":
        keys = label_keys(node.config, text)
        cases = node.config.get("cases") or {}
        # Cases that are no object are a problem of the config, or a template: then nothing can be said about the label.
        if not isinstance(cases, dict) or all(key in cases or key == DEFAULT for key in keys):
            return keys
        return (lower,) if lower in ERROR_LABELS else ()
    known = _known(node)
    if known is None or text in known:
        return (lower,) if known is None and lower in ERROR_LABELS else (text,)
    if lower in ERROR_LABELS or (lower in known and node.type != "human_approval"):
        return (lower,)
    return ()


def _known(node: RawNode) -> tuple[str, ...] | None:
    """What the node may choose; None where only the run tells."""
    if node.type in ("condition", "if"):
        return ("true", "false")
    if node.type == "catch":
        return (CAUGHT, PASSED)
    if node.type == "switch":
        cases = node.config.get("cases") or {}
        mapped = [case_text(each) for each in cases.values()] if isinstance(cases, dict) else []
        return (*cases, *mapped, DEFAULT) if isinstance(cases, dict) else None
    return _options(node) if node.type == "human_approval" else None


def _options(node: RawNode) -> tuple[str, ...] | None:
    config = node.config
    options = config.get("approval_options") or config.get("options") or ["approve", "reject"]
    late = config.get("on_timeout") or "timeout"
    if not isinstance(options, list) or not all(isinstance(each, str) for each in (*options, late)):
        return None
    known = (*dict.fromkeys([*options, "timeout", late]),)
    return None if any("{{" in each for each in known) else known
