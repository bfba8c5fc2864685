"""A config that a handler does not take because a template gave null says which, and what there is instead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import Field

from dray.actors.context import NodeContext
from dray.actors.messages import NodeSpec, NodeTask
from dray.actors.registry import NodeConfig, handler
from tests.unit.actors.runner.harness import Harness


class Slug(NodeConfig):
    text: str
    headers: dict[str, str] = Field(default_factory=dict)
    size: int = 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"text": "{{ input.title }}"},
         "config of 'slug' is not valid: text: Field required ({{ input.title }} is null: input has no 'title', "
         "did you mean input.titel?)"),
        ({"text": "x", "headers": {"a": "{{ input.title }}"}, "size": "{{ input.gone }}"},
         "config of 'slug' is not valid: headers.a: Input should be a valid string ({{ input.title }} is null: input "
         "has no 'title', did you mean input.titel?)"),
        ({"size": 1}, "config of 'slug' is not valid: text: Field required"),
    ],
)  # fmt: skip
def test_which_template_was_null(own_registry: None, harness: Harness, config: dict[str, Any], message: str) -> None:
    @handler("slug", config=Slug)
    def slug(config: Slug, ctx: NodeContext) -> str:
        return config.text.lower()

    harness.runner.submit(
        [NodeSpec("w:n", "slug", json.dumps(config))],
        [NodeTask(1, "w:n", "e", "n", 1, 60.0, input=json.dumps({"titel": "A Title"}))],
    )
    (result,) = harness.wait([1])
    assert result.failure is not None
    assert result.failure.message == message
    assert not result.failure.retryable
