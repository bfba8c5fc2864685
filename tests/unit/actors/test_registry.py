"""Registering, finding and loading handlers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dray.actors import registry
from dray.actors.context import Branch, NodeContext, Wait
from dray.actors.errors import ConfigError, DuplicateHandler, HandlerInvalid, HandlerLoadError, UnknownHandler
from dray.actors.registry import HANDLERS, NodeConfig, find_handler, handler, load_handlers

BUILT_INS = {"trigger", "http_request", "code", "condition", "if", "switch", "delay", "wait"}
BUILT_INS |= {"notification", "ai_prompt", "ai-prompt", "storage", "log"}
BUILT_INS |= {"map", "filter", "reduce", "split", "merge", "set_variable", "get_variable"}


class DoubleConfig(NodeConfig):
    number: int
    text: str = "none"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    load_handlers()
    monkeypatch.setattr(registry, "HANDLERS", HANDLERS)
    before = dict(HANDLERS)
    yield
    HANDLERS.clear()
    HANDLERS.update(before)


def test_load_registers_all_built_ins() -> None:
    assert set(load_handlers()) >= BUILT_INS


def test_decorator_returns_the_function_and_keeps_what_was_declared() -> None:
    @handler("double", config=DoubleConfig, needs=["vars"], num_gpus=1, concurrency=2)
    async def double(config: DoubleConfig, ctx: NodeContext) -> int:
        return 2 * config.number

    spec = find_handler("double")
    assert spec.function is double
    assert (spec.is_async, spec.needs, spec.num_gpus, spec.concurrency) == (True, frozenset({"vars"}), 1.0, 2)


def test_same_type_from_two_functions_names_both() -> None:
    def first(config: dict[str, Any], ctx: NodeContext) -> None: ...
    def second(config: dict[str, Any], ctx: NodeContext) -> None: ...

    handler("twice")(first)
    with pytest.raises(DuplicateHandler, match=r"first.*second"):
        handler("twice")(second)
    handler("twice")(first)  # the same function again, as a reload does


def no_arguments() -> int:
    return 1


def one_too_many(config: dict[str, Any], ctx: NodeContext, more: int) -> None: ...


def only_by_name(*, config: dict[str, Any], ctx: NodeContext) -> None: ...


def pages(config: dict[str, Any], ctx: NodeContext) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [no_arguments, one_too_many, only_by_name, pages])
def test_what_cannot_be_called_with_a_config_and_a_context_is_refused_at_import(function: Any) -> None:
    with pytest.raises(HandlerInvalid, match=rf"'own'.*test_registry.{function.__name__}.*handler|config, ctx"):
        handler("own")(function)
    assert "own" not in HANDLERS


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"memory": "1MiB"}, "memory='1MiB': it must be a whole number of bytes"),
        ({"num_cpus": "1"}, "num_cpus='1'"),
        ({"num_cpus": -1}, "num_cpus=-1: it must be a number, 0 or more"),
        ({"num_gpus": float("nan")}, "num_gpus=nan"),
        ({"concurrency": 1.5}, "concurrency=1.5: it must be a whole number"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"resources": {"disk": "2"}}, "resources="),
        ({"label_selector": {"zone": 1}}, "label_selector="),
        ({"config": dict}, "no pydantic model"),
    ],
)
def test_an_option_that_no_runner_can_have_is_refused_at_import(options: dict[str, Any], told: str) -> None:
    with pytest.raises(HandlerInvalid) as caught:
        handler("own", **options)(lambda config, ctx: None)
    assert told in str(caught.value)
    assert "own" not in HANDLERS


@pytest.mark.parametrize("node_type", ["", "a\nb", None, 7, "x" * 300])
def test_a_type_has_a_name(node_type: Any) -> None:
    with pytest.raises(HandlerInvalid, match="printable characters"):
        handler(node_type)(lambda config, ctx: None)


def test_without_brackets_it_is_told() -> None:
    with pytest.raises(HandlerInvalid, match=r"no_arguments, has no type: write @handler\('type'\)"):
        handler(no_arguments)  # type: ignore[call-overload]


class Answers:
    async def __call__(self, config: dict[str, Any], ctx: NodeContext) -> int:
        return 1


class Yields:
    def __call__(self, config: dict[str, Any], ctx: NodeContext) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize("function", [Answers, Yields(), 3])
def test_what_is_no_function_is_refused(function: Any) -> None:
    with pytest.raises(HandlerInvalid):
        handler("own")(function)


def test_an_instance_with_an_async_call_is_async() -> None:
    handler("own")(Answers())
    assert find_handler("own").is_async


def test_what_a_decorator_gives_and_takes_is_its_own() -> None:
    def inner(config: dict[str, Any], ctx: NodeContext, database: str) -> str:
        return database

    @functools.wraps(inner)
    def outer(config: dict[str, Any], ctx: NodeContext) -> str:
        return inner(config, ctx, "db")

    @functools.wraps(inner)
    def narrow(config: dict[str, Any]) -> str:
        return ""

    handler("own")(outer)
    with pytest.raises(HandlerInvalid, match="too many positional arguments"):
        handler("narrow")(narrow)  # type: ignore[arg-type]


def test_a_module_that_ends_the_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving_handlers.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerLoadError, match=r"leaving_handlers.*SystemExit"):
        load_handlers(["leaving_handlers"])


def test_a_file_in_place_of_a_module_is_told_how_to_name_it() -> None:
    assert "name it as `import` does, 'my_handlers'" in str(HandlerLoadError("./my_handlers.py", "no such module"))


def test_what_can_be_called_so_is_taken() -> None:
    class Counts:
        def __call__(self, config: dict[str, Any], ctx: NodeContext, step: int = 1) -> int:
            return step

    handler("any")(lambda *given: len(given))
    handler("counts")(Counts())
    assert {"any", "counts"} <= HANDLERS.keys()


def test_a_context_for_a_unit_test_needs_nothing() -> None:
    ctx = NodeContext()
    assert (ctx.attempt, ctx.inputs, ctx.error, ctx.news, ctx.cancelled()) == (1, {}, None, None, False)
    assert ctx.remaining() > 3600
    assert ctx.idempotency_key.endswith("/node")
    assert NodeContext(scope={"input": {"n": 2}}).evaluate("input.n * 2") == 4


def test_unknown_need_is_refused() -> None:
    with pytest.raises(ValueError, match="known are"):
        handler("x", needs=["outputs"])


def test_unknown_type_names_the_nearest() -> None:
    with pytest.raises(UnknownHandler, match="did you mean 'http_request'"):
        find_handler("http_requst")


def test_parse_names_every_bad_field() -> None:
    handler("double", config=DoubleConfig)(lambda config, ctx: None)
    with pytest.raises(ConfigError, match=r"'double'.*number: .*; text: "):
        find_handler("double").parse({"number": "x", "text": []})


def test_parse_ignores_extra_fields_and_takes_null_as_not_set() -> None:
    handler("double", config=DoubleConfig)(lambda config, ctx: None)
    parsed = find_handler("double").parse({"number": 1, "text": None, "position": [1, 2]})
    assert parsed == DoubleConfig(number=1, text="none")


def test_handler_without_model_is_given_the_dict() -> None:
    handler("plain")(lambda config, ctx: None)
    config = {"a": 1}
    assert find_handler("plain").parse(config) is config


def test_modules_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nodes.py").write_text(
        "from dray.actors.registry import handler\n@handler('own')\ndef own(config, ctx): return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_handlers(["own_nodes"])["own"].origin == "own_nodes.own"
    sys.modules.pop("own_nodes")


def test_module_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_nodes.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerLoadError, match=r"'broken_nodes' \(ZeroDivisionError"):
        load_handlers(["broken_nodes"])
    with pytest.raises(HandlerLoadError, match="install it"):
        load_handlers(["no_such_module_of_nodes"])


def test_entry_points_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "mine", "pkg.mine"

        def load(self) -> None:
            raise ImportError("gone")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "dray.handlers" else [])
    with pytest.raises(HandlerLoadError, match=r"pkg\.mine \(entry point 'mine'\)"):
        load_handlers()


def test_context_tells_key_time_and_cancel() -> None:
    ctx = NodeContext("e1", "poll[3]/call", 2, deadline=float("inf"), scope={"vars": {"a": 1}})
    assert ctx.idempotency_key == "e1/poll[3]/call"
    assert ctx.vars == {"a": 1}
    assert ctx.log.extra == {"execution_id": "e1", "node_key": "poll[3]/call", "attempt": 2}
    assert not ctx.cancelled()
    ctx.cancel.set()
    assert ctx.cancelled()
    late = NodeContext("e1", "n", 1, deadline=0.0)
    assert late.cancelled()
    assert late.remaining() == 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_wait_takes_no_senseless_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Wait(seconds)


def test_branch_output_defaults_to_null() -> None:
    assert Branch("true").output is None
