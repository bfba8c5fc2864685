"""What the label on an edge means: a choice of the node it leaves, an error edge, or nothing."""

from __future__ import annotations

from dray.actors.handlers.switch import DEFAULT, label_keys
from dray.cluster.graph.loops import LOOP_LABELS, is_loop
from dray.cluster.graph.models import quoted
from dray.cluster.graph.source import Findings, RawEdge, RawNode

# Only these choose among their edges by label; any other node's own key `branch` must not.
SELECTING = frozenset({"condition", "if", "switch", "rag_switch", "ocr_switch", "human_approval", "catch"})
CAUGHT, PASSED = "caught", "passed"
ERROR_LABELS = frozenset({"success", "failed"})
TRUTH_LABELS = frozenset({"true", "false"})
# What the canvas draws on the edges of the types whose labels are not in their config.
DRAWN_LABELS = {
    "rag_switch": frozenset({"chromadb", "milvus", "weaviate"}),
    "ocr_switch": frozenset({"doctr", "easyocr", "paddleocr", "tesseract"}),
}
CHOICES = {"switch": "one of its cases, 'default'", "catch": "'caught', 'passed'"}


def settle(edge: RawEdge, node: RawNode, findings: Findings) -> tuple[str | None, ...]:
    """The labels as the plan compares them, None for an edge that is followed whatever the node answers.

    More than one where the label stands for several cases of a switch: the written edge is then as many edges.
    node: the one that the edge leaves.
    """
    if is_loop(node):
        return (_loop_label(edge, findings),)
    if node.type not in SELECTING:
        return (_error_label(edge, node, findings),)
    if not edge.label:
        return (edge.caption and _choices(edge.caption, node, drawn=True)) or (None,)
    labels = _choices(edge.label, node)
    if not labels:
        choices = CHOICES.get(node.type, "'true', 'false'")
        todo = f"use {choices}, 'success' or 'failed', or no label"
        message = f"label {quoted(edge.label)} is never chosen by a node of type {quoted(node.type)}: {todo}"
        findings.problem(edge.place, message)
    return labels


def _error_label(edge: RawEdge, node: RawNode, findings: Findings) -> str | None:
    label = edge.label or (edge.caption if edge.caption.lower() in ERROR_LABELS else "")
    if label.lower() in ERROR_LABELS:
        return label.lower()
    if label:
        why = f"a node of type {quoted(node.type)} does not choose among its edges"
        findings.warn(edge.place, f"label {quoted(label)} is not read: {why}")
    return None


def _loop_label(edge: RawEdge, findings: Findings) -> str | None:
    """body, done, failed, or None where the shape must tell body from done."""
    label = edge.label or (edge.caption if edge.caption.lower() in LOOP_LABELS else "")
    if label and label.lower() not in LOOP_LABELS:
        ways = "of a loop node they are 'body', 'done' and 'failed'"
        findings.warn(edge.place, f"label {quoted(label)} is not read: {ways}")
    return LOOP_LABELS.get(label.lower())


def _choices(text: str, node: RawNode, drawn: bool = False) -> tuple[str, ...]:
    """The labels that the text means; none if the node can never choose it. drawn: text is only a caption."""
    lower = text.lower()
    if node.type in ("condition", "if"):
        return (lower,) if lower in TRUTH_LABELS | ERROR_LABELS else ()
    if node.type == "catch":
        return (lower,) if lower in {CAUGHT, PASSED} | ERROR_LABELS else ()
    if node.type == "switch":
        cases = node.config.get("cases") or {}
        keys = label_keys(node.config, text)
        # Cases that are no object are a problem of the config, or a template: then nothing can be said about the label.
        if not isinstance(cases, dict) or all(key in cases or key == DEFAULT for key in keys):
            return keys
        return (lower,) if lower in ERROR_LABELS else ()
    known = DRAWN_LABELS.get(node.type) or _options(node)
    if text in known:
        return (text,)
    if lower in ERROR_LABELS:
        return (lower,)
    return () if drawn else (text,)


def _options(node: RawNode) -> frozenset[str]:
    options = node.config.get("approval_options") or node.config.get("options") or ["approve", "reject"]
    names = [each for each in options if isinstance(each, str)] if isinstance(options, list) else []
    return frozenset([*names, "timeout"])
