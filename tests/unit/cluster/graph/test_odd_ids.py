"""An id may be any text, and an expression that a loop makes of it means the same wherever it is read again."""

from __future__ import annotations

import pytest

from dray.actors.expressions.config import compile_config
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from tests.unit.cluster.graphs import HANDLERS, chain, edge, graph, node

IDS = ["L{x}", "}}", "{{ a }}", "${x", "${x}", "a`b", 'a"b', "a'b", "\\", "$", "é", "a.b", "1"]


@pytest.mark.parametrize("node_id", IDS)
def test_a_loop_with_an_odd_id(node_id: str) -> None:
    nodes = [node(node_id, "for", array_expression="input.rows", loop_variable="row")]
    nodes += [node("work", see="{{ item }}, {{ row.x }}, {{ index }}"), node("c", "condition", condition="row.x > 1")]
    source = graph(nodes, [edge(node_id, "work", "body"), *chain("work", "c", node_id)])
    stored = canonical(source, HANDLERS)
    assert canonical(stored, HANDLERS) == stored
    assert load(1, "w", 1, stored)
    for each in stored["nodes"]:
        compile_config(each["config"], HANDLERS[each["type"]].config_model)
    assert stored["nodes"][1]["needs"]["nodes"] == [node_id]
