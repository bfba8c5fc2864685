"""What goes in comes out: an output is the same to whoever reads it, before and after it was in the database."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.registry import HANDLERS, handler, load_handlers
from dray.actors.runner.answer import json_text
from dray.cluster.execution.attempts import Policy
from dray.cluster.graph.canonical import canonical
from dray.store.client.client import Client
from dray.store.driver_store import DriverStore
from tests.db.helpers import claimed, outcome
from tests.db.test_driver import PATIENCE, driving, until
from tests.pg import Sql

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
KEYS = TEXTS | st.sampled_from(["", "a", "b", "bb", "ba", "é", "zz", "日", "id", "total", "json", "10", "9"])
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e16, -1e16, 1e22, 1.0, -0.0, 0.0, 1e15, 2.0**53, 5e-324, 1e-7, 1.7976931348623157e308, 0.1]),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
ANSWERS = JSON | st.dictionaries(KEYS | st.integers() | st.none() | st.floats(-1e20, 1e20), JSON, max_size=5)
ALL = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@ALL
@given(answers=st.lists(ANSWERS, min_size=20, max_size=40))
def test_what_a_driver_holds_is_what_the_database_gives_back(
    answers: list[Any], store: DriverStore, client: Client
) -> None:
    """To the byte, order and kinds of numbers included: what is parsed from either."""
    texts = [json_text(answer, 1 << 20) for answer in answers]
    driver, ((execution, *_), *_) = claimed(store, client)
    store.commit(driver, [outcome(execution, f"n{index}", text) for index, text in enumerate(texts)], [])
    stored = {each.node_key: each.outcome for each in store.load_checkpoints([execution])}
    for index, text in enumerate(texts):
        back = json.loads(stored[f"n{index}"] or "null")
        assert json.dumps(back) == json.dumps(json.loads(text))
        assert json_text(back, 1 << 20) == text, "and it is in its form"


# Graphs

seen: dict[str, list[str]] = defaultdict(list)  # execution and node -> the config of each attempt
outputs: dict[str, Any] = {}


@pytest.fixture
def handlers() -> Iterator[None]:
    """send: each attempt tells what it would send; the first one fails, so that the execution is parked before the
    second. give: a node with an output of the test's."""
    load_handlers()
    before = dict(HANDLERS)

    @handler("send")
    def send(config: dict[str, Any], ctx: NodeContext) -> Any:
        body = json.dumps({"vars": config["vars"], "body": config["body"], "in": dict(ctx.inputs)}, ensure_ascii=False)
        seen[ctx.idempotency_key].append(body)
        if ctx.attempt == 1:
            raise NodeError("parked here")
        return outputs[config["gives"]]

    yield
    HANDLERS.clear()
    HANDLERS.update(before)
    seen.clear()
    outputs.clear()


EXPRESSIONS = ["{{ %s }}", "x {{ %s }}", "{{ [%s] }}", "{{ {'b': %s, 'a': 1} }}", "{{ `${%s}!` }}",
               "{{ size(text(%s)) }}",
               "{{ [%s, %s].map(x, type(x)) }}", "{{ type(%s) == double ? 'double' : text(%s == 1e16) }}"]  # fmt: skip


@st.composite
def graphs(draw: Any) -> tuple[dict[str, Any], list[Any]]:
    """Nodes that are given what those before them gave, over edges as they come; before the last there is a loop."""
    count = draw(st.integers(2, 4))
    nodes: list[dict[str, Any]] = []
    edges = []
    before: dict[str, set[str]] = {}

    def body(names: list[str]) -> list[str]:
        filled = []
        for name in names:
            for text in draw(st.lists(st.sampled_from(EXPRESSIONS), min_size=2, max_size=4)):
                filled.append(text.replace("%s", name))
        return filled

    for index in range(count):
        node_id = f"n{index}"
        sources = draw(st.sets(st.sampled_from([each["id"] for each in nodes]), min_size=1)) if nodes else set()
        before[node_id] = sources.union(*(before[each] for each in sources))
        edges += [{"from": each, "to": node_id} for each in sorted(sources)]
        names = ["input", *(f"nodes.{each}.output" for each in sorted(before[node_id]))]
        nodes.append({"id": node_id, "type": "send", "config": {"gives": node_id, "vars": None, "body": body(names)}})
    last = nodes[-1]["id"]
    names = ["item", "input", f"nodes.{last}.output"]
    nodes += [
        {"id": "set", "type": "set_variable",
         "config": {"variable_name": "v", "variable_value": "{{ nodes.n0.output }}"}},
        {"id": "each", "type": "foreach", "config": {"items": "{{ [nodes.n0.output, input] }}"}},
        {"id": "inside", "type": "send", "config": {"gives": "n0", "vars": "{{ vars.v }}", "body": body(names)}},
        {"id": "end", "type": "send",
         "config": {"gives": "n0", "vars": "{{ vars }}", "body": body(["nodes.inside.output", "vars.v"])}},
    ]  # fmt: skip
    edges += [{"from": last, "to": "set"}, {"from": "set", "to": "each"},
              {"from": "each", "to": "inside", "label": "body"},
              {"from": "inside", "to": "each"}, {"from": "each", "to": "end", "label": "done"}]  # fmt: skip
    return {"nodes": nodes, "edges": edges}, draw(st.lists(JSON, min_size=count, max_size=count))


@settings(ALL, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a second each: no shrinking
@given(graph=graphs(), given_input=JSON)
def test_a_node_sends_the_same_before_and_after_a_park(
    graph: tuple[dict[str, Any], list[Any]], given_input: Any, store: DriverStore, client: Client, handlers: None
) -> None:
    written, values = graph
    outputs.clear()
    seen.clear()
    outputs.update({f"n{index}": value for index, value in enumerate(values)})
    client.apply_workflow("w", canonical(written, HANDLERS))
    execution = client.submit("w", given_input)
    with driving(store, policy=Policy(retry_delay=0.02)):
        done = client.wait(execution, PATIENCE)
    assert (done.status, done.error) == ("completed", None)
    assert len(seen) == len(values) + 2 + 1, "every node, and the one in the loop for two items"
    for key, bodies in seen.items():
        assert len(bodies) == 2, key
        assert bodies[0] == bodies[1], key


def test_the_error_that_led_to_a_node_is_the_same_before_and_after_a_park(
    store: DriverStore, client: Client, handlers: None
) -> None:
    @handler("fail")
    def fail(config: dict[str, Any], ctx: NodeContext) -> Any:
        raise ConfigError("no")

    outputs["n0"] = 1
    config = {"gives": "n0", "vars": "{{ error }}", "body": ["{{ error }}!", "{{ [error] }}"]}
    nodes = [{"id": "f", "type": "fail"}, {"id": "after", "type": "send", "config": config}]
    client.apply_workflow(
        "w", canonical({"nodes": nodes, "edges": [{"from": "f", "to": "after", "label": "failed"}]}, HANDLERS)
    )
    execution = client.submit("w", {})
    with driving(store, policy=Policy(retry_delay=0.02)):
        assert client.wait(execution, PATIENCE).status == "completed"
    (bodies,) = seen.values()
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert json.loads(bodies[0])["vars"]["type"] == "config"


def test_the_first_attempt_was_before_a_park(store: DriverStore, client: Client, handlers: None, sql: Sql) -> None:
    """Else the tests above would compare the same with the same."""
    outputs["n0"] = {"bb": 1, "a": 1e16}
    nodes = [{"id": each, "type": "send", "config": {"gives": "n0", "vars": None, "body": []}} for each in ("n0", "n1")]
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": [{"from": "n0", "to": "n1"}]}, HANDLERS))
    execution = client.submit("w", {})
    with driving(store, policy=Policy(retry_delay=0.02)):
        assert client.wait(execution, PATIENCE).status == "completed"
    assert sql("SELECT claim_count FROM dray.execution WHERE id = %(id)s::uuid", id=execution) == [(3,)]


def test_a_node_sends_the_same_after_its_driver_lost_it(
    store: DriverStore, client: Client, handlers: None, sql: Sql
) -> None:
    """Its lease runs out while the node runs; whoever claims the execution then has the outcome before from the
    database."""
    bodies: list[str] = []
    go = threading.Event()

    @handler("held")
    def held(config: dict[str, Any], ctx: NodeContext) -> Any:
        bodies.append(json.dumps(config["body"], ensure_ascii=False))
        if len(bodies) == 1:
            go.wait(PATIENCE)
        return None

    outputs["n0"] = {"zz": 1e16, "a": {"b": -0.0, "": 1e22}, "é": 1.0}
    filled = [text.replace("%s", "nodes.n0.output") for text in EXPRESSIONS]
    nodes = [
        {"id": "n0", "type": "send", "config": {"gives": "n0", "vars": None, "body": []}},
        {"id": "n1", "type": "held", "config": {"body": [*filled, "{{ nodes.n0.output.zz % 2 }}"]}},
    ]
    client.apply_workflow("w", canonical({"nodes": nodes, "edges": [{"from": "n0", "to": "n1"}]}, HANDLERS))
    execution = client.submit("w", {})
    try:
        with driving(store, policy=Policy(retry_delay=0.02)):
            until(lambda: bool(bodies))
            sql("UPDATE dray.driver SET lease_until = now() - interval '1 second'")
            with driving(store):
                assert client.wait(execution, PATIENCE).status == "completed"
            go.set()
    finally:
        go.set()
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
