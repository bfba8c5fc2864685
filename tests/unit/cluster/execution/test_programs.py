"""Random programs of loops, choices, break and continue: what the driver runs is what a plain interpreter runs."""

from __future__ import annotations

import itertools
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dray.actors.messages import NodeResult, NodeTask
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from tests.unit.cluster.execution.simulation import Simulation, with_crashes
from tests.unit.cluster.graphs import HANDLERS

LOOPS = {
    "for": {"array_expression": "input.x"},
    "repeat": {"repeat_count": 2},
    "while": {"condition_expression": "input.x"},
    "foreach": {"array_expression": "input.x", "max_parallel": 2},
}


@dataclass
class Step:
    """kind: plain, condition, break, continue, or a loop. blocks: the body, or the branches true and false."""

    id: str
    kind: str
    count: int = 0
    blocks: list[list[Step]] = field(default_factory=list)
    label: str = ""


class Left(Exception):
    def __init__(self, step: Step, loop: str) -> None:
        self.kind, self.loop = step.kind, loop


@st.composite
def programs(draw: st.DrawFn) -> list[Step]:
    names = (f"n{index}" for index in itertools.count())

    def block(loops: tuple[tuple[str, str], ...], depth: int, may_leave: bool) -> list[Step]:
        found = []
        for _ in range(draw(st.integers(1, 3))):
            kinds = ["plain", "plain"] + (["condition", *LOOPS] if depth else [])
            found.append(step(draw(st.sampled_from(kinds)), loops, depth))
        if may_leave and draw(st.booleans()):
            inner = itertools.takewhile(lambda loop: loop[1] != "foreach", reversed(loops))
            breaks = [("break", name) for name, _ in inner]
            continues = [("continue", loops[-1][0])]
            kind, label = draw(st.sampled_from(breaks + continues))
            found.append(Step(next(names), kind, label=label))
        return found

    def step(kind: str, loops: tuple[tuple[str, str], ...], depth: int) -> Step:
        made = Step(next(names), kind)
        if kind == "condition":
            made.blocks = [block(loops, depth - 1, bool(loops))]  # the other one goes on, so that every body leads back
            made.blocks += [block(loops, depth - 1, False)] if draw(st.booleans()) else []
        elif kind in LOOPS:
            made.count = draw(st.integers(0, 3))
            made.blocks = [block((*loops, (made.id, kind)), depth - 1, False)]
        return made

    return block((), 3, False)


def drawn(program: list[Step]) -> Graph:
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []

    def connect(ends: list[tuple[str, str | None]], target: str) -> None:
        edges.extend({"from": source, "to": target, **({"branch": label} if label else {})} for source, label in ends)

    def put(steps: list[Step], ends: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        for step in steps:
            config: dict[str, Any] = LOOPS.get(step.kind, {})
            if step.kind == "condition":
                config = {"condition": "input.x"}
            if step.label:
                config = {"loop_label": step.label}
            nodes.append({"id": step.id, "type": step.kind, "config": config})
            connect(ends, step.id)
            if step.kind in LOOPS:
                connect(put(step.blocks[0], [(step.id, "body")]), step.id)
                ends = [(step.id, "done")]
            elif step.kind == "condition":
                ends = put(step.blocks[0], [(step.id, "true")])
                no = [(step.id, "false")]
                ends = ends + (put(step.blocks[1], no) if len(step.blocks) > 1 else no)
            else:
                ends = [] if step.kind in ("break", "continue") else [(step.id, None)]
            if not ends:
                break
        return ends

    put(program, [])
    return load(1, "w", 1, canonical({"nodes": nodes, "edges": edges}, HANDLERS))


def says_true(key: str) -> bool:
    return zlib.crc32(key.encode()) % 2 == 0


def interpreted(steps: list[Step], prefix: str, keys: list[str]) -> None:
    for step in steps:
        if step.kind in LOOPS:
            looped(step, prefix, keys)
            continue
        keys.append(prefix + step.id)
        if step.kind in ("break", "continue"):
            raise Left(step, step.label)
        if step.kind == "condition":
            choice = 0 if says_true(prefix + step.id) else 1
            if choice < len(step.blocks):
                interpreted(step.blocks[choice], prefix, keys)


def looped(step: Step, prefix: str, keys: list[str]) -> None:
    name = prefix + step.id
    if step.kind != "while":
        keys.append(f"{name}[]")
    turns = 0
    while True:
        if step.kind == "while":
            keys.append(f"{name}[{turns}]")
        if turns == step.count:
            break
        try:
            interpreted(step.blocks[0], f"{name}[{turns}]/", keys)
        except Left as left:
            if left.loop != step.id:
                raise
            if left.kind == "break":
                break
        turns += 1
    keys.append(name)


def counts(program: list[Step]) -> dict[str, int]:
    found = {}
    for step in program:
        found[step.id] = step.count
        for block in step.blocks:
            found |= counts(block)
    return found


@settings(max_examples=300, deadline=None)
@given(programs(), st.sampled_from([0, -1]))
def test_what_runs_is_what_an_interpreter_runs(program: list[Step], order: int) -> None:
    expected: list[str] = []
    interpreted(program, "", expected)
    times = counts(program)

    def handler(task: NodeTask) -> Any:
        kind, _, rest = task.node_key.rpartition("/")[2].partition("[")
        if rest == "]":
            return {"items": list(range(times[kind]))}
        if rest:
            return NodeResult(0, "null", "body" if int(rest[:-1]) < times[kind] else "done")
        return NodeResult(0, "null", "true" if says_true(task.node_key) else "false")

    graph = drawn(program)
    run = Simulation(graph, handler, order=order).begin().to_the_end()
    assert sorted(run.keys) == sorted(expected)
    assert not run.run.scopes.live
    if len(expected) < 40:
        with_crashes(graph, handler)
    assert all(re.fullmatch(r"(n\d+\[\d+\]/)*n\d+(\[\d*\])?", key) for key in run.keys)
