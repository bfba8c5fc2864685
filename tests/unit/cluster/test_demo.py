"""The demo's own parts: a service that makes each effect once, and a proof that notices what does not add up."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from dray.cluster import demo
from dray.cluster.demo import proof
from dray.cluster.demo.service import Effects, Service
from dray.cluster.graph.files import canonical_graph

HERE = Path(demo.__file__).parent
ORDERS: list[dict[str, Any]] = json.loads((HERE / "orders.json").read_text())
VICTIM = 4711


def world(count: int = 20) -> tuple[dict[str, dict[str, Any]], proof.Found, Effects]:
    """Orders by execution, and a database and a service in which all went well."""
    orders = {f"e{number}": order for number, order in enumerate(ORDERS[:count])}
    effects = Effects()
    for execution, order in orders.items():
        for node in sorted(proof.path_of(order) & proof.EFFECTS.keys()):
            body = {"cents": proof.cents_of(order)} if node == "charge" else {}
            while effects.request(proof.EFFECTS[node], f"{execution}/{node}", body)[0] != 200:
                pass
    kinds = {execution: {node: Counter("c") for node in proof.path_of(order)} for execution, order in orders.items()}
    outputs = {
        execution: {"value": {"order_id": order["order_id"], "cents": proof.cents_of(order)}}
        for execution, order in orders.items()
    }
    runners = [
        proof.Runner(1, "r1", VICTIM, 10.0, 20.0, 5),
        proof.Runner(2, "r2", 4712, 10.0, None, 9),
        proof.Runner(3, "r3", 4713, 21.0, None, 1),
    ]
    return orders, proof.Found(dict.fromkeys(orders, "completed"), outputs, kinds, runners), effects


def failing(orders: Any, found: proof.Found, effects: Effects, killed: int | None = VICTIM) -> list[str]:
    return [each.what for each in proof.checks(orders, found, effects, killed) if each.good is False]


def test_when_all_went_well_everything_adds_up() -> None:
    assert failing(*world()) == []


def test_the_path_of_every_order_is_one_through_the_graph() -> None:
    graph = canonical_graph(json.loads((HERE / "workflow.json").read_text()))
    assert graph["warnings"] == []
    paths = {proof.path_of(order) for order in ORDERS}
    assert len(paths) == 4
    assert frozenset().union(*paths) == {node["id"] for node in graph["nodes"]}


def test_an_execution_that_did_not_finish_is_noticed() -> None:
    orders, found, effects = world()
    found.statuses["e3"] = "waiting"
    assert failing(orders, found, effects) == ["every execution finished"]


@pytest.mark.parametrize("change", [Counter(), Counter("cc"), Counter("cw"), Counter("r")])
def test_a_node_that_was_not_recorded_once_is_noticed(change: Counter[str]) -> None:
    orders, found, effects = world()
    found.kinds["e3"]["total"] = change
    assert failing(orders, found, effects) == ["every node was recorded once"]


def test_a_node_off_the_path_is_noticed() -> None:
    orders, found, effects = world()
    off = {"ship": "pickup_code", "pickup_code": "ship"}[next(iter({"ship", "pickup_code"} & found.kinds["e0"].keys()))]
    found.kinds["e0"][off] = Counter("c")
    assert failing(orders, found, effects) == ["every node was recorded once"]


def test_attempts_that_were_retried_or_lost_are_no_second_record() -> None:
    orders, found, effects = world()
    found.kinds["e3"]["charge"] = Counter("rlc")
    assert failing(orders, found, effects) == []


def test_an_effect_that_was_not_made_is_noticed() -> None:
    orders, found, effects = world()
    del effects.made["e3/charge"]
    assert failing(orders, found, effects) == ["every effect was made once", "the sums agree"]


def test_a_repeat_that_no_lost_runner_explains_is_noticed() -> None:
    orders, found, effects = world()
    effects.request("payments", "e3/charge", {})
    assert failing(orders, found, effects) == ["every repeat comes from the runner that died"]
    found.kinds["e3"]["charge"] = Counter("lc")
    assert failing(orders, found, effects) == []


def test_a_wrong_sum_is_noticed() -> None:
    orders, found, effects = world()
    found.outputs["e3"]["value"]["cents"] += 1
    assert failing(orders, found, effects) == ["the sums agree"]


def test_a_runner_that_was_not_killed_or_not_replaced_is_noticed() -> None:
    orders, found, effects = world()
    assert failing(orders, found, effects, killed=None) == ["a runner was killed"]
    assert failing(orders, found._replace(runners=found.runners[:2]), effects) == ["it was replaced"]


def test_the_service_makes_an_effect_once_however_often_it_is_asked() -> None:
    with Service() as service, httpx.Client(base_url=service.url) as client:

        def ask(key: str) -> httpx.Response:
            return client.post("/payments", json={"cents": 5}, headers={"Idempotency-Key": key})

        answers: dict[str, list[Any]] = {}
        for key in [f"e{number}/charge" for number in range(40)]:
            threads = [
                threading.Thread(target=lambda key=key: answers.setdefault(key, []).append(ask(key))) for _ in "ab"
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            if any(each.status_code == 503 for each in answers[key]):
                answers[key].append(ask(key))
        numbers = {
            key: {each.json()["number"] for each in found if each.status_code == 200} for key, found in answers.items()
        }
    assert all(len(each) == 1 for each in numbers.values())
    requests, busy, made = service.effects.counts()
    assert (requests, made) == (80 + busy, 40)
    assert busy > 0
