"""What the tests of the graph share: the built-in handlers, a few simple ones beside them, and small graphs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from dray.actors.registry import HandlerSpec, load_handlers
from dray.cluster.errors import GraphInvalid
from dray.cluster.graph.canonical import canonical


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Call(Open):
    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    timeout: float = Field(30, gt=0)
    retries: list[int] = []


def _run(config: Any, ctx: Any) -> None:
    return None


def spec(node_type: str, model: type[BaseModel] | None = None, *needs: str) -> HandlerSpec:
    return HandlerSpec(type=node_type, function=_run, config_model=model, is_async=False, needs=frozenset(needs))


# A copy: what other tests register later is not for these.
HANDLERS: Mapping[str, HandlerSpec] = {
    **load_handlers(),
    **{each.type: each for each in (spec("plain"), spec("call", Call), spec("rag_switch"), spec("human_approval"))},
}


def node(node_id: str, node_type: str = "plain", /, **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "config": config}


def edge(source: str, target: str, label: Any = None) -> dict[str, Any]:
    return {"from": source, "to": target, "condition": label}


def graph(nodes: list[Any], edges: list[Any] | None = None, **rest: Any) -> dict[str, Any]:
    return {"nodes": nodes, "edges": edges or [], **rest}


def chain(*ids: str) -> list[dict[str, Any]]:
    return [edge(source, target) for source, target in pairwise(ids)]


def refused(source: Any, handlers: Mapping[str, HandlerSpec] = HANDLERS) -> list[str]:
    with pytest.raises(GraphInvalid) as caught:
        canonical(source, handlers)
    lines = [str(problem) for problem in caught.value.problems]
    assert all("\n" not in line for line in lines), "one line each"
    return lines
