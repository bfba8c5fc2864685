"""`run`: call a handler as a runner calls it: prepare, render, parse, call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.expressions.config import compile_config, prepare
from dray.actors.outside import environment
from dray.actors.outside.environment import HandlerEnv
from dray.actors.outside.http_client import close_client
from dray.actors.registry import HANDLERS, find_handler, load_handlers
from tests.servers import HttpServer, http_server
from tests.unit.actors.runner.harness import Harness


async def call(node_type: str, config: dict[str, Any], **given: Any) -> Any:
    """given: input, inputs, vars, error; seconds until the deadline; cancel=True for a cancelled node."""
    load_handlers()
    spec = find_handler(node_type)
    prepared = prepare(config, spec.config_model, {"a", "b"})
    assert prepared.problems == []
    scope = {"input": given.get("input"), "vars": given.get("vars", {}), "nodes": {}, "execution": {"id": "e1"}}
    scope["error"] = given.get("error")
    scope["secrets"] = environment.NamedInExpressions()
    rendered = compile_config(prepared.config, spec.config_model).render(scope)
    ctx = NodeContext("e1", "n", 1, time.monotonic() + given.get("seconds", 60), scope, given.get("inputs", {}))
    ctx.news, ctx.state = given.get("news"), given.get("state")
    if "cancel" in given:
        ctx.cancel.set()
    result = spec.function(spec.parse(rendered), ctx)
    if not spec.is_async:
        return result
    try:
        return await result
    finally:
        await close_client()


@pytest.fixture
def run() -> Callable[..., Any]:
    """run(node_type, config, **given) -> the handler's answer."""
    return lambda *args, **given: asyncio.run(call(*args, **given))


@pytest.fixture
def start() -> Callable[..., Any]:
    """start(node_type, config, **given) -> the coroutine of the call, for a test with a loop of its own."""
    return call


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a test registers is gone after it."""
    load_handlers()
    before = dict(HANDLERS)
    yield
    HANDLERS.clear()
    HANDLERS.update(before)


@pytest.fixture
def make_harness(own_registry: None) -> Iterator[Callable[..., Harness]]:
    """make_harness(concurrency=4, max_output_bytes=10_000) -> a Harness, closed after the test."""
    made: list[Harness] = []

    def make(**options: int) -> Harness:
        made.append(Harness(**options))
        return made[-1]

    yield make
    for each in made:
        each.runner.close()


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    return make_harness()


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as found:
        yield found


@pytest.fixture
def given() -> Iterator[Callable[..., None]]:
    """given(SMTP_HOST=...): what the deployment says; names that begin with MY_ are secrets."""

    def install(**values: str) -> None:
        environment.install(HandlerEnv(values, tuple(name for name in values if name.startswith("MY_"))))

    yield install
    environment.install(HandlerEnv({}))
