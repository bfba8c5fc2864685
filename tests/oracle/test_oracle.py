"""Random graphs: the engine does what an interpreter does that was written from docs/workflows.md alone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.oracle.compare import compare
from tests.oracle.drive import Drive
from tests.oracle.generator import Generator
from tests.oracle.runs import many, summary, text, told
from tests.oracle.shrink import shrink

GRAPHS = int(os.environ.get("GRAPHS", "6000"))  # a minute on two cores that have nothing else to do
SEED = os.environ.get("SEED", "page")
PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"


def test_random_graphs_run_as_the_page_says() -> None:
    counts, found = many(SEED, GRAPHS)
    assert not found, "\n\n".join(told(SEED, *each) for each in found)
    assert counts["alike"] > GRAPHS / 2, f"most graphs must be such as both take: {summary(counts)}"


def test_a_graph_is_the_same_from_the_same_seed() -> None:
    assert Generator("3/17").graph() == Generator("3/17").graph()


def test_an_engine_that_differs_is_found_out_and_the_graph_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake put into what the engine is told: the answer of every condition is turned round."""
    send = Drive.send

    def turned(self: Drive, event: Any) -> Any:
        result = getattr(event, "result", None)
        if result is not None and result.branch in ("true", "false"):
            event = event._replace(result=result._replace(branch="false" if result.branch == "true" else "true"))
        return send(self, event)

    monkeypatch.setattr(Drive, "send", turned)
    graphs = ((number, Generator(f"turned/{number}").graph()) for number in range(1_000))
    graph, found = next((g, d) for n, g in graphs if len(g["nodes"]) > 6 and (d := compare(g, [f"{n}"])))
    smallest, _, _ = shrink(graph, *found)
    assert len(smallest["nodes"]) < min(7, len(graph["nodes"])), text(smallest)


@pytest.mark.parametrize("name", ["loop", "while", "repeat", "foreach", "break", "continue", "try", "catch", "finally"])
def test_examples_of_the_page_are_drawn_alike(name: str) -> None:
    """Both take the page's own examples, whatever the nodes answer."""
    section = PAGE.read_text().split(f"### `{name}`")[1].split("\n### ")[0]
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", section, re.S)[-1])
    drawn = as_work(example)
    assert compare(drawn, [str(number) for number in range(20)]) is None, text(drawn)


def as_work(example: dict[str, Any]) -> dict[str, Any]:
    """The example with nodes whose answers are the test's, and without what they read."""
    kept = {"for", "loop", "foreach", "repeat", "break", "continue", "try", "catch", "finally", "condition", "trigger"}
    nodes = []
    for node in example["nodes"]:
        config = {key: value for key, value in node.get("config", {}).items() if key == "loop_label"}
        if node["type"] in ("for", "loop", "foreach"):
            config["array_expression"] = ["a", "b", "c"]
        elif node["type"] == "repeat":
            config["repeat_count"] = 3
        elif node["type"] == "condition":
            config["condition"] = "true"
        kind = "repeat" if node["type"] == "while" else node["type"] if node["type"] in kept else "work"
        nodes.append(
            {"id": node["id"], "type": kind, "config": {"repeat_count": 2} if node["type"] == "while" else config}
        )
    edges = [
        {"from": e["from"], "to": e["to"], **({"branch": b} if (b := e.get("branch", e.get("label"))) else {})}
        for e in example["edges"]
    ]
    return {"nodes": nodes, "edges": edges}
