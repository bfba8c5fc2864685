"""Workflows of every shape that something could go wrong with, of nodes whose effects are counted (effects.py)."""

from __future__ import annotations

from typing import Any

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client

LOGGED = ("effect", "effect_asks")  # the node types that write to the log of effects


def effect(name: str, seconds: float = 0.02, fails: int = 0, **options: Any) -> dict[str, Any]:
    return {"id": name, "type": "effect", "config": {"seconds": seconds, "fails": fails}, **options}


def edges(*pairs: str) -> list[dict[str, Any]]:
    """ "a b" or "a b label"."""
    found = []
    for pair in pairs:
        source, target, *label = pair.split()
        found.append({"from": source, "to": target, **({"label": label[0]} if label else {})})
    return found


TRIGGER = {"id": "s", "type": "trigger"}


def delay(name: str, seconds: float) -> dict[str, Any]:
    return {"id": name, "type": "delay", "config": {"delay_seconds": seconds}}


def waits(name: str, signal: str = "go") -> dict[str, Any]:
    return {"id": name, "type": "wait_for_signal", "config": {"signal_name": signal}}


def calls(name: str, workflow: str) -> dict[str, Any]:
    return {"id": name, "type": "sub_workflow", "config": {"workflow": workflow, "wait_for_completion": True}}


SHAPES: dict[str, dict[str, Any]] = {
    "chain": {
        "nodes": [TRIGGER, *(effect(name, 0.1) for name in "abcd")],
        "edges": edges("s a", "a b", "b c", "c d"),
    },
    "slow": {"nodes": [TRIGGER, effect("a", 1.5), effect("b", 1.5)], "edges": edges("s a", "a b")},
    # B, A and the timer end nearly together, so that one commit of theirs is on its way while the others are not yet;
    # L keeps the execution from being parked meanwhile.
    "join": {
        "nodes": [TRIGGER, effect("A", 0.5), delay("W", 0.52), effect("B", 0.49), {"id": "T", "type": "try"},
                  effect("L", 1.2), effect("J"), effect("K")],
        "edges": edges("s A", "s W", "s B", "s L", "B T", "A J", "W J", "T J", "J K", "L K"),
    },
    "fork": {
        "nodes": [{**TRIGGER, "parallel_wait_mode": "any"}, effect("a", 0.3), effect("b", 0.05), waits("c", "never"),
                  {"id": "m", "type": "merge"}, effect("d")],
        "edges": edges("s a", "s b", "s c", "a m", "b m", "c m", "m d"),
    },
    "items": {
        "nodes": [
            {"id": "each", "type": "foreach", "config": {"items": "[1, 2, 3, 4]", "max_parallel": 3}},
            effect("work", 0.1),
            {"id": "odd", "type": "condition", "config": {"condition": "nodes.each.output.item % 2 == 1"}},
            {"id": "leave", "type": "continue"},
            effect("even", 0.05),
            effect("after"),
        ],
        "edges": edges("each work body", "work odd", "odd leave true", "odd even false", "even each",
                       "each after done"),
    },
    "turns": {
        "nodes": [
            {"id": "turns", "type": "repeat", "config": {"repeat_count": 3}},
            effect("work", 0.05),
            delay("nap", 0.1),
            effect("more"),
            effect("after"),
        ],
        "edges": edges("turns work body", "work nap", "nap more", "more turns", "turns after done"),
    },
    "signal": {
        "nodes": [TRIGGER, effect("a"), waits("go"), effect("b"), waits("stop", "stop"), effect("c")],
        "edges": edges("s a", "a go", "go b", "b stop", "stop c"),
    },
    "leaf": {"nodes": [TRIGGER, effect("a"), delay("nap", 0.2), effect("b")], "edges": edges("s a", "a nap", "nap b")},
    "middle": {
        "nodes": [TRIGGER, effect("a"), calls("call", "leaf"), effect("b")],
        "edges": edges("s a", "a call", "call b"),
    },
    "parent": {
        "nodes": [TRIGGER, calls("left", "middle"), calls("right", "leaf"), effect("b")],
        "edges": edges("s left", "s right", "left b", "right b"),
    },
    "once": {
        "nodes": [TRIGGER, effect("a"), effect("pay", 0.3, at_most_once=True), effect("b"), effect("undo")],
        "edges": edges("s a", "a pay", "pay b", "pay undo failed"),
    },
    "retried": {
        "nodes": [TRIGGER, effect("a", fails=2), effect("b", fails=1), effect("c")],
        "edges": edges("s a", "a b", "b c"),
    },
    "asks": {
        "nodes": [TRIGGER, {"id": "ask", "type": "effect_asks", "config": {"signal": "answer"}}, effect("b")],
        "edges": edges("s ask", "ask b"),
    },
    "asks_once": {
        "nodes": [TRIGGER, {"id": "ask", "type": "effect_asks", "config": {"signal": "answer"}, "at_most_once": True},
                  effect("b"), effect("undo")],
        "edges": edges("s ask", "ask b", "ask undo failed"),
    },
    "narrow": {
        "nodes": [TRIGGER, effect("a", 0.05)],
        "edges": edges("s a"),
        "concurrency": {"limit": 3, "key": "input.key", "key_limit": 1},
    },
    "rated": {"nodes": [TRIGGER, effect("a", 0.05)], "edges": edges("s a"), "rate": {"limit": 10, "per": 1}},
}  # fmt: skip


def apply_all(client: Client) -> None:
    handlers = load_handlers(["tests.chaos.effects"])
    for name, graph in SHAPES.items():
        client.apply_workflow(name, canonical(graph, handlers))
