"""try, catch, finally, error edges and forks, from what people write to what runs, without a database."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Collection
from typing import Any

from dray.actors.context import Branch, NodeContext
from dray.actors.messages import NodeFailure, NodeResult, NodeTask
from dray.actors.registry import HANDLERS, load_handlers
from dray.actors.runner.answer import failure_of
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.load import load
from dray.cluster.graph.types import Graph
from dray.store.records import Kind
from tests.unit.cluster.execution.simulation import Simulation, with_crashes
from tests.unit.cluster.graph.test_tries import tried
from tests.unit.cluster.graphs import HANDLERS as KNOWN
from tests.unit.cluster.graphs import chain, edge, graph, node

load_handlers()


class Answers:
    """Nodes of the built-in types answer for themselves, those in `failing` fail, the others answer their key."""

    def __init__(self, source: Any, failing: Collection[str] = ()) -> None:
        self.types = {each["id"]: (each["type"], each["config"]) for each in source["nodes"]}
        self.failing = failing
        self.errors: dict[str, Any] = {}

    def __call__(self, task: NodeTask) -> Any:
        name = task.node_key.rstrip("[]").rpartition("/")[2]
        node_type, config = self.types[name]
        error = json.loads(task.error) if task.error else None
        self.errors[task.node_key] = error
        if name in self.failing or task.node_key in self.failing:
            return NodeResult(0, failure=NodeFailure("Boom", f"{name} broke", retryable=False))
        if node_type == "plain":
            return {"key": task.node_key}
        spec = HANDLERS[node_type]
        ctx = NodeContext("e1", task.node_key, 1, 1e12, {"error": error, "input": {"n": 2}}, {})
        try:
            answer = spec.function(spec.parse(config), ctx)
            answer = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
        except Exception as failure:  # as a runner does
            return NodeResult(0, failure=failure_of(failure))
        if isinstance(answer, Branch):
            return NodeResult(0, json.dumps(answer.output), answer.label)
        return answer


def run(source: Any, *failing: str) -> tuple[Simulation, Answers]:
    answers = Answers(source, failing)
    return with_crashes(compiled(source), answers), answers


def compiled(source: Any) -> Graph:
    return load(7, "w", 1, canonical(source, KNOWN))


def ran(whole: Simulation) -> list[str]:
    return [each.node_key for each in whole.records if each.kind == Kind.COMPLETED]


def status(whole: Simulation) -> tuple[str, Any]:
    assert whole.settled is not None
    return whole.settled.status, json.loads(whole.settled.error or "null")


CHAIN = ("try", "a", "b", "catch", "c", "finally", "d")
WHOLE = graph(tried(*CHAIN), chain(*CHAIN))


def test_nothing_fails() -> None:
    whole, _ = run(WHOLE)
    assert ran(whole) == ["try", "a", "b", "catch", "finally", "d"]
    assert whole.output("catch") == {"caught": False, "error": None, "result": None}
    assert status(whole) == ("completed", None)


def test_a_failure_is_caught_and_the_rest_goes_on() -> None:
    whole, answers = run(WHOLE, "a")
    assert ran(whole) == ["try", "catch", "c", "finally", "d"]
    assert whole.output("catch")["error"] == {"type": "Boom", "message": "a broke", "node": "a"}
    assert answers.errors["finally"] is None
    assert status(whole) == ("completed", None)


def test_a_failure_of_the_catch_block_leads_to_finally_and_ends_the_execution() -> None:
    whole, answers = run(WHOLE, "a", "c")
    assert answers.errors["finally"]["message"] == "c broke"
    assert ran(whole) == ["try", "catch"]
    assert status(whole) == ("failed", {"type": "Boom", "message": "c broke", "node": "c"})


def test_a_failure_of_another_type_goes_past_the_catch_to_finally() -> None:
    nodes = [{**each, "config": {"error_type": "Bang"}} if each["id"] == "catch" else each for each in WHOLE["nodes"]]
    whole, _ = run({**WHOLE, "nodes": nodes}, "a")
    assert status(whole) == ("failed", {"type": "Boom", "message": "a broke", "node": "a"})


def test_without_a_catch_finally_runs_and_fails_again() -> None:
    ids = ("try", "a", "finally", "d")
    whole, answers = run(graph(tried(*ids), chain(*ids)), "a")
    assert answers.errors["finally"]["node"] == "a"
    assert status(whole) == ("failed", {"type": "Boom", "message": "a broke", "node": "a"})


def test_an_outer_catch_has_what_an_inner_finally_hands_on() -> None:
    ids = ("try1", "try2", "a", "finally2", "catch1", "d")
    whole, _ = run(graph(tried(*ids), chain(*ids)), "a")
    assert ran(whole)[-2:] == ["catch1", "d"]
    assert whole.output("catch1")["error"] == {"type": "Boom", "message": "a broke", "node": "a"}


def test_whoever_hands_a_failure_on_it_names_the_node_where_it_was() -> None:
    ids = ("try1", "try2", "try3", "a", "catch3", "finally3", "finally2", "catch1", "d")
    nodes = [{**each, "config": {"error_type": "Bang"}} if each["type"] == "catch" else each for each in tried(*ids)]
    whole, answers = run(graph(nodes, chain(*ids)), "a")
    boom = {"type": "Boom", "message": "a broke", "node": "a"}
    assert [answers.errors[each] for each in ("catch3", "finally3", "finally2", "catch1")] == [boom] * 4
    assert status(whole) == ("failed", boom)


def test_a_failure_in_a_loop_is_caught_around_it() -> None:
    nodes = [*tried("try", "work", "catch", "d"), node("loop", "for", array_expression=[1, 2, 3])]
    ways = [*chain("try", "loop", "work", "loop"), *chain("loop", "catch", "d")]
    whole, _ = run(graph(nodes, ways), "loop[1]/work")
    assert ran(whole) == ["try", "loop[]", "loop[0]/work", "catch", "d"]
    assert whole.output("catch")["error"]["message"] == "work broke"


def test_a_failure_in_a_cycle_is_caught_around_it() -> None:
    nodes = [*tried("try", "ask", "wait", "catch", "d"), node("ready", "condition", condition=False)]
    ways = [*chain("try", "ask", "ready"), edge("ready", "wait", False), edge("ready", "catch", True)]
    source = graph(nodes, [*ways, *chain("wait", "ask"), *chain("catch", "d")])
    for failing in ("ask[2]/wait", "ask[1]/ask"):
        whole, _ = run(source, failing)
        assert ran(whole)[-2:] == ["catch", "d"]
        assert "broke" in whole.output("catch")["error"]["message"]


def test_a_catch_in_a_loop_body_catches_each_time() -> None:
    nodes = [*tried("try", "a", "catch"), node("loop", "foreach", array_expression=[1, 2])]
    whole, _ = run(graph(nodes, chain("loop", "try", "a", "catch", "loop")), "a")
    assert status(whole) == ("completed", None)
    assert [each["caught"] for each in whole.output("loop")["results"]] == [True, True]


def test_an_error_edge_out_of_a_loop_brings_the_error_along() -> None:
    nodes = [*tried("a", "b"), node("loop", "for", array_expression=[1, 2]), node("say", x="{{ error.message }}")]
    whole, answers = run(
        graph(nodes, [*chain("loop", "a", "loop"), *chain("loop", "b"), edge("a", "say", "failed")]), "a"
    )
    assert ran(whole)[-1] == "say"
    assert answers.errors["say"]["message"] == "a broke"


# Forks

WAYS = [*chain("fork", "a", "join"), *chain("fork", "b", "join"), *chain("fork", "c", "join")]


def forked(**options: Any) -> Any:
    return graph([{**node("fork"), **options}, *map(node, ["a", "b", "c", "join"])], WAYS)


def test_any_takes_the_first_and_bears_failures() -> None:
    whole, _ = run(forked(parallel_wait_mode="any"), "a")
    assert status(whole)[0] == "completed"
    assert ran(whole) == ["fork", "b", "join"]
    whole, _ = run(forked(parallel_wait_mode="any"), "a", "b", "c")
    assert status(whole)[1]["type"] == "parallel_failed"


def test_two_of_three() -> None:
    whole, _ = run(forked(parallel_wait_mode="n_of_m", parallel_wait_n=2), "b")
    assert ran(whole) == ["fork", "a", "c", "join"]
    whole, _ = run(forked(parallel_wait_mode="n_of_m", parallel_wait_n=2), "b", "c")
    assert status(whole)[1]["type"] == "parallel_failed"


def in_a_try(**options: Any) -> Any:
    nodes = [*tried("try", "catch", "c", "finally", "d"), {**node("fork"), **options}, *map(node, ["a", "b", "join"])]
    ways = [
        *chain("try", "fork", "a", "join"),
        *chain("fork", "b", "join"),
        *chain("join", "catch", "c", "finally", "d"),
    ]
    return graph(nodes, ways)


def test_a_fork_in_a_try_bears_what_it_can() -> None:
    whole, _ = run(in_a_try(parallel_wait_mode="any"), "a")
    assert ran(whole) == ["try", "fork", "b", "join", "catch", "finally", "d"]


def test_a_fork_in_a_try_of_which_too_few_arrive_is_caught() -> None:
    whole, _ = run(in_a_try(parallel_wait_mode="n_of_m", parallel_wait_n=2), "a")
    assert ran(whole)[-4:] == ["catch", "c", "finally", "d"]
    assert whole.output("catch")["error"]["type"] == "parallel_failed"


def test_a_fork_in_a_fork_is_one_of_its_branches() -> None:
    nodes = [{**node("fork"), "parallel_wait_mode": "any"}, {**node("inner"), "parallel_wait_mode": "any"}]
    nodes += map(node, ["a", "b", "m", "x", "c", "join"])
    ways = [*chain("fork", "inner", "a", "m", "join"), *chain("inner", "b", "m"), *chain("fork", "x", "c", "join")]
    source = graph(nodes, ways)
    whole = Simulation(compiled(source), Answers(source, ("a", "b"))).begin().to_the_end()
    assert ran(whole) == ["fork", "inner", "x", "c", "join"]
    for order in (0, -1):  # the inner branches fail first, and last
        whole = Simulation(compiled(source), Answers(source, ("a", "b", "c")), order=order).begin().to_the_end()
        assert status(whole)[1]["type"] == "parallel_failed"


def test_sequential_branches_run_one_after_the_other() -> None:
    source = forked(sequential=True)
    simulation = Simulation(compiled(source), Answers(source), order=-1).begin().to_the_end()
    assert simulation.called == ["fork", "a", "b", "c", "join"]


def test_sequential_branches_with_a_cycle_and_a_loop() -> None:
    nodes = [{**node("fork"), "sequential": True}, *map(node, ["ask", "work", "z"]), node("join", "merge")]
    nodes += [node("ready", "condition", condition=True), node("loop", "for", array_expression=[1, 2])]
    ways = [*chain("fork", "ask", "ready"), edge("ready", "ask", False), *chain("fork", "loop", "work", "loop")]
    ways += [edge("ready", "join", True), *chain("loop", "join"), *chain("fork", "z", "join")]
    source = graph(nodes, ways)
    simulation = Simulation(compiled(source), Answers(source), order=-1).begin().to_the_end()
    assert simulation.called == [
        "fork", "ask[0]/ask", "ask[0]/ready", "loop[]", "loop[0]/work", "loop[1]/work", "z", "join",
    ]  # fmt: skip
