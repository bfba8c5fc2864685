"""What must be true after the demo, asked of the database's own tables and of the service.

What is expected comes from the orders, computed here; not from the graph, nor from what Dray says it did.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from dray.cluster.demo.service import Effects
from dray.store.connection import connect, connection
from dray.store.records import Kind

LARGE_CENTS = 25_000

_EXECUTIONS = "SELECT id::text, status, dray.output(id)::text FROM dray.execution"
_CHECKPOINTS = "SELECT execution_id::text, node_key, kind::text, count(*) FROM dray.checkpoint GROUP BY 1, 2, 3"
_RUNNERS = """
    SELECT r.id, r.name, r.pid, extract(epoch FROM r.started_at)::float8, extract(epoch FROM r.ended_at)::float8,
        count(c.*) FILTER (WHERE c.kind IN ('c', 'w'))
    FROM dray.runner r LEFT JOIN dray.checkpoint c ON c.runner = r.id GROUP BY r.id ORDER BY r.id
"""


class Runner(NamedTuple):
    """started, ended: seconds since 1970; ended None while it runs. nodes: how many it completed."""

    id: int
    name: str
    pid: int
    started: float
    ended: float | None
    nodes: int


class Found(NamedTuple):
    """What the database holds. kinds: execution -> node -> kind of checkpoint -> how many."""

    statuses: dict[str, str]
    outputs: dict[str, Any]
    kinds: dict[str, dict[str, Counter[str]]]
    runners: list[Runner]


class Check(NamedTuple):
    """A line of the proof. good: None where the line only tells."""

    good: bool | None
    what: str
    found: str


def read(url: str) -> Found:
    engine = connect(url, pool_size=1)
    try:
        with connection(engine) as database:
            executions = database.exec_driver_sql(_EXECUTIONS).all()
            checkpoints = database.exec_driver_sql(_CHECKPOINTS).all()
            runners = [Runner(*row) for row in database.exec_driver_sql(_RUNNERS)]
    finally:
        engine.dispose()
    kinds: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for execution_id, node, kind, count in checkpoints:
        kinds[execution_id][node][kind] += count
    outputs = {row[0]: None if row[2] is None else json.loads(row[2]) for row in executions}
    return Found({row[0]: row[1] for row in executions}, outputs, kinds, runners)


def cents_of(order: Mapping[str, Any]) -> int:
    return sum(line["quantity"] * line["unit_price_cents"] for line in order["lines"] if line["in_stock"])


def path_of(order: Mapping[str, Any]) -> frozenset[str]:
    """The nodes that this order must go through."""
    always = "order available amounts total large approval reserve charge booked shipping result"
    review = "review cool_off" if cents_of(order) >= LARGE_CENTS else ""
    last = "pickup_code" if order["shipping"] == "pickup" else "ship"
    return frozenset(f"{always} {review} {last}".split())


EFFECTS = {"reserve": "reservations", "charge": "payments", "ship": "shipments", "review": "reviews"}


def checks(orders: Mapping[str, Mapping[str, Any]], found: Found, effects: Effects, killed: int | None) -> list[Check]:
    """orders: by the id of the execution that was submitted for it. killed: process number of the runner."""
    return [
        *_executions(orders, found),
        *_nodes(orders, found),
        *_runners(found, killed),
        *_effects(orders, found, effects),
        *_money(orders, found, effects),
    ]


def _executions(orders: Mapping[str, Any], found: Found) -> list[Check]:
    statuses = Counter(found.statuses.values())
    good = found.statuses.keys() == orders.keys() and statuses == {"completed": len(orders)}
    told = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    return [Check(good, "every execution finished", f"{len(orders):,} submitted: {told}")]


def _nodes(orders: Mapping[str, Mapping[str, Any]], found: Found) -> list[Check]:
    expected = {execution: path_of(order) for execution, order in orders.items()}
    recorded = {
        execution: Counter(
            {node: kinds[Kind.COMPLETED] + kinds[Kind.WAITS_FOR_TIME] for node, kinds in found.kinds[execution].items()}
        )
        for execution in orders
    }
    wrong = [each for each in orders if +recorded[each] != Counter(expected[each])]
    rows = sum(each.total() for each in recorded.values())
    told = f"{sum(map(len, expected.values())):,} expected from the orders, {rows:,} recorded"
    if wrong:
        told += f"; {len(wrong)} executions differ, the first is {wrong[0]}"
    return [Check(not wrong, "every node was recorded once", told)]


def _runners(found: Found, killed: int | None) -> list[Check]:
    lost = sum(kinds[Kind.RUNNER_LOST] for nodes in found.kinds.values() for kinds in nodes.values())
    victims = [each for each in found.runners if each.pid == killed]
    if killed is None or not victims:
        return [Check(False, "a runner was killed", "none: it was all over too soon, try with more --executions")]
    victim = victims[0]
    since = [each for each in found.runners if victim.ended is not None and each.started > victim.ended]
    ended = f"{victim.name}, process {victim.pid}, killed after {victim.nodes:,} nodes; {lost} more were in its hands"
    heirs = "; ".join(f"{each.name}, process {each.pid}, {each.nodes:,} nodes" for each in since)
    return [
        Check(victim.ended is not None, "its end was noticed", ended),
        Check(bool(since), "it was replaced", f"started since then: {heirs or 'none'}"),
    ]


def _effects(orders: Mapping[str, Mapping[str, Any]], found: Found, effects: Effects) -> list[Check]:
    expected = {
        f"{execution}/{node}": EFFECTS[node]
        for execution, order in orders.items()
        for node in path_of(order) & EFFECTS.keys()
    }
    made = {key: what for key, (what, _) in effects.made.items()}
    requests, busy, _ = effects.counts()
    again = [key for key, count in effects.requests.items() if count > 1 + (key in effects.busy)]
    lost = {
        f"{execution}/{node}"
        for execution, nodes in found.kinds.items()
        for node in nodes
        if nodes[node][Kind.RUNNER_LOST]
    }
    repeats = requests - busy - len(made)
    told = (
        f"{requests:,} requests: {len(made):,} for their effect, {busy} told to come again (503), "
        f"{repeats} repeats for {len(again)} keys, which had no effect"
    )
    return [
        Check(made == expected, "every effect was made once", f"{len(expected):,} expected, {len(made):,} made"),
        Check(lost.issuperset(again), "every repeat comes from the runner that died", told),
    ]


def _money(orders: Mapping[str, Mapping[str, Any]], found: Found, effects: Effects) -> list[Check]:
    file = sum(map(cents_of, orders.values()))
    paid = sum(body["cents"] for what, body in effects.made.values() if what == "payments")
    outputs = [(output or {}).get("value", {}) for output in found.outputs.values()]
    results = sum(each.get("cents", 0) for each in outputs)
    own = all(
        ((found.outputs.get(execution) or {}).get("value") or {}).get("order_id") == order["order_id"]
        for execution, order in orders.items()
    )
    told = f"{file / 100:,.2f} EUR in the file, {paid / 100:,.2f} paid, {results / 100:,.2f} in the results"
    return [Check(file == paid == results and own, "the sums agree", told)]
