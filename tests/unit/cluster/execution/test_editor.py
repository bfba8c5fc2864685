"""Workflows as the platform's editor saves them and as people fill in its forms, as docs/workflows.md tells."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dray.actors.registry import load_handlers
from dray.cluster.graph.canonical import canonical
from dray.cluster.graph.diff import diff
from dray.cluster.graph.load import load
from dray.store.records import Kind
from tests.unit.cluster.execution.authors import run, setter, source
from tests.unit.cluster.execution.simulation import Simulation
from tests.unit.cluster.graphs import HANDLERS, node, refused

TRIGGER = "trigger-1700000000001"
WORK = "set_variable-1700000000002"
LOOSE = "http_request-1700000000003"
NEXT = "delay-1700000000004"


def saved(*nodes: tuple[str, dict[str, Any]], edges: list[tuple[str, str]], entry: str | None = None) -> dict[str, Any]:
    """As the editor saves it: the type is the beginning of the id."""
    graph: dict[str, Any] = {
        "nodes": [
            {"node_id": each, "node_type": each.split("-")[0], "position_x": 1, "position_y": 2, "config": config}
            for each, config in nodes
        ],
        "edges": [{"from": source, "to": target} for source, target in edges],
    }
    return graph | ({"entry_node_id": entry} if entry else {})


class TestWhatNobodyConnected:
    NODES = (
        (TRIGGER, {"trigger_type": "manual"}),
        (WORK, {"variable_name": "x", "variable_value": 1}),
        (LOOSE, {"method": "GET", "url": ""}),  # a form that nobody has filled in
    )

    @pytest.mark.parametrize("entry", [TRIGGER, None])
    def test_a_loose_node_does_not_run_and_is_warned_of(self, entry: str | None) -> None:
        graph = saved(*self.NODES, edges=[(TRIGGER, WORK)], entry=entry)
        why = f"the entry '{TRIGGER}' does not lead there" if entry else "no edge leads there"
        stored = canonical(graph, HANDLERS)
        assert stored["warnings"] == [f"graph: node '{LOOSE}' does not run, {why}: draw an edge to it, or remove it"]
        assert canonical(stored, HANDLERS) == stored
        assert run(graph).called == [WORK]

    def test_nor_does_what_hangs_behind_it_and_a_join_does_not_wait_for_it(self) -> None:
        edges = [(TRIGGER, WORK), (LOOSE, NEXT), (NEXT, WORK)]
        graph = saved(*self.NODES, (NEXT, {}), edges=edges, entry=TRIGGER)
        stored = canonical(graph, HANDLERS)
        assert f"'{LOOSE}', '{NEXT}' do not run" in stored["warnings"][0]
        assert canonical(stored, HANDLERS) == stored
        assert [each["id"] for each in stored["idle"]["nodes"]] == [LOOSE, NEXT]
        assert run(graph).called == [WORK]

    def test_without_an_entry_a_trigger_runs_though_it_is_loose_and_so_does_what_has_edges(self) -> None:
        other = "trigger-1700000000005"
        graph = saved(*self.NODES, (NEXT, {"delay_seconds": 0}), (other, {}), edges=[(WORK, NEXT)])
        found = run(graph)
        assert {TRIGGER, other, WORK, NEXT} == {each.node_key for each in found.records}

    def test_in_a_graph_without_edges_every_node_runs(self) -> None:
        first, second = (f"set_variable-{each}" for each in (1, 2))
        graph = saved((first, {"variable_name": "x"}), (second, {"variable_name": "y"}), edges=[])
        assert sorted(run(graph).called) == [first, second]

    def test_a_workflow_that_was_stored_with_a_loose_node_runs_as_it_did(self) -> None:
        """As versions of Dray before this one stored it: the node is one like the others."""
        nodes = (self.NODES[0], self.NODES[1], (NEXT, {"delay_seconds": 0}))
        old = canonical(saved(*nodes, edges=[(TRIGGER, WORK), (WORK, NEXT)]), HANDLERS)
        old["edges"].pop()
        old["nodes"][2]["needs"]["inputs"] = []
        graph = load(7, "w", 1, old)
        assert [graph.root.nodes[each].id for each in graph.root.starts] == [TRIGGER, NEXT]

    def test_it_is_no_end(self) -> None:
        """The output of the execution is that of the one end, and the ends are told by the nodes that are stored."""
        stored = canonical(saved(*self.NODES, edges=[(TRIGGER, WORK)]), HANDLERS)
        assert [each["id"] for each in stored["nodes"]] == [TRIGGER, WORK]

    def test_connecting_it_is_a_change(self) -> None:
        nodes = (self.NODES[0], self.NODES[1], (LOOSE, {"url": "https://example.com/a"}))
        loose = canonical(saved(*nodes, edges=[(TRIGGER, WORK)]), HANDLERS)
        drawn = canonical(saved(*nodes, edges=[(TRIGGER, WORK), (WORK, LOOSE)]), HANDLERS)
        assert [each["name"] for each in diff(loose, drawn)] == [LOOSE, f"{WORK} -> {LOOSE}"]


def last(found: Simulation, key: str) -> Any:
    """The output of the node in the turn that ran last."""
    records = [each for each in found.records if each.node_key == key and each.kind == Kind.COMPLETED]
    return json.loads(records[-1].outcome or "null")


class TestForms:
    def test_a_switch_has_its_expression_under_either_name(self) -> None:
        switch = node("by", "switch", expression="input.country", cases={"DE": "german"})
        ways = source([switch], "by -german-> here; by -default-> there")
        assert run(ways, {"country": "DE"}).called == ["by", "here"]
        assert run(ways, {"country": "FR"}).called == ["by", "there"]

    @pytest.mark.parametrize(
        "loop",
        [
            node("L", "repeat", repeat_count="3", loop_variable="item"),
            node("L", "loop", loop_type="repeat", repeat_count=3, loop_variable="item"),
            node("L", "while", condition_expression="!has(vars.seen) || vars.seen < 2", loop_variable="item"),
        ],
    )
    def test_the_item_of_a_loop_that_counts_is_its_index(self, loop: dict[str, Any]) -> None:
        found = run(source([loop, setter("set", "seen", "{{ item }}")], "L -body-> set; set -> L"), {"item": "input"})
        assert last(found, "L[2]/set")["value"] == 2

    def test_but_that_of_the_loop_around_it_where_that_has_items(self) -> None:
        nodes = [
            node("rows", "for", array_expression="input.rows", loop_variable="item"),
            node("twice", "repeat", repeat_count=2, loop_variable="item"),
            setter("set", "seen", "{{ item }}"),
        ]
        found = run(
            source(nodes, "rows -body-> twice; twice -body-> set; set -> twice; twice -done-> rows"), {"rows": [7]}
        )
        assert last(found, "rows[0]/twice[1]/set")["value"] == 7

    @pytest.mark.parametrize("runtime", ["e2b", "wasmedge", "bacalhau", "cline_node", "mcp_server"])
    def test_a_runtime_that_is_not_here_is_refused(self, runtime: str) -> None:
        (line,) = refused(source([node("run", "code", code="result = 1", runtime=runtime)], ""))
        assert line.startswith(f"node 'run': config.runtime: '{runtime}' is not here")
        assert "leave runtime out if that will do" in line

    @pytest.mark.parametrize("runtime", ["subprocess", "", None])
    def test_the_one_that_is_here_is_taken(self, runtime: str | None) -> None:
        assert canonical(source([node("run", "code", code="result = 1", runtime=runtime)], ""), HANDLERS)

    @pytest.mark.parametrize("node_type", ["set_variable", "get_variable"])
    @pytest.mark.parametrize(
        ("scope", "instead"), [("node", ".output.value"), ("loop", "at the beginning of each turn")]
    )
    def test_other_scopes_of_variables_are_refused_with_what_to_do(
        self, node_type: str, scope: str, instead: str
    ) -> None:
        (line,) = refused(source([node("v", node_type, variable_name="x", variable_scope=scope)], ""))
        assert line.startswith("node 'v': config.variable_scope: ")
        assert instead in line

    @pytest.mark.parametrize(
        ("initial", "rows", "result"),
        [
            ("0", [1, 2], 3),
            ("0", [], 0),
            ("", [1, 2], 3),
            ('""', ["a", "b"], "ab"),
            ("none", ["a"], "nonea"),
            ("{{ input.text }}", ["1"], "01"),
        ],
    )
    def test_the_initial_value_of_a_reduce_is_the_json_that_was_typed(
        self, initial: str, rows: Any, result: Any
    ) -> None:
        config = {"input_array": "input.rows", "reduce_function": "(acc, item) => acc + item", "initial_value": initial}
        graph = source([node("sum", "reduce", **config)], "")
        stored = canonical(graph, HANDLERS)
        assert canonical(stored, HANDLERS) == stored
        assert last(run(graph, {"rows": rows, "text": "0"}), "sum")["result"] == result

    @pytest.mark.parametrize(
        "sources", [["input.a", "{{ input.b }}", "left"], "input.a, input.b, left", '["input.a", "input.b", "left"]']
    )
    def test_a_merge_takes_paths(self, sources: Any) -> None:
        nodes = [node("left", "set_variable", variable_name="v"), node("both", "merge", input_sources=sources)]
        graph = source(nodes, "left -> both")
        found = run(graph, {"a": {"x": 1, "y": 1}, "b": {"y": 2}})
        assert last(found, "both") == {"result": {"x": 1, "y": 2, **last(found, "left")}, "count": 3}
        stored = canonical(graph, HANDLERS)
        assert canonical(stored, HANDLERS) == stored

    def test_a_merge_takes_nodes_further_before_it_and_leaves_null_out(self) -> None:
        nodes = [setter("far", "v", 1), setter("near", "v", 2)]
        nodes.append(node("both", "merge", merge_strategy="array", input_sources=["far", "input.none", "near"]))
        found = run(source(nodes, "far -> near; near -> both"), {"none": None})
        assert [each["value"] for each in last(found, "both")["result"]] == [1, 2]

    def test_a_misspelt_source_of_a_merge_is_refused(self) -> None:
        graph = source([node("both", "merge", input_sources=["lefft"])], "left -> both")
        assert refused(graph) == [
            "node 'both': config.input_sources: there is no node 'lefft' (did you mean 'left'?)",
        ]

    @pytest.mark.parametrize(
        ("node_type", "given", "meant"),
        [
            ("http_request", {"headers": '{"X-Id": "{{ input.id }}"}'}, {"headers": {"X-Id": "{{ input.id }}"}}),
            ("http_request", {"headers": "", "timeout": "", "method": "", "max_body_bytes": ""}, {}),
            ("code", {"code": "x", "input_data": '{"a": [1]}'}, {"input_data": {"a": [1]}}),
            ("code", {"code": "x", "input_data": "12"}, {"input_data": "12"}),
            ("code", {"code": "x", "input_data": "", "language": "", "memory_mb": ""}, {}),
            ("sub_workflow", {"workflow_id": "w", "input_data": '{"a": 1}', "version": ""}, {"input_data": {"a": 1}}),
            ("human_approval", {"options": '["yes", "no"]', "timeout_seconds": ""}, {"options": ["yes", "no"]}),
            ("human_approval", {"options": "", "on_timeout": ""}, {}),
            (
                "switch",
                {"switch_expression": "", "expression": "input.x", "cases": '{"1": "one"}'},
                {"cases": {"1": "one"}},
            ),
            ("map", {"input_array": "", "map_expression": "item"}, {}),
            (
                "split",
                {"split_strategy": "by_size", "split_config": '{"size": 2, "condition": ""}'},
                {"split_config": {"size": 2}},
            ),
            ("split", {"split_config": {"size": "", "key": "x", "condition": ""}}, {"split_config": {"key": "x"}}),
            ("delay", {"delay_seconds": "", "target_time": "", "condition_expression": ""}, {}),
            ("set_variable", {"variable_name": "x", "variable_value": ""}, {"variable_value": ""}),
            ("repeat", {"repeat_count": "2", "loop_variable": "", "max_iterations": ""}, {}),
        ],
    )
    def test_what_a_form_holds_is_read_as_it_is_meant(
        self, node_type: str, given: dict[str, Any], meant: dict[str, Any]
    ) -> None:
        given = {"url": "https://example.com", **given} if node_type == "http_request" else given
        before = json.dumps(given)
        edges = "n -body-> w; w -> n" if node_type == "repeat" else "start -> n"
        handlers = {**HANDLERS, "human_approval": load_handlers()["human_approval"]}
        stored = canonical(source([node("n", node_type, **given)], edges), handlers)
        assert canonical(stored, handlers) == stored
        assert json.dumps(given) == before
        (config,) = [each["config"] for each in stored["nodes"] if each["id"] == "n"]
        kept = {key: value for key, value in given.items() if value not in ("", None)}
        assert config == {**kept, **meant}

    def test_what_is_needed_and_empty_is_missing(self) -> None:
        assert refused(source([node("n", "map", map_expression=" ")], "start -> n")) == [
            "node 'n': config.map_expression: is missing: add it"
        ]

    def test_json_with_bare_templates_is_refused(self) -> None:
        call = node("n", "http_request", url="https://example.com", headers='{"X": {{ input.x }}}')
        assert refused(source([call], "start -> n")) == [
            "node 'n': config.headers: is no JSON: put each {{ }} in it in quotes"
        ]

    def test_nor_is_what_is_empty_beside_the_config_given(self) -> None:
        empty = ["max_retries", "timeout", "max_iterations", "at_most_once", "parallel_wait_mode", "parallel_wait_n"]
        written = {**setter("a", "x", 1), **dict.fromkeys(empty, "")}
        (stored, *_) = canonical(source([written], "a -> b; a -> c; b -> d; c -> d"), HANDLERS)["nodes"]
        assert stored.keys().isdisjoint(empty)

    def test_branches_are_side_by_side_where_a_form_leaves_that_open(self) -> None:
        fork = setter("a", "x", 1)
        fork["config"] |= {"parallel": "", "parallel_wait_mode": "", "parallel_aggregation": ""}
        assert "added" not in canonical(source([fork], "a -> b; a -> c; b -> d; c -> d"), HANDLERS)

    @pytest.mark.parametrize(("requirements", "told"), [(["requests"], 1), ("requests", 1), ("", 0), ([], 0)])
    def test_packages_that_nobody_installs_are_warned_of(self, requirements: Any, told: int) -> None:
        stored = canonical(source([node("n", "code", code="x", requirements=requirements)], "start -> n"), HANDLERS)
        warned = "node 'n': config.requirements is not read: packages belong into the image of the runners"
        assert stored["warnings"] == [warned][:told]
