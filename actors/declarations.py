"""What @handler is given: checked when its module is imported, since a driver or a runner would find out late, for all
that it holds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from dray.actors.errors import HandlerInvalid

MAX_TYPE = 255


def check_function(node_type: str, function: Callable[..., Any]) -> None:
    """Raises HandlerInvalid unless a runner can call it with a config and a context, and it can answer."""
    where = origin(function)
    if not callable(function) or inspect.isclass(function):
        kind = "a class: give an instance of it that can be called" if inspect.isclass(function) else "no function"
        raise HandlerInvalid(node_type, where, f"is {kind}")
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in called(function)):
        raise HandlerInvalid(node_type, where, "yields, but a handler returns its output")
    try:  # as it is called itself: what a decorator took away or added is the decorator's
        inspect.signature(function, follow_wrapped=False).bind(None, None)
    except TypeError as error:
        raise HandlerInvalid(node_type, where, f"cannot be called as f(config, ctx): {error}") from None
    except ValueError:  # a function of C, which tells nothing of its arguments
        return


def called(function: Callable[..., Any]) -> tuple[Any, ...]:
    """What runs when it is called: of an instance, its __call__ too."""
    return function, getattr(function, "__call__", None)  # noqa: B004


def check_options(node_type: str, where: str, config: Any, options: Mapping[str, Any]) -> None:
    """Raises HandlerInvalid with the first that is wrong. options: those of HandlerSpec that are given."""
    if not (isinstance(node_type, str) and 0 < len(node_type) <= MAX_TYPE and node_type.isprintable()):
        reason = f"has a type that is none: write @handler('type'), of 1 to {MAX_TYPE} printable characters"
        raise HandlerInvalid(str(node_type)[:80], where, reason)
    if config is not None and not (inspect.isclass(config) and issubclass(config, BaseModel)):
        raise HandlerInvalid(node_type, where, "has a config that is no pydantic model: derive it from NodeConfig")
    for name, wanted in _WANTED.items():
        value = options.get(name)
        if value is not None and not _FITS[name](value):
            raise HandlerInvalid(node_type, where, f"asks for {name}={value!r:.80}: it must be {wanted}")


def origin(function: Any) -> str:
    """module.function, for messages."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', type(function).__module__)}.{name}"


def _amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _named(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(isinstance(k, str) and fits(v) for k, v in value.items())


_WANTED = {
    "num_cpus": "a number, 0 or more",
    "num_gpus": "a number, 0 or more",
    "memory": "a whole number of bytes, as 4 << 30",
    "resources": "names with numbers, 0 or more",
    "concurrency": "a whole number, 1 or more",
    "label_selector": "names of labels with texts",
}
_FITS: dict[str, Callable[[Any], bool]] = {
    "num_cpus": _amount,
    "num_gpus": _amount,
    "memory": _whole,
    "resources": _named(_amount),
    "concurrency": _whole,
    "label_selector": _named(lambda value: isinstance(value, str)),
}
