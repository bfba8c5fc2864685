"""Which place of a config is a template, a bare expression or raw: the markers in a handler's config model.

    class MapConfig(NodeConfig):
        map_expression: Annotated[str, BareExpression("item", "index")]
        note: Annotated[str, Raw()] = ""
        headers: Annotated[dict[str, str], HoldsSecrets()] = {}

Markers are found in fields of the model, of models inside it, and in the elements of lists and dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel


@dataclass(frozen=True)
class BareExpression:
    """Marks a config field whose strings are expressions, not templates: Annotated[str, BareExpression()].

    names: what the handler passes to evaluate() beside the scope, in the order in which an arrow function would take
    them. A value of the field that is no string is treated as in any other field.
    """

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


@dataclass(frozen=True)
class Raw:
    """Marks a config field in which `{{` means nothing: Annotated[str, Raw()]."""


@dataclass(frozen=True)
class HoldsSecrets:
    """Marks a config field whose templates may name `secrets.X`, in all that is inside it.

    Only where the value goes to a service: it must not come back in an output, an error or a log.
    """


Expression = Annotated[str, BareExpression("item", "index")]


@dataclass(frozen=True)
class Shape:
    """What one place of a config is. model: what its keys are; items: what its elements are; both None = templates."""

    marker: BareExpression | Raw | HoldsSecrets | None = None
    model: type[BaseModel] | None = None
    items: Shape | None = None

    @property
    def is_template(self) -> bool:
        return self.marker is None or self.holds_secrets

    @property
    def holds_secrets(self) -> bool:
        return isinstance(self.marker, HoldsSecrets)

    def child(self, key: str | None) -> Shape:
        """The shape of the value under a key, or of an element (None)."""
        if isinstance(self.marker, Raw | HoldsSecrets):
            return self
        if self.model is not None:
            ignored = self.model.model_config.get("extra", "ignore") == "ignore"
            return _fields(self.model).get(key or "", IGNORED if ignored else PLAIN)
        return self.items or PLAIN


PLAIN = Shape()
IGNORED = Shape(Raw())  # what an editor adds and the handler never sees


@lru_cache(1_024)
def _fields(model: type[BaseModel]) -> dict[str, Shape]:
    """Shape by field name and by each alias."""
    shapes: dict[str, Shape] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        aliases = alias.choices if isinstance(alias, AliasChoices) else [alias]
        shape = _shape(field.annotation, field.metadata)
        shapes |= {key: shape for key in (name, *aliases) if isinstance(key, str)}
    return shapes


def _shape(annotation: Any, metadata: Sequence[Any] = ()) -> Shape:
    for marker in metadata:
        if isinstance(marker, BareExpression | Raw | HoldsSecrets):
            return Shape(marker)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(model=annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(arguments[0], arguments[1:])
    if origin in (Union, UnionType):  # the first member that says anything
        return next((shape for member in arguments if (shape := _shape(member)) != PLAIN), PLAIN)
    if origin in (list, dict, tuple, Sequence):
        items = _shape(arguments[1] if origin is dict else arguments[0])
        return PLAIN if items == PLAIN else Shape(items=items)
    return PLAIN
