"""Which function runs which node type.

    @handler("double", config=DoubleConfig)
    def double(config: DoubleConfig, ctx: NodeContext) -> Any: ...

Registering happens on import; load_handlers() imports the built-ins, the entry points of group "dray.handlers" and the
modules that the deployment names. Driver and runner load the same ones: the driver checks configs with the models, the
runner calls the functions.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dray.actors.declarations import called, check_function, check_options, origin
from dray.actors.errors import (
    ConfigError,
    DuplicateHandler,
    HandlerInvalid,
    HandlerLoadError,
    RegistryError,
    UnknownHandler,
)

if TYPE_CHECKING:
    from dray.actors.context import NodeContext

BUILT_IN = "dray.actors.handlers"
ENTRY_POINTS = "dray.handlers"
# Names in circulation that no system ever served -> what their authors want here.
INSTEAD = {
    "transform": "'map', 'filter', 'reduce' or 'code'",
    "variable": "'set_variable' or 'get_variable'",
    "case": "'switch'",
    "wait_until": "'delay' with delay_type until_time or until_condition",
    "notify": "'notification'",
}
NEEDS = frozenset({"input", "inputs", "vars", "error"})

Model: TypeAlias = type[BaseModel]  # HandlerSpec has a field named `type`
Config = TypeVar("Config", bound=BaseModel)
Answer = TypeVar("Answer")


class NodeConfig(BaseModel):
    """Base of config models: unknown fields are ignored (editors add their own), null means "not set"."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


@dataclass(frozen=True)
class JsonText:
    """Marks a config field that takes any value, and of which a text that is JSON means what it says when the workflow
    is stored, since a form has only texts: Annotated[Any, JsonText()]. objects: only an object or a list does."""

    objects: bool = False


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """One registered node type. The resource fields are None where the pool's default holds.

    config_model: None = the handler is given the plain dict. needs: subset of NEEDS, what the driver must send along.
    num_cpus, num_gpus: of one runner. memory: bytes. concurrency: nodes of this type at once in one runner.
    label_selector: labels that the node of the cluster must have, as Ray reads it: {"zone": "a"}, "!a", "in(a,b)".
    """

    type: str
    function: Callable[..., Any]
    config_model: Model | None = None
    is_async: bool = False
    needs: frozenset[str] = frozenset()
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Mapping[str, float] | None = field(default=None, hash=False)
    concurrency: int | None = None
    label_selector: Mapping[str, str] | None = field(default=None, hash=False)
    is_plug_in: bool = False  # nothing but a place for one: its function says so and fails

    @property
    def origin(self) -> str:
        """module.function, for messages."""
        return origin(self.function)

    def parse(self, config: dict[str, Any], nulls: Callable[[], Mapping[str, str]] = dict) -> Any:
        """What the handler takes as `config`. Raises ConfigError with every bad field in one line.

        nulls: asked only then; place -> why there is null in it.
        """
        if self.config_model is None:
            return config
        try:
            return self.config_model.model_validate(config)
        except ValidationError as error:
            why = nulls()
            problems = (f"{_place(e['loc'])}: {_problem(e, why)}" for e in error.errors())
            raise ConfigError(f"config of {self.type!r} is not valid: {'; '.join(problems)}") from None


HANDLERS: dict[str, HandlerSpec] = {}


@overload
def handler(
    node_type: str,
    *,
    config: type[Config],
    needs: Iterable[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    concurrency: int | None = None,
    label_selector: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Config, NodeContext], Answer]], Callable[[Config, NodeContext], Answer]]: ...
@overload
def handler(
    node_type: str,
    *,
    needs: Iterable[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    concurrency: int | None = None,
    label_selector: Mapping[str, str] | None = None,
) -> Callable[[Callable[[dict[str, Any], NodeContext], Answer]], Callable[[dict[str, Any], NodeContext], Answer]]: ...
def handler(
    node_type: str,
    *,
    config: type[BaseModel] | None = None,
    needs: Iterable[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    concurrency: int | None = None,
    label_selector: Mapping[str, str] | None = None,
) -> Callable[..., Any]:
    """Register a function, sync or async, for a node type; the fields are those of HandlerSpec. Leaves it as it is.

    The function is called with two arguments: the config, as its model or as a dict, and a NodeContext.
    Raises DuplicateHandler if another function has the type, HandlerInvalid if it cannot be called so,
    or an option is wrong. Stack decorators to give one function several types.
    """
    wanted = frozenset(needs)
    if unknown := wanted - NEEDS:
        raise ValueError(f"handler {node_type!r} needs {sorted(unknown)}; known are {sorted(NEEDS)}")

    options = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "resources": resources,
        "concurrency": concurrency,
        "label_selector": label_selector,
    }
    if callable(node_type):
        raise HandlerInvalid("?", origin(node_type), "has no type: write @handler('type')")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        check_options(node_type, origin(function), config, options)
        check_function(node_type, function)
        spec = HandlerSpec(
            node_type,
            function,
            config,
            any(map(inspect.iscoroutinefunction, called(function))),
            wanted,
            **options,  # type: ignore[arg-type]  # as they are declared above
        )
        known = HANDLERS.get(node_type)
        if known is not None and known.is_plug_in:
            known = None
        # A reloaded module registers a new function object under the old name: that is the same handler.
        if known is not None and known.origin != spec.origin:
            raise DuplicateHandler(node_type, known.origin, spec.origin)
        HANDLERS[node_type] = spec
        return function

    return register


def plug_in(node_type: str, function: Callable[..., Any]) -> None:
    """Keep a place for a node type that others must bring; a handler that is registered for it takes the place."""
    HANDLERS.setdefault(node_type, HandlerSpec(node_type, function, is_plug_in=True))


def find_handler(node_type: str) -> HandlerSpec:
    """The handler of a node type. Raises UnknownHandler, which names the nearest registered type."""
    spec = HANDLERS.get(node_type)
    if spec is None:
        near = difflib.get_close_matches(node_type, HANDLERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "load the module that registers it"
        if node_type in INSTEAD:
            hint = f"use {INSTEAD[node_type]}"
        raise UnknownHandler(f"no handler for node type {node_type!r}: {hint}")
    return spec


def load_handlers(modules: Sequence[str] = ()) -> Mapping[str, HandlerSpec]:
    """Import the built-ins, the entry points and the named modules; returns HANDLERS. Loading twice changes nothing.

    Raises HandlerLoadError naming the module, DuplicateHandler naming both functions, HandlerInvalid.
    """
    _load(BUILT_IN, partial(importlib.import_module, BUILT_IN))
    for point in entry_points(group=ENTRY_POINTS):
        _load(f"{point.value} (entry point {point.name!r})", point.load)
    for module in modules:
        _load(module, partial(importlib.import_module, module))
    return HANDLERS


def _load(name: str, load: Callable[[], object]) -> None:
    try:
        load()
    except RegistryError:
        raise
    except (Exception, SystemExit) as error:  # an import runs foreign code, which may raise anything
        raise HandlerLoadError(name, f"{type(error).__name__}: {error}") from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "config"


def _problem(error: Mapping[str, Any], nulls: Mapping[str, str]) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    place = _place(error["loc"])
    why = next((why for at, why in nulls.items() if at == place or at.startswith(f"{place}.")), None)
    return f"{said} ({why})" if why else said
