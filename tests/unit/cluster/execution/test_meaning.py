"""A graph means what docs/workflows.md says: what runs, what is read and what is recorded, also after any crash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cluster.execution.authors import condition, run, source
from tests.unit.cluster.execution.simulation import Simulation, stored
from tests.unit.cluster.graphs import node

FOREACH = node("each", "foreach", array_expression="input.rows")
ROWS = node("rows", "for", array_expression="input.rows")


def error_of(found: Simulation) -> dict[str, Any]:
    assert found.settled is not None
    assert found.settled.status == "failed"
    error: dict[str, Any] = json.loads(found.settled.error or "")
    return error


class TestWhatIsOver:
    """An execution is over when every node is decided, and not when nothing happens to run."""

    CIRCLE = ({"from": "c", "to": "b", "label": None, "role": "order"},)

    def test_nodes_that_wait_for_each_other_are_no_success(self) -> None:
        graph = stored([node(each) for each in "abcd"], ["a b", "b c", "c d"], added=list(self.CIRCLE))
        error = error_of(Simulation(graph, lambda task: None).begin().to_the_end())
        assert error["type"] == "internal"
        assert error["message"].startswith("a bug of Dray: ")
        assert error["message"].endswith(": b, c, d")

    def test_nor_in_a_turn_of_a_loop(self) -> None:
        edges = [("L a", None, "body"), "a b", "b c", ("a L", None, "back")]
        regions = [{"header": "L", "kind": "for", "parent": None, "nodes": ["a", "b", "c"]}]
        nodes = [node("L", "loop"), *map(node, "abc")]
        graph = stored(nodes, edges, regions=regions, added=list(self.CIRCLE))
        error = error_of(Simulation(graph, lambda task: {"count": 2}).begin().to_the_end())
        assert error["message"].endswith(": L[0]/b, L[0]/c")


class TestLeaving:
    @pytest.mark.parametrize("order", [0, -1])
    @pytest.mark.parametrize("rows", [[1, None], [None, 1], [None], [None, None]])
    @pytest.mark.parametrize(
        ("first", "second"), [("bad -> work", "bad -true-> skip"), ("bad -true-> skip", "bad -> work")]
    )
    def test_continue_beside_work_that_began_with_it(self, order: int, rows: Any, first: str, second: str) -> None:
        nodes = [FOREACH, condition("bad", "item == null"), node("skip", "continue")]
        found = run(source(nodes, f"each -body-> bad; {first}; {second}; work -> each"), {"rows": rows}, order=order)
        assert [each for each in found.called if each.endswith("/work")] == [
            f"each[{index}]/work" for index, row in list(enumerate(rows))[:: order or 1] if row is not None
        ]

    @pytest.mark.parametrize("ways", ["look -> work; look -> stop", "look -> stop; look -> work"])
    def test_break_beside_work_that_began_with_it(self, ways: str) -> None:
        nodes = [ROWS, node("stop", "break")]
        found = run(source(nodes, f"rows -body-> look; {ways}; work -> rows"), {"rows": [1, 2]})
        assert found.keys == ["rows[]", "rows[0]/look", "rows[0]/stop", "rows"]
        assert found.output("rows") == {"iterations": 1, "ended_by": "break"}


class TestEntries:
    def test_a_join_in_a_body_waits_though_the_loop_enters_it_too(self) -> None:
        nodes = [ROWS, node("total", see="{{ nodes.price.output }}")]
        ways = "rows -body-> price; rows -body-> total; price -> total -> rows"
        found = run(source(nodes, ways), {"rows": [1, 2]}, order=-1)
        assert found.called == [
            "rows[]", "rows[0]/price", "rows[0]/total", "rows[1]/price", "rows[1]/total",
        ]  # fmt: skip
        assert found.output("rows[1]/total") == "rows[1]/price"

    def test_and_runs_where_the_other_way_died(self) -> None:
        nodes = [ROWS, condition("look", "item > 1")]
        ways = "rows -body-> look -true-> more -> total -> rows; rows -body-> total"
        found = run(source(nodes, ways), {"rows": [1, 2]})
        assert [key for key in found.called if key.endswith(("total", "more"))] == [
            "rows[0]/total", "rows[1]/more", "rows[1]/total",
        ]  # fmt: skip
