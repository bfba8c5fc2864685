"""A stored config, filled in for one execution after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from pydantic import BaseModel

from dray.actors.errors import ExpressionError
from dray.actors.expressions.bounds import left_over, limits, too_large
from dray.actors.expressions.config_shape import Shape
from dray.actors.expressions.program import Program, Scope, compile_expression, short
from dray.actors.expressions.source import Code, SourceError, split
from dray.actors.expressions.values import as_text

FEW = 8  # templates of a config that may each have a whole value without its being weighed
Renderer: TypeAlias = "Callable[[Scope, _Room], Any]"


class CompiledConfig:
    """A canonical config, ready to be rendered for one execution after another.

    is_static: nothing depends on the scope; render() gives the same dict each time, to be validated once.
    Parts without templates are shared between the results: handlers must not change their config.
    """

    __slots__ = ("_are_many", "_config", "_render", "_shape", "is_static")

    def __init__(self, config: dict[str, Any], model: type[BaseModel] | None = None) -> None:
        self._config = config
        self._shape = Shape(model=model)
        templates: list[str] = []
        self._render = _renderer(config, self._shape, templates)
        self._are_many = len(templates) > FEW
        self.is_static = self._render is None

    def render(self, scope: Scope) -> dict[str, Any]:
        """The config with its templates filled in. Raises ExpressionError."""
        if self._render is None:
            return self._config
        rendered: dict[str, Any] = self._render(scope, _Room(self._are_many))
        return rendered

    def nulls(self, scope: Scope) -> dict[str, str]:
        """Place -> why the template that is all of it gives null; for a config that its handler did not take."""
        found = {}
        for place, text in _templates(self._config, self._shape, ""):
            parts = split(text)
            if len(parts) == 1 and isinstance(parts[0], Code):
                program = compile_expression(parts[0].text)
                if program.evaluate(scope, strict=False) is None:
                    found[place] = f"{text} is null: {program.why_null(scope) or 'so the expression says'}"
        return found


def compile_config(config: dict[str, Any], model: type[BaseModel] | None = None) -> CompiledConfig:
    """Compile a config as prepare() left it. Raises ExpressionError."""
    return CompiledConfig(config, model)


def render(config: dict[str, Any], scope: Scope, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """compile_config() and render() in one, for a config that is used once."""
    return CompiledConfig(config, model).render(scope)


def is_template(text: str) -> bool:
    """Whether a string of a config is filled in (unless its field is raw or bare)."""
    return "{{" in text


class _Room:
    """What is left for the values of one config: a few templates may repeat a large value, not thousands."""

    __slots__ = ("are_many", "left", "max_bytes")

    def __init__(self, are_many: bool) -> None:
        self.left = self.max_bytes = limits.get().max_bytes
        self.are_many = are_many

    def take(self, value: Any) -> Any:
        if self.are_many:
            self.left = left_over(value, self.left)
            if self.left < 0:
                raise ExpressionError(f"the config {too_large(self.max_bytes)}")
        return value

    def text(self, value: Any) -> str:
        """Of a part of a longer text."""
        text = as_text(value)
        self.left -= len(text)
        if self.left < 0:
            raise ExpressionError(f"the config {too_large(self.max_bytes)}")
        return text


def _renderer(value: Any, shape: Shape, templates: list[str]) -> Renderer | None:
    """The function that fills in `value`; None if nothing in it changes. templates: gets those that there are."""
    if isinstance(value, str) and shape.is_template and is_template(value):
        templates.append(value)
        return _text_renderer(value)
    if isinstance(value, dict):
        changing = {k: r for k, v in value.items() if (r := _renderer(v, shape.child(k), templates))}
        return (lambda scope, room: value | {k: r(scope, room) for k, r in changing.items()}) if changing else None
    if isinstance(value, list):
        parts = [_renderer(v, shape.child(None), templates) for v in value]
        if any(parts):
            return lambda scope, room: [r(scope, room) if r else v for v, r in zip(value, parts, strict=True)]
    return None


def _text_renderer(text: str) -> Renderer:
    try:
        parts = split(text)
    except SourceError as error:
        raise ExpressionError(f"{short(text)}: {error}") from None
    pieces = [compile_expression(part.text) if isinstance(part, Code) else part for part in parts]
    if len(pieces) == 1 and isinstance(only := pieces[0], Program):
        return lambda scope, room: room.take(only.evaluate(scope, strict=False))

    return lambda scope, room: "".join(
        [piece if isinstance(piece, str) else room.text(piece.evaluate(scope, strict=False)) for piece in pieces]
    )


def _templates(value: Any, shape: Shape, place: str) -> Iterator[tuple[str, str]]:
    """(place, text) of each."""
    if isinstance(value, str) and shape.is_template and is_template(value):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _templates(item, shape.child(key), f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(item, shape.child(None), f"{place}.{index}")
