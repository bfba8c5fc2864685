"""A graph means what docs/workflows.md says: what runs, what is read and what is recorded, also after any crash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dray.cluster.graph.canonical import canonical
from tests.unit.cluster.execution.authors import condition, run, setter, source
from tests.unit.cluster.execution.simulation import Simulation, stored
from tests.unit.cluster.graphs import HANDLERS, node, refused

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


class TestVariables:
    SIZE = (
        ROWS,
        condition("big", "item > 10"),
        setter("set_big", "size", "big"),
        setter("set_small", "size", "small"),
        node("after", see="{{ vars.size }}"),
    )
    WAYS = "big -true-> set_big -> rows; big -false-> set_small -> rows; rows -done-> after"

    @pytest.mark.parametrize(
        ("rows", "last"), [([1, 3, 20], "big"), ([20, 3, 1], "small"), ([20, 1, 20], "big"), ([1, 20, 1], "small")]
    )
    @pytest.mark.parametrize("turned", [False, True])
    def test_the_last_that_ran_counts_after_a_loop(self, rows: Any, last: str, turned: bool) -> None:
        nodes = [*self.SIZE[:2], *self.SIZE[2:4][:: -1 if turned else 1], self.SIZE[4]]
        found = run(source(nodes, f"rows -body-> {self.WAYS}"), {"rows": rows})
        assert found.output("after") == last

    def test_and_in_its_next_turn(self) -> None:
        nodes = [*self.SIZE, setter("none", "size", "none"), node("seen", see="{{ vars.size }}")]
        ways = f"none -> rows -body-> seen -> {self.WAYS}"
        found = run(source(nodes, ways), {"rows": [1, 20, 3, 20]})
        assert [found.output(f"rows[{turn}]/seen") for turn in range(4)] == ["none", "small", "big", "small"]

    def test_through_loops_in_each_other_and_where_the_name_is_computed(self) -> None:
        nodes = [
            node("lists", "for", array_expression="input.lists", loop_variable="list"),
            node("rows", "for", array_expression="nodes.lists.output.item"),
            condition("big", "nodes.rows.output.item > 10"),
            setter("set_big", "{{ input.name }}", "big"),
            setter("set_small", "size", "small"),
            node("after", see="{{ vars.size }}"),
            node("between", see="{{ vars.size }}"),
        ]
        ways = "lists -body-> rows -body-> big -true-> set_big -> rows; big -false-> set_small -> rows"
        ways += "; rows -done-> between -> lists; lists -done-> after"
        found = run(source(nodes, ways), {"lists": [[1], [1, 20], [20, 1], [20]], "name": "size"})
        between = [found.output(f"lists[{turn}]/between") for turn in range(4)]
        assert between == ["small", "big", "small", "big"]
        assert found.output("after") == "big"

    @pytest.mark.parametrize("order", [0, -1])
    def test_of_two_side_by_side_the_one_with_the_longer_way_to_it(self, order: int) -> None:
        nodes = [setter("long", "x", "long"), setter("short", "x", "short"), node("after", see="{{ vars.x }}")]
        ways = "start -> step -> long -> after; start -> short -> after"
        assert run(source(nodes, ways), order=order).output("after") == "long"

    @pytest.mark.parametrize("order", [0, -1])
    @pytest.mark.parametrize(("first", "last"), [("a", "b"), ("b", "a")])
    def test_of_equals_the_later_in_the_list_of_nodes(self, order: int, first: str, last: str) -> None:
        nodes = [setter(first, "x", first), setter(last, "x", last), node("after", see="{{ vars.x }}")]
        ways = "start -> a -> after; start -> b -> after"
        assert run(source(nodes, ways), order=order).output("after") == last

    @pytest.mark.parametrize("order", [0, -1])
    def test_what_is_set_beside_a_reader_in_its_turn_is_not_seen_before_the_next(self, order: int) -> None:
        nodes = [ROWS, setter("set", "v", "{{ index }}"), node("see", see="{{ has(vars.v) ? vars.v : null }}")]
        ways = "rows -body-> a -> see -> rows; rows -body-> set -> rows"
        found = run(source(nodes, ways), {"rows": [1, 2]}, order=order)
        assert [found.output(f"rows[{turn}]/see") for turn in (0, 1)] == [None, 0]


class TestResults:
    """Of a foreach: what the node that led back gave."""

    @pytest.mark.parametrize(
        "ways", ["big -true-> each; big -false-> work -> each", "big -false-> work -> each; big -true-> each"]
    )
    def test_of_the_node_that_led_back_whatever_the_order_of_the_edges(self, ways: str) -> None:
        found = run(source([FOREACH, condition("big", "item > 10")], f"each -body-> {ways}"), {"rows": [1, 20]})
        work, big = found.output("each")["results"]
        assert (work, big["condition_result"]) == ("each[0]/work", True)

    @pytest.mark.parametrize("ways", ["bad -true-> skip; bad -> each", "bad -> each; bad -true-> skip"])
    def test_null_where_the_item_ended_by_continue(self, ways: str) -> None:
        nodes = [FOREACH, condition("bad", "item == null"), node("skip", "continue")]
        found = run(source(nodes, f"each -body-> {ways}"), {"rows": [None, 1, None]})
        first, second, third = found.output("each")["results"]
        assert (first, second["condition_result"], third) == (None, False, None)

    def test_from_inside_a_cycle_and_from_inside_a_loop(self) -> None:
        nodes = [
            FOREACH,
            condition("ready", "vars.seen >= item"),
            node("inner", "repeat", repeat_count=5),
        ]
        nodes += [setter("count", "seen", "{{ has(vars.seen) ? vars.seen + 1 : 1 }}"), condition("two", "index == 2")]
        ways = "each -body-> count -> ready; ready -false-> count; ready -true-> each"
        found = run(source([nodes[0], nodes[1], nodes[3]], ways), {"rows": [1, 3]})
        assert [each["condition_result"] for each in found.output("each")["results"]] == [True, True]
        ways = "each -body-> inner -body-> two -false-> inner; two -true-> out -> each"
        found = run(source([nodes[0], nodes[2], nodes[4]], ways), {"rows": [1]})
        assert found.output("each")["results"] == ["each[0]/out"]
        ways = "each -body-> inner -body-> two -false-> inner; two -true-> each; inner -done-> each"
        found = run(source([nodes[0], nodes[2], nodes[4]], ways), {"rows": [1]})
        assert found.output("each")["results"][0]["condition_result"] is True

    @pytest.mark.parametrize("order", [0, -1])
    def test_of_several_the_one_with_the_longer_way_and_of_equals_the_later_in_the_list(self, order: int) -> None:
        nodes = [FOREACH, node("b"), node("a")]
        found = run(source(nodes, "each -body-> a -> each; each -body-> b -> each"), {"rows": [1]}, order=order)
        assert found.output("each")["results"] == ["each[0]/a"]
        found = run(source(nodes, "each -body-> a -> each; each -body-> b -> c -> each"), {"rows": [1]}, order=order)
        assert found.output("each")["results"] == ["each[0]/c"]


class TestSequential:
    @pytest.mark.parametrize("order", [0, -1])
    def test_forks_in_each_other_whose_ways_meet(self, order: int) -> None:
        nodes = [{**node("b"), "sequential": True}, {**node("c"), "sequential": True}]
        nodes += [node("g", see="{{ vars }}"), setter("e", "x", 1)]
        found = run(source(nodes, "b -> c; b -> f; c -> d; c -> e; d -> g; f -> g"), order=order)
        assert found.keys == ["b", "c", "d", "e", "f", "g"]

    def test_what_an_edge_into_the_body_leads_to_as_well_is_not_waited_for(self) -> None:
        nodes = [ROWS, {**node("f"), "sequential": True}, node("a"), node("x"), node("b")]
        ways = "rows -body-> f -> a -> x -> rows; rows -body-> x; f -> b -> rows"
        found = run(source(nodes, ways), {"rows": [1]})
        assert found.called == ["rows[]", "rows[0]/f", "rows[0]/a", "rows[0]/x", "rows[0]/b"]
        (order,) = [each for each in canonical(source(nodes, ways), HANDLERS)["added"] if each["role"] == "order"]
        assert (order["from"], order["to"]) == ("a", "b")


class TestWaysOutOfABody:
    """Decided when the loop ends, as its last turn took them, however that ended."""

    @pytest.mark.parametrize("leave", ["break", "continue"])
    @pytest.mark.parametrize("rows", [[1], [0, 1]])
    def test_they_are_followed_after_a_break_or_continue(self, leave: str, rows: Any) -> None:
        nodes = [ROWS, condition("last", "item == 1"), node("stop", leave)]
        ways = "rows -body-> work -> last -true-> stop; last -false-> rows; work -> log; rows -done-> after"
        found = run(source(nodes, ways), {"rows": rows})
        assert found.keys[-3:] == ["rows", "log", "after"] or found.keys[-3:] == ["rows", "after", "log"]

    def test_not_those_of_an_earlier_turn(self) -> None:
        nodes = [ROWS, condition("first", "item == 1"), condition("last", "item == 2"), node("stop", "break")]
        ways = "rows -body-> first -true-> log; first -> last -true-> stop; last -false-> rows; rows -done-> after"
        found = run(source(nodes, ways), {"rows": [1, 2]})
        assert found.keys[-2:] == ["rows", "after"]

    def test_also_out_of_a_loop_in_the_one_that_is_left(self) -> None:
        nodes = [ROWS, node("inner", "repeat", repeat_count=3), node("stop", "break", loop_label="rows")]
        nodes += [condition("now", "nodes.inner.output.index == 1")]
        ways = (
            "rows -body-> inner -body-> work -> now -true-> stop; now -false-> inner; inner -done-> rows; work -> log"
        )
        found = run(source(nodes, ways), {"rows": [1, 2]})
        assert found.keys[-2:] == ["rows", "log"]


class TestErrors:
    """What a node is told of a failure is what led to it."""

    J = node("j", see="{{ error == null ? null : error.node }}")

    def told(self, ways: str, fails: Any, *nodes: Any, given: Any = None, key: str = "j", order: int = 0) -> Any:
        return run(source([self.J, *nodes], ways), given, fails=fails, order=order).output(key)

    @pytest.mark.parametrize(("x", "node_id"), [(True, "a"), (False, None)])
    def test_of_a_way_that_was_not_taken_nothing(self, x: bool, node_id: str | None) -> None:
        ways = "s -> a -failed-> x -true-> j; s -> j"
        assert self.told(ways, ["a"], condition("x"), given={"x": x}) == node_id

    def test_behind_what_a_failure_led_to(self) -> None:
        assert self.told("a -failed-> b -> c -> j", ["a"]) == "a"
        assert self.told("a -failed-> b -> c -> j; a -> j", []) is None

    @pytest.mark.parametrize("order", [0, -1])
    def test_of_several_what_came_over_an_error_edge_then_the_longer_way(self, order: int) -> None:
        assert self.told("s -> a -failed-> b -> c -> d -> j; s -> z -failed-> j", "az", order=order) == "z"
        assert self.told("s -> a -> b -failed-> j; s -> z -failed-> j", "bz", order=order) == "b"
        assert self.told("s -> z -failed-> j; s -> b -failed-> j", "bz", node("b"), node("z"), order=order) == "z"

    def test_also_past_a_catch_that_caught_nothing(self) -> None:
        nodes = [node("t", "try"), node("c", "catch"), node("f", "finally")]
        assert self.told("t -> a -failed-> b -> c -> r -> f -> j", ["a"], *nodes) == "a"

    def test_a_catch_is_not_told_of_what_was_caught_before_its_try(self) -> None:
        nodes = [node("t", "try"), node("c", "catch")]
        found = run(source(nodes, "a -failed-> b -> t -> work -> c"), fails=["a"])
        assert found.output("c")["caught"] is False

    def test_in_a_body_what_led_to_the_loop_unless_something_in_the_turn_did(self) -> None:
        ways = "a -failed-> rows -body-> w -failed-> j -> rows; w -success-> j"
        found = run(source([self.J, ROWS], ways), {"rows": [1, 2, 3]}, fails=["a", "rows[1]/w"])
        assert [found.output(f"rows[{turn}]/j") for turn in range(3)] == ["a", "w", "a"]

    def test_out_of_a_loop_as_its_last_turn_took_it(self) -> None:
        ways = "rows -body-> w -> rows; w -failed-> h -> j; rows -done-> d"
        assert self.told(ways, ["rows[1]/w"], ROWS, given={"rows": [1, 2]}) == "w"
        ways = "rows -body-> w -> rows; w -failed-> h -> rows; rows -done-> j"
        assert self.told(ways, ["rows[1]/w"], ROWS, given={"rows": [1, 2]}) is None

    def test_a_loop_in_a_loop_that_goes_round_too_often_is_named_by_its_id(self) -> None:
        nodes = [ROWS, node("inner", "repeat", repeat_count=9, max_iterations=2)]
        found = run(source(nodes, "rows -body-> inner -body-> work -> inner -done-> rows"), {"rows": [1]})
        assert (error_of(found)["type"], error_of(found)["node"]) == ("iteration_limit", "inner")


class TestTries:
    """A catch and a finally run in any case."""

    T, C, F = node("t", "try"), node("c", "catch"), node("f", "finally")

    @pytest.mark.parametrize("x", [True, False])
    def test_also_where_a_choice_ended_the_path(self, x: bool) -> None:
        nodes = [self.T, self.C, self.F, condition("x")]
        for ways in ("t -> x -true-> w -> c -> f -> d", "t -> x -true-> w -> f -> d", "t -> x -true-> w -> c -> d"):
            named = [each for each in nodes if f" {each['id']}" in ways or ways.startswith(each["id"])]
            found = run(source(named, ways), {"x": x})
            ran = [each for each in ["t", "x", "w", "c", "f", "d"] if each in ways and (x or each != "w")]
            assert sorted(found.keys) == sorted(ran), ways

    def test_the_finally_where_a_choice_ended_the_path_after_the_catch(self) -> None:
        nodes = [self.T, self.C, self.F, condition("x")]
        found = run(source(nodes, "t -> w -> c -> x -true-> r -> f -> d"), {"x": False}, fails=["w"])
        assert found.keys == ["t", "w", "c", "x", "f", "d"]

    def test_a_second_catch_where_a_choice_ended_the_path_after_the_first(self) -> None:
        nodes = [self.T, self.C, node("c2", "catch"), condition("x")]
        found = run(source(nodes, "t -> w -> c -> x -true-> r -> c2 -> d"), {"x": False}, fails=["w"])
        assert found.keys == ["t", "w", "c", "x", "c2", "d"]
        assert found.output("c2")["caught"] is False

    def test_but_not_where_the_try_did_not_run_or_its_turn_was_left(self) -> None:
        nodes = [self.T, self.C, condition("x")]
        assert run(source(nodes, "x -true-> t -> w -> c"), {"x": False}).keys == ["x"]
        nodes = [ROWS, self.T, self.C, node("out", "break"), condition("x", "item == 1")]
        found = run(source(nodes, "rows -body-> t -> x -true-> out; x -false-> w -> c -> rows"), {"rows": [1]})
        assert "rows[0]/c" not in found.keys


class TestBranches:
    """Side by side, of which some are enough."""

    ANY = node("f", parallel_wait_mode="any")

    @staticmethod
    def two(**more: Any) -> dict[str, Any]:
        return {**node("f"), "parallel_wait_mode": "n_of_m", "parallel_wait_n": 2, **more}

    @pytest.mark.parametrize("mode", [{"parallel_wait_mode": "any"}, {"sequential": True}])
    def test_the_options_hold_though_a_failure_of_the_fork_leads_into_a_branch(self, mode: dict[str, Any]) -> None:
        fork = {**node("f"), **mode}
        ways = "f -> a -> j; f -> b -> j; f -failed-> a"
        keys = run(source([fork], ways), crashes=False).keys
        assert keys == (["f", "b", "j"] if "sequential" not in mode else ["f", "a", "b", "j"])
        failed = run(source([fork], ways), fails=["f"]).keys
        assert failed == ["f", "a", "j"]

    @pytest.mark.parametrize("order", [0, -1])
    def test_what_hangs_aside_from_a_branch_is_cancelled_with_it(self, order: int) -> None:
        ways = "f -> a -> j; f -> b -> b2 -> j; b -> aside -> more"
        found = run(source([self.ANY], ways), crashes=False)
        assert found.settled is not None
        assert found.settled.status == "completed"
        assert "more" not in found.keys
        assert "aside" not in found.keys

    def test_but_not_from_one_that_arrived(self) -> None:
        found = run(source([self.ANY], "f -> a -> j; a -> aside -> more; f -> b -> b2 -> b3 -> j"))
        assert {"aside", "more", "j"} <= set(found.keys)

    def test_and_its_failure_is_borne(self) -> None:
        ways = "f -> a -> j; f -> b -> j; f -> c -> j; a -> aside"
        found = run(source([self.two()], ways), fails=["aside"], order=-1)
        assert found.settled is not None
        assert found.settled.status == "completed"
        found = run(source([self.two()], ways), fails=["aside"])
        assert found.settled is not None
        assert found.settled.status == "completed"

    def test_a_failure_that_the_branch_itself_catches_does_not_count(self) -> None:
        nodes = [self.two(), condition("x"), condition("y")]
        ways = "f -> a -failed-> h -> j; f -> x -true-> b -> j; f -> y -true-> c -> j"
        found = run(source(nodes, ways), {"x": False, "y": False}, fails=["a"])
        assert sorted(found.keys) == ["a", "f", "h", "j", "x", "y"]

    def test_also_where_its_failure_leads_past_the_node_where_they_meet(self) -> None:
        found = run(source([self.ANY], "f -> a -> j; f -> b -> j -> k; f -failed-> k"), crashes=False)
        assert found.keys == ["f", "a", "j", "k"]
        assert run(source([self.ANY], "f -> a -> j; f -> b -> j -> k; f -failed-> k"), fails=["f"]).keys == ["f", "k"]

    def test_a_fork_that_was_skipped_bears_nothing(self) -> None:
        nodes = [node("f", parallel_wait_mode="any"), condition("x")]
        ways = "x -true-> f; s -> a -> j; f -> a; f -> j"
        assert error_of(run(source(nodes, ways), {"x": False}, fails=["a"]))["type"] == "Boom"

    @pytest.mark.parametrize("reader", ["j", "after"])
    def test_what_may_be_cancelled_is_not_read_elsewhere(self, reader: str) -> None:
        nodes = [self.ANY, node(reader, see="{{ nodes.a.output }}")]
        line = (
            f"node '{reader}': config reads the output of 'a', which is in a branch of 'f' that may be cancelled: "
            "read the merge where the branches meet, or let it wait for all"
        )
        assert refused(source(nodes, "f -> a -> a2 -> j -> after; f -> b -> j")) == [line]
        nodes[0] = node("f")
        assert run(source(nodes, "f -> a -> a2 -> j -> after; f -> b -> j")).output(reader) == "a"

    def test_in_its_own_branch_it_is(self) -> None:
        nodes = [self.ANY, node("a2", see="{{ nodes.a.output }}")]
        ways = "f -> a -> a2 -> j; f -> b -> b2 -> b3 -> b4 -> j"
        assert run(source(nodes, ways), crashes=False).output("a2") == "a"

    def test_also_in_loops_in_it(self) -> None:
        nodes = [self.ANY, ROWS, node("w", see="{{ nodes.a.output }}"), node("j", see="{{ nodes.w.output }}")]
        (line,) = refused(source(nodes, "f -> a -> rows -body-> w -> rows -> j; f -> b -> j"))
        assert "reads the output of 'w', which is in a branch of 'f'" in line


def test_a_node_that_names_all_others_is_checked_like_any_other() -> None:
    nodes = [node("a"), node("b", see="{{ nodes.a.output }}{{ nodes.b.output }}{{ nodes.c.output }}"), node("c")]
    lines = refused(source(nodes, "a -> b -> c"))
    assert len(lines) == 2
    assert "config reads the output of the node itself" in lines[0]
    nodes[1] = node("b", see="{{ nodes[input.x].output }}{{ nodes.c.output }}")
    (line,) = refused(source(nodes, "a -> b -> c"))
    assert "config reads the output of node 'c', which does not surely run before it" in line


class TestWhatWasOpen:
    """Where a reader of the page would have to guess, it says what holds."""

    @pytest.mark.parametrize("order", [0, -1])
    def test_a_loop_that_is_left_by_an_edge_out_of_its_body_takes_no_done_edge(self, order: int) -> None:
        nodes = [ROWS, condition("found", "item == 2")]
        ways = "rows -body-> found -false-> rows; found -true-> out; rows -done-> none"
        assert run(source(nodes, ways), {"rows": [1, 2]}, order=order).keys[-2:] == ["rows", "out"]
        assert run(source(nodes, ways), {"rows": [1]}, order=order).keys[-2:] == ["rows", "none"]

    def test_a_loop_over_more_items_than_it_may_take_fails_before_the_first(self) -> None:
        for loop in (
            node("rows", "for", array_expression="input.rows", max_iterations=2),
            node("rows", "repeat", repeat_count="size(input.rows)", max_iterations=2),
        ):
            found = run(source([loop], "rows -body-> w -> rows"), {"rows": [1, 2, 3]})
            assert error_of(found)["type"] == "iteration_limit"
            assert found.keys == ["rows[]", "rows"]

    def test_a_while_and_a_cycle_when_they_would_go_on(self) -> None:
        loop = node("rows", "while", condition_expression="true", max_iterations=2)
        found = run(source([loop], "rows -body-> w -> rows"))
        assert error_of(found)["type"] == "iteration_limit"
        assert [key for key in found.keys if key.endswith("w")] == ["rows[0]/w", "rows[1]/w"]
        nodes = [{**node("ask"), "max_iterations": 2}, condition("ready", "false")]
        found = run(source(nodes, "s -> ask -> ready -false-> ask"))
        assert error_of(found) | {"message": ""} == {"type": "iteration_limit", "message": "", "node": "ask"}
        assert [key for key in found.keys if key.endswith("/ask")] == ["ask[0]/ask", "ask[1]/ask"]

    def test_a_foreach_has_no_limit(self) -> None:
        each = node("each", "foreach", array_expression="input.rows", max_iterations=1)
        written = source([each], "each -body-> w -> each")
        assert run(written, {"rows": [1, 2, 3]}).output("each")["count"] == 3
        assert canonical(written, HANDLERS)["warnings"] == [
            "node 'each': max_iterations is not read: a foreach takes each of its items once"
        ]

    def test_a_failed_edge_in_a_cycle_is_of_the_node_that_it_leaves_and_a_catch_takes_what_the_cycle_does(self) -> None:
        ask = {**node("ask"), "max_iterations": 2}
        nodes = [ask, condition("ready", "false"), node("t", "try"), node("c", "catch")]
        ways = "ask -> ready -false-> ask; ask -failed-> h"
        found = run(source(nodes[:2], f"s -> {ways}"))
        assert error_of(found)["type"] == "iteration_limit"
        assert run(source(nodes[:2], f"s -> {ways}"), fails=["ask[1]/ask"]).keys[-1] == "h"
        found = run(source(nodes, "t -> ask -> ready -false-> ask; ready -true-> c"))
        assert found.output("c")["error"]["type"] == "iteration_limit"

    def test_after_a_loop_that_failed_the_outputs_of_its_last_turn_that_ended(self) -> None:
        nodes = [ROWS, node("w"), node("x"), node("h", see="{{ [nodes.w.output, nodes.rows.output, vars.v] }}")]
        nodes += [setter("v", "v", "{{ index }}")]
        ways = "rows -body-> v -> w -> x -> rows; rows -failed-> h"
        found = run(source(nodes, ways), {"rows": [1, 2, 3]}, fails=["rows[1]/x"])
        assert found.output("h") == ["rows[0]/w", None, 0]

    def test_and_after_a_foreach_that_failed_null(self) -> None:
        nodes = [FOREACH, node("w"), node("x"), node("h", see="{{ [nodes.w.output, nodes.each.output] }}")]
        ways = "each -body-> w -> x -> each; each -failed-> h"
        assert run(source(nodes, ways), {"rows": [1, 2]}, fails=["each[1]/x"]).output("h") == [None, None]

    def test_a_cycle_that_nothing_enters_begins_at_its_loop_node_its_trigger_or_its_first_node(self) -> None:
        ways = "a -> b -> c -true-> a; c -false-> d"
        for first in ("a", "b"):
            nodes = [node(first), condition("c", "false")]
            assert run(source(nodes, ways)).keys[0] == f"{first}[0]/{first}"
        nodes = [node("a"), node("b", "trigger"), condition("c", "false")]
        assert run(source(nodes, ways)).keys[0] == "b[0]/b"
        nodes = [node("a"), node("b", "repeat", repeat_count=1)]
        assert run(source(nodes, "a -> b -body-> a; b -done-> c")).keys == ["b[]", "b[0]/a", "b", "c"]
        nodes = [node("a"), node("b", "trigger"), condition("c", "false")]
        assert run(source(nodes, ways, entry_node_id="a")).keys[0] == "a[0]/a"

    THREE = node("f", parallel_wait_mode="n_of_m", parallel_wait_n=2)
    WAYS = "f -> x -true-> a -> j; f -> y -true-> b -> j; f -> z -true-> c -> j; j -> end"

    @pytest.mark.parametrize(
        ("taken", "fails", "last"),
        [("x", "", "end"), ("", "", None), ("xy", "", "end"), ("xy", "a", "failed"), ("xyz", "a", "end")],
    )
    def test_branches_that_end_by_a_choice_are_not_waited_for(self, taken: str, fails: str, last: str | None) -> None:
        nodes = [self.THREE, *(condition(each, f"input.{each}") for each in "xyz")]
        found = run(source(nodes, self.WAYS), {each: each in taken for each in "xyz"}, fails=list(fails), crashes=False)
        if last == "failed":
            assert (error_of(found)["type"], error_of(found)["node"]) == ("parallel_failed", "f")
        else:
            assert found.settled is not None
            assert found.settled.status == "completed"
            assert ("end" in found.keys) == (last == "end")

    def test_the_failure_of_a_fork_in_a_branch_is_borne_by_the_fork_around_it(self) -> None:
        nodes = [node("f", parallel_wait_mode="any"), node("g", parallel_wait_mode="any")]
        ways = "f -> g; g -> a -> i; g -> b -> i; i -> j; f -> c -> d -> e -> j; j -> end"
        found = run(source(nodes, ways), fails=["a", "b"], crashes=False)
        assert found.keys[-2:] == ["j", "end"]
        found = run(source(nodes, ways), fails=["a", "b", "d"], crashes=False)
        assert (error_of(found)["type"], error_of(found)["node"]) == ("parallel_failed", "f")

    def test_too_few_branches_are_a_failure_of_the_node_where_they_meet(self) -> None:
        nodes = [node("f", parallel_wait_mode="any"), node("h", see="{{ [error.type, error.node] }}")]
        ways = "f -> a -> j; f -> b -> j; j -failed-> h"
        assert run(source(nodes, ways), fails=["a", "b"]).output("h") == ["parallel_failed", "f"]
        both = "f -> a -> j; f -> a -> i; f -> b -> j; f -> b -> i; j -failed-> h"
        assert run(source(nodes, both), fails=["a", "b"]).keys == ["f", "a", "b", "h"]
        nodes = [nodes[0], node("t", "try"), node("k", "catch")]
        found = run(source(nodes, "t -> f -> a -> j; f -> b -> j -> k"), fails=["a", "b"])
        assert found.output("k")["error"] | {"message": ""} == {"type": "parallel_failed", "message": "", "node": "f"}

    def test_a_break_in_a_cycle_in_a_loop_ends_both(self) -> None:
        nodes = [ROWS, condition("ready", "item == 2"), node("stop", "break"), condition("more", "item == 1")]
        ways = "rows -body-> ask -> ready -true-> stop; ready -false-> more -false-> ask; more -true-> rows; rows -> d"
        found = run(source(nodes, ways), {"rows": [1, 2, 3]})
        assert found.keys[-2:] == ["rows", "d"]
        assert found.output("rows") == {"iterations": 2, "ended_by": "break"}

    @pytest.mark.parametrize("kind", ["catch", "finally"])
    def test_two_tries_side_by_side_do_not_share_a_catch_or_finally(self, kind: str) -> None:
        nodes = [node("t1", "try"), node("t2", "try"), node("x", kind)]
        assert refused(source(nodes, "s -> t1 -> a -> x; s -> t2 -> b -> x")) == [
            f"node 'x': ends two tries side by side, 't1' and 't2': give each a {kind} of its own"
        ]
        nodes = [node("t1", "try"), node("t2", "try"), node("c1", "catch"), node("c2", "catch")]
        found = run(source(nodes, "s -> t1 -> a -> c1 -> j; s -> t2 -> b -> c2 -> j"), fails=["a"])
        assert found.output("c1")["caught"] is True
        assert found.output("c2")["caught"] is False
        assert found.keys[-1] == "j"
