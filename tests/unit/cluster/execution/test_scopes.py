"""Loops, foreach, cycles and forks, run without a database: keys, values, ends, and the same after any crash."""

from __future__ import annotations

import json
from typing import Any

from dray.actors.messages import NodeFailure, NodeResult, NodeTask
from dray.cluster.execution.attempts import Policy
from dray.cluster.execution.commands import Abandon, Committed, Dispatch, NodeDone, Record, TimerDue
from dray.cluster.graph.types import Graph
from dray.store.records import Kind
from tests.unit.cluster.execution.simulation import Simulation, stored, with_crashes
from tests.unit.cluster.graphs import node

FAILS = NodeResult(0, failure=NodeFailure("Boom", "no", retryable=False))


def loop(kind: str, body: list[Any], edges: list[Any], nodes: list[str], **config: Any) -> Graph:
    """before -> L (a loop over the body) -> after."""
    around = [node("before"), node("L", "loop", **config), node("after", needs_loop=1)]
    around[2]["needs"] = {"nodes": ["L"]}
    regions = [{"header": "L", "kind": kind, "parent": None, "nodes": nodes}]
    return stored([*around, *body], ["before L", "L after", *edges], regions=regions)


def plain(kind: str, **config: Any) -> Graph:
    work = {**node("work"), "needs": {"nodes": ["L"]}}
    return loop(kind, [work], [("L work", None, "body"), ("work L", None, "back")], ["work"], **config)


def items(*found: Any) -> dict[str, Any]:
    return {"items": list(found)}


def given(task: NodeTask, node_id: str) -> Any:
    return json.loads(dict(task.nodes)[node_id])


def item(task: NodeTask) -> Any:
    return given(task, "L")["item"]


class TestFor:
    def test_items_one_after_another(self) -> None:
        def handler(task: NodeTask) -> Any:
            if task.node_key == "L[]":
                return items("x", "y")
            return item(task) if task.node_key.endswith("/work") else None

        whole = with_crashes(plain("for"), handler)
        assert whole.keys == ["before", "L[]", "L[0]/work", "L[1]/work", "L", "after"]
        assert (whole.output("L[0]/work"), whole.output("L[1]/work")) == ("x", "y")
        assert whole.output("L") == {"iterations": 2, "ended_by": "done"}

    def test_no_items(self) -> None:
        assert with_crashes(plain("for"), lambda task: items()).keys == ["before", "L[]", "L", "after"]

    def test_a_count(self) -> None:
        seen = []

        def handler(task: NodeTask) -> Any:
            if task.node_key == "L[]":
                return {"count": 3}
            if "work" in task.node_key:
                seen.append(given(task, "L"))
            return None

        Simulation(plain("for"), handler).begin().to_the_end()
        assert seen == [{"index": 0}, {"index": 1}, {"index": 2}]

    def test_too_many_turns_fail_loudly(self) -> None:
        whole = with_crashes(plain("for"), lambda task: items(*range(6)), Policy(max_iterations=5))
        assert whole.settled is not None
        assert whole.settled.status == "failed"
        assert json.loads(whole.settled.error or "") == {
            "type": "iteration_limit",
            "message": "it went round more than 5 times: raise max_iterations, or see why it does not end",
            "node": "L",
        }

    def test_a_node_of_its_own_says_how_many(self) -> None:
        graph = plain("for", max_iterations=6)
        whole = Simulation(graph, lambda task: items(*range(6)), Policy(max_iterations=5)).begin().to_the_end()
        assert whole.settled is not None
        assert whole.settled.status == "completed"

    def test_a_failure_in_the_body_is_the_loops(self) -> None:
        def handler(task: NodeTask) -> Any:
            return FAILS if task.node_key == "L[1]/work" else items(1, 2, 3) if task.node_key == "L[]" else None

        whole = with_crashes(plain("for"), handler)
        assert whole.keys == ["before", "L[]", "L[0]/work", "L[1]/work"]
        assert whole.settled is not None
        assert json.loads(whole.settled.error or "")["type"] == "Boom"

    def test_values_of_the_last_turn_and_variables_outlive_the_loop(self) -> None:
        body = [
            node("work"),
            {**node("v", "set_variable"), "needs": {"vars": ["v"]}},
        ]
        edges = [("L work", None, "body"), "work v", ("v L", None, "back")]
        around = [node("L", "loop"), {**node("after"), "needs": {"nodes": ["work"], "vars": ["v"]}}]
        regions = [{"header": "L", "kind": "for", "parent": None, "nodes": ["work", "v"]}]
        graph = stored([*around, *body], ["L after", *edges], regions=regions)

        def handler(task: NodeTask) -> Any:
            if task.node_key == "L[]":
                return items(1, 2, 3)
            if task.node_key.endswith("/v"):  # a sum: what the turn before left, and one more
                return (json.loads(task.variables[-1]) if task.variables else 0) + 1
            if task.node_key == "after":
                return [given(task, "work"), json.loads(task.variables[-1])]
            return task.node_key

        assert with_crashes(graph, handler).output("after") == ["L[2]/work", 3]


class TestWhile:
    def test_a_decision_before_each_turn(self) -> None:
        def handler(task: NodeTask) -> Any:
            if "/" not in task.node_key and task.node_key.startswith("L["):
                return NodeResult(0, "null", "body" if task.node_key != "L[2]" else "done")
            return None

        whole = with_crashes(plain("while"), handler)
        assert whole.keys == ["before", "L[0]", "L[0]/work", "L[1]", "L[1]/work", "L[2]", "L", "after"]

    def test_a_decision_counts_its_failures_anew(self) -> None:
        tried: set[str] = set()

        def handler(task: NodeTask) -> Any:
            if "/" in task.node_key or not task.node_key.startswith("L["):
                return None
            if task.node_key not in tried:
                tried.add(task.node_key)
                return NodeResult(0, failure=NodeFailure("Boom", "once", retryable=True))
            return NodeResult(0, "null", "body" if task.node_key != "L[2]" else "done")

        simulation = Simulation(plain("while"), handler, Policy(max_retries=1)).begin()
        while simulation.parked_again():
            pass
        assert simulation.settled is not None
        assert simulation.settled.status == "completed"
        assert [each.attempt for each in simulation.records if each.node_key == "L[2]"] == [1, 2]

    def test_it_does_not_go_on_for_ever(self) -> None:
        whole = with_crashes(plain("while"), lambda task: NodeResult(0, "null", "body"), Policy(max_iterations=3))
        assert whole.settled is not None
        assert "iteration_limit" in (whole.settled.error or "")
        assert whole.keys[-3:] == ["L[2]/work", "L[3]", "L"]


def leaving(kind: str, leave: str) -> Graph:
    """A body that asks before it works, and leaves by `leave` (a node type) when the answer is true."""
    ask = {**node("ask", "condition", condition="true"), "needs": {"nodes": ["L"]}}
    body = [ask, node("work"), node("out", leave)]
    edges = [("L ask", None, "body"), ("ask work", "false"), ("ask out", "true"), ("work L", None, "back")]
    return loop(kind, body, edges, ["ask", "work", "out"])


def second_is_the_one(task: NodeTask) -> Any:
    if task.node_key == "L[]":
        return items(1, 2, 3)
    if task.node_key.endswith("/ask"):
        return NodeResult(0, "null", "true" if item(task) == 2 else "false")
    return None


def test_break_ends_the_loop() -> None:
    whole = with_crashes(leaving("for", "break"), second_is_the_one)
    assert whole.keys == ["before", "L[]", "L[0]/ask", "L[0]/work", "L[1]/ask", "L[1]/out", "L", "after"]
    assert whole.output("L") == {"iterations": 2, "ended_by": "break"}


def test_continue_ends_the_turn() -> None:
    whole = with_crashes(leaving("for", "continue"), second_is_the_one)
    assert [key for key in whole.keys if key.endswith("/work")] == ["L[0]/work", "L[2]/work"]


def test_an_edge_out_of_the_body_ends_the_loop_there() -> None:
    ask = {**node("ask", "condition", condition="true"), "needs": {"nodes": ["L"]}}
    body = [ask, node("work"), node("found")]
    edges = [("L ask", None, "body"), ("ask work", "false"), ("ask found", "true"), ("work L", None, "back")]
    whole = with_crashes(loop("for", body, edges, ["ask", "work"]), second_is_the_one)
    assert whole.keys == ["before", "L[]", "L[0]/ask", "L[0]/work", "L[1]/ask", "L", "found"]


def test_a_path_that_just_ends_goes_on_with_the_next_item() -> None:
    ask = {**node("ask", "condition", condition="true"), "needs": {"nodes": ["L"]}}
    edges = [("L ask", None, "body"), ("ask work", "false"), ("work L", None, "back")]
    whole = with_crashes(loop("for", [ask, node("work")], edges, ["ask", "work"]), second_is_the_one)
    assert [key for key in whole.keys if "/" in key] == [
        "L[0]/ask", "L[0]/work", "L[1]/ask", "L[2]/ask", "L[2]/work",
    ]  # fmt: skip
    assert whole.keys[-1] == "after"


class TestForeach:
    def test_items_side_by_side_and_results_in_order(self) -> None:
        def handler(task: NodeTask) -> Any:
            return items(1, 2, 3) if task.node_key == "L[]" else item(task) * 10 if "/" in task.node_key else None

        for order in (0, -1):
            run = Simulation(plain("each"), handler, order=order).begin().to_the_end()
            assert run.output("L") == {"count": 3, "results": [10, 20, 30], "errors": []}
        with_crashes(plain("each"), handler)

    def test_so_many_at_once_and_no_more(self) -> None:
        most = []

        def handler(task: NodeTask) -> Any:
            most.append(len(run.run.scopes.live))
            return items(*range(50)) if task.node_key == "L[]" else None

        run = Simulation(plain("each", max_parallel=4), handler)
        run.begin().to_the_end()
        assert max(most) == 4
        assert len(run.keys) == 50 + 4

    def test_ten_thousand_items(self) -> None:
        def handler(task: NodeTask) -> Any:
            return items(*range(10_000)) if task.node_key == "L[]" else item(task) if "/" in task.node_key else None

        run = Simulation(plain("each", max_parallel=100), handler).begin().to_the_end()
        assert run.output("L")["results"] == list(range(10_000))
        again = Simulation(plain("each", max_parallel=100), handler).begin(run.records[:-2])
        assert again.to_the_end().called == ["after"], "the end of the loop follows from what is stored"

    def test_the_first_failure_is_the_foreachs(self) -> None:
        def handler(task: NodeTask) -> Any:
            return items(1, 2, 3) if task.node_key == "L[]" else FAILS if task.node_key == "L[1]/work" else None

        whole = with_crashes(plain("each"), handler)
        assert whole.settled is not None
        assert whole.settled.status == "failed"
        assert "L[2]/work" not in whole.keys

    def test_or_failures_are_collected(self) -> None:
        def handler(task: NodeTask) -> Any:
            return items(1, 2, 3) if task.node_key == "L[]" else FAILS if task.node_key == "L[1]/work" else 7

        whole = with_crashes(plain("each", on_error="collect"), handler)
        error = {"type": "Boom", "message": "no", "node": "work"}
        assert whole.output("L") == {"count": 3, "results": [7, None, 7], "errors": [{"index": 1, "error": error}]}

    def test_what_it_gathers_has_a_limit(self) -> None:
        def handler(task: NodeTask) -> Any:
            return items(*range(90)) if task.node_key == "L[]" else "x" * 1_000 if "/" in task.node_key else None

        run = with_crashes(plain("each", max_parallel=2), handler, Policy(max_output_bytes=1_000))
        assert run.settled is not None
        assert "its items gave more than 16000 bytes" in (run.settled.error or "")
        assert len(run.keys) < 25, "it does not wait for the others"

    def test_a_node_of_the_body_is_afterwards_the_list_of_its_outputs(self) -> None:
        body = [{**node("work"), "needs": {"nodes": ["L"]}}, node("last")]
        edges = [("L work", None, "body"), "work last", ("last L", None, "back")]
        around = [node("L", "foreach"), {**node("after"), "needs": {"nodes": ["work"]}}]
        regions = [{"header": "L", "kind": "each", "parent": None, "nodes": ["work", "last"]}]
        graph = stored([*around, *body], ["L after", *edges], regions=regions)

        def handler(task: NodeTask) -> Any:
            if task.node_key == "L[]":
                return items(1, 2)
            return item(task) if task.node_key.endswith("work") else dict(task.nodes)

        assert json.loads(with_crashes(graph, handler).output("after")["work"]) == [1, 2]


def test_loops_within_loops() -> None:
    inner = {**node("I", "loop"), "needs": {"nodes": ["L"]}}
    work = {**node("work"), "needs": {"nodes": ["L", "I"]}}
    nodes = [node("L", "foreach"), inner, work, node("after")]
    edges = [
        ("L I", None, "body"), ("I work", None, "body"), ("work I", None, "back"), ("I L", None, "back"), "L after",
    ]  # fmt: skip
    regions = [
        {"header": "L", "kind": "each", "parent": None, "nodes": ["I"]},
        {"header": "I", "kind": "for", "parent": 0, "nodes": ["work"]},
    ]
    graph = stored(nodes, edges, regions=regions)

    def handler(task: NodeTask) -> Any:
        if task.node_key == "L[]":
            return items("a", "b")
        if task.node_key.endswith("I[]"):
            return items(*[item(task) + n for n in "12"])
        return [item(task), given(task, "I")["item"]] if task.node_key.endswith("work") else None

    whole = with_crashes(graph, handler)
    assert whole.output("L[1]/I[0]/work") == ["b", "b1"]
    assert len(whole.keys) == 1 + 2 * (1 + 2 + 1) + 1 + 1


def test_break_of_the_outer_loop() -> None:
    nodes = [node("L", "loop"), node("I", "loop"), node("out", "break", loop_label="L"), node("after")]
    edges = [("L I", None, "body"), ("I out", None, "body"), ("I L", None, "back"), "L after"]
    regions = [
        {"header": "L", "kind": "for", "parent": None, "nodes": ["I"]},
        {"header": "I", "kind": "for", "parent": 0, "nodes": ["out"]},
    ]
    whole = with_crashes(stored(nodes, edges, regions=regions), lambda task: items(1, 2))
    assert whole.keys == ["L[]", "L[0]/I[]", "L[0]/I[0]/out", "L", "after"]


class TestCycle:
    graph = stored(
        [node("start"), node("poll"), node("ready", "condition", condition="true"), node("pause"), node("after")],
        ["start poll", "poll ready", ("ready after", "true"), ("ready pause", "false"), ("pause poll", None, "back")],
        regions=[{"header": "poll", "kind": "cycle", "parent": None, "nodes": ["poll", "ready", "pause"]}],
    )

    def test_poll_until_ready(self) -> None:
        def handler(task: NodeTask) -> Any:
            is_ready = task.node_key == "poll[2]/ready"
            return NodeResult(0, "null", "true" if is_ready else "false") if "ready" in task.node_key else None

        whole = with_crashes(self.graph, handler)
        assert whole.keys == [
            "start", "poll[0]/poll", "poll[0]/ready", "poll[0]/pause", "poll[1]/poll", "poll[1]/ready", "poll[1]/pause",
            "poll[2]/poll", "poll[2]/ready", "after",
        ]  # fmt: skip

    def test_it_is_bounded(self) -> None:
        def handler(task: NodeTask) -> Any:
            return NodeResult(0, "null", "false")

        whole = with_crashes(self.graph, handler, Policy(max_iterations=4))
        assert whole.settled is not None
        assert "iteration_limit" in (whole.settled.error or "")


class TestForks:
    @staticmethod
    def graph(wait: int) -> Graph:
        fork = {
            "fork": "F",
            "joins": [{"join": "J", "branches": [["a"], ["b"], ["c"]]}],
            "wait": wait,
            "nodes": list("abc"),
        }
        nodes = [node(each) for each in ("F", "a", "b", "c", "J", "end")]
        nodes[4]["needs"] = {"inputs": list("abc")}
        return stored(nodes, ["F a", "F b", "F c", "a J", "b J", "c J", "J end"], forks=[fork])

    def test_any_branch_is_enough_and_the_others_are_cancelled(self) -> None:
        run = Simulation(self.graph(1), lambda task: task.node_key, order=-1).begin().to_the_end()
        assert run.keys == ["F", "c", "J", "end"]
        with_crashes(self.graph(1), lambda task: task.node_key)

    def test_two_of_three_and_inputs_in_the_order_of_arrival(self) -> None:
        seen: list[Any] = []

        def handler(task: NodeTask) -> Any:
            if task.node_key == "J":
                seen.append([node_id for node_id, _ in task.inputs])
            return None

        run = Simulation(self.graph(2), handler, order=-1).begin().to_the_end()
        assert run.keys == ["F", "c", "b", "J", "end"]
        assert seen == [["c", "b"]]

    def test_a_failure_is_borne_while_enough_can_arrive(self) -> None:
        whole = with_crashes(self.graph(2), lambda task: FAILS if task.node_key == "a" else None)
        assert whole.keys == ["F", "a", "b", "c", "J", "end"]

    def test_too_few_is_a_failure_that_says_so(self) -> None:
        whole = with_crashes(self.graph(2), lambda task: FAILS if task.node_key in "ab" else None)
        assert whole.settled is not None
        assert json.loads(whole.settled.error or "") == {
            "type": "parallel_failed",
            "message": "fewer than 2 of its branches can complete: see the failures of their nodes",
            "node": "F",
        }

    @staticmethod
    def wide(wait: int) -> Graph:
        """One branch arrives by b1 and b2, the other by c."""
        branches = [["b1", "b2"], ["c"]]
        inside = ["x", "y", "b1", "b2", "c0", "c"]
        fork = {"fork": "F", "joins": [{"join": "J", "branches": branches}], "wait": wait, "nodes": inside}
        nodes = [node(each) for each in ("F", *inside, "J")]
        nodes[-1]["needs"] = {"inputs": ["b1", "b2", "c"]}
        edges = ["F x", "F c0", "x b1", "x y", "y b2", "c0 c", "b1 J", "b2 J", "c J"]
        return stored(nodes, edges, forks=[fork])

    def test_a_branch_counts_once_by_however_many_edges_it_arrives(self) -> None:
        run = Simulation(self.wide(2), lambda task: FAILS if task.node_key == "c" else None).begin().to_the_end()
        assert run.settled is not None
        assert "parallel_failed" in (run.settled.error or "")
        whole = with_crashes(self.wide(2), lambda task: None)
        assert whole.keys == ["F", "x", "c0", "b1", "y", "c", "b2", "J"]

    def test_a_branch_that_is_half_there_is_dropped_and_gives_nothing(self) -> None:
        seen: list[Any] = []

        def handler(task: NodeTask) -> Any:
            if task.node_key == "J":
                seen.append([node_id for node_id, _ in task.inputs])
            return None

        run = Simulation(self.wide(1), handler).begin().to_the_end()
        assert run.keys == ["F", "x", "c0", "b1", "y", "c", "J"]
        assert seen == [["c"]]

    def test_of_a_branch_that_chose_one_way_that_way_counts(self) -> None:
        branches = [["b1", "b2"], ["c"]]
        inside = ["x", "b1", "b2", "c"]
        fork = {"fork": "F", "joins": [{"join": "J", "branches": branches}], "wait": 2, "nodes": inside}
        nodes = [node("F"), node("x", "condition"), *map(node, ["b1", "b2", "c", "J"])]
        edges = ["F x", "F c", ("x b1", "true"), ("x b2", "false"), "b1 J", "b2 J", "c J"]
        graph = stored(nodes, edges, forks=[fork])
        whole = with_crashes(graph, lambda task: NodeResult(0, "1", "false") if task.node_key == "x" else None)
        assert whole.keys == ["F", "x", "c", "b2", "J"]

    def test_a_fork_in_a_branch_of_another_may_end_at_the_same_node(self) -> None:
        inner = {"fork": "I", "joins": [{"join": "J", "branches": [["a1"], ["a2"]]}], "wait": 1, "nodes": ["a1", "a2"]}
        branches = [["a1", "a2"], ["B"]]
        inside = ["I", "a1", "a2", "b0", "B"]
        nodes = [node(each) for each in ("F", *inside, "J")]
        edges = ["F I", "F b0", "I a1", "I a2", "b0 B", "a1 J", "a2 J", "B J"]
        for wait, keys in ((1, ["F", "I", "b0", "a1", "J"]), (2, ["F", "I", "b0", "a1", "B", "J"])):
            outer = {"fork": "F", "joins": [{"join": "J", "branches": branches}], "wait": wait, "nodes": inside}
            graph = stored(nodes, edges, forks=[outer, inner])
            assert Simulation(graph, lambda task: None).begin().to_the_end().keys == keys


def test_one_branch_after_the_other() -> None:
    edges = ["F a", "F b", "a J", "b J"]
    added = [{"from": "a", "to": "b", "label": None, "role": "order"}]
    graph = stored([node(each) for each in "FabJ"], edges, added=added)
    run = Simulation(graph, lambda task: None, order=-1).begin().to_the_end()
    assert run.keys == ["F", "a", "b", "J"]


def test_what_a_failure_was_reaches_the_node_that_catches_it() -> None:
    nodes = [node("a"), {**node("c"), "needs": {"error": ["a"]}}]
    graph = stored(nodes, [("a c", "failed")])
    run = Simulation(graph, lambda task: FAILS if task.node_key == "a" else json.loads(task.error or "")).begin()
    assert run.to_the_end().output("c") == {"type": "Boom", "message": "no", "node": "a"}


def test_a_timer_that_ends_a_loop_records_its_end_beside_what_still_runs() -> None:
    nodes = [node("L", "loop"), node("nap"), node("other")]
    edges = [("L nap", None, "body"), ("nap L", None, "back")]
    graph = stored(nodes, edges, regions=[{"header": "L", "kind": "for", "parent": None, "nodes": ["nap"]}])
    simulation = Simulation(graph, lambda task: {"count": 1}).begin()
    run = simulation.run
    (record,) = run.handle(NodeDone(0, 1, NodeResult(0, '{"count":1}')), 0.0)
    assert isinstance(record, Record)
    (start,) = run.handle(Committed(record.number), 0.0)
    assert isinstance(start, Dispatch)
    nap = start.node
    run.handle(NodeDone(nap, 1, NodeResult(0, "1", wait=5.0)), 0.0)
    run.handle(Committed(2), 0.0)
    (end,) = run.handle(TimerDue(nap), 5.0)
    assert isinstance(end, Record)
    assert (end.outcome.node_key, end.outcome.kind) == ("L", Kind.COMPLETED)


def test_a_timer_that_is_enough_for_a_fork_cancels_the_others() -> None:
    run = Simulation(TestForks.graph(1), lambda task: None).begin().run
    run.handle(NodeDone(0, 1, NodeResult(0)), 0.0)
    run.handle(Committed(1), 0.0)
    run.handle(NodeDone(1, 1, NodeResult(0, "1", wait=5.0)), 0.0)
    run.handle(Committed(2), 0.0)
    assert run.handle(TimerDue(1), 5.0) == [Abandon((2, 3)), Dispatch(4, 1)]
