"""The parts of a graph as users write them, as pydantic models, and pydantic's complaints as one-line messages.

Field names are Dray's words; the aliases are the keys in circulation, the first one given wins. Nulls are taken out
before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from dray.cluster.graph.written.resources import ResourcesSource
from dray.plain import visible

MAX_ID = 255
MAX_SECONDS = 10 * 365 * 86_400
NEAR = 0.85  # of difflib: `methd`; but not `expression` for `cron_expression`

# What to call a missing key: pydantic names the first alias, which is not the one that most people write.
MISSING = {
    "node_id": "id (or node_id)",
    "node_type": "type (or node_type)",
    "from": "from (or source)",
    "to": "to (or target)",
}


def quoted(text: object) -> str:
    """An id or label for a message: in quotes, on one line, not endless."""
    shown = str(text)
    return repr(shown if len(shown) <= 80 else shown[:79] + "…")


def one_line(text: str) -> str:
    """The text without line breaks, which a quoted expression or key may bring along."""
    return " ".join(text.splitlines())


def _id(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be text: put it in quotes")
    if not value.strip():
        raise ValueError("is empty: give every node an id and a type of its own")
    if len(value) > MAX_ID:
        raise ValueError(f"is {len(value)} characters long, more than {MAX_ID}: shorten it")
    return _shown(value)


def _shown(text: str) -> str:
    """Refuses what is shown otherwise than it is: it reaches terminals and logs."""
    if visible(text) != text:
        raise ValueError("has a control character in it: take it out")
    return text


def _node_id(value: Any) -> Any:
    found = _id(value)
    if used := [each for each in "/[]" if each in found]:
        raise ValueError(f"{quoted(found)} has {used[0]} in it, which parts a key within a loop: take it out")
    return found


def label_text(value: Any) -> Any:
    """Labels are compared as text; true and 1 are written as JSON writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 is the case "1", as in switch
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("a label must be text, a number, true or false")
    return value


def _next(value: Any) -> Any:
    if isinstance(value, list):
        return value
    return [] if value == "" else [value]


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Id: TypeAlias = Annotated[str, BeforeValidator(_id)]
NodeId: TypeAlias = Annotated[str, BeforeValidator(_node_id)]
Label: TypeAlias = Annotated[str, BeforeValidator(label_text), AfterValidator(_shown)]
Seconds: TypeAlias = Annotated[float, BeforeValidator(_number), Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Retries: TypeAlias = Annotated[int, BeforeValidator(_number), Field(ge=0, le=1000)]

Iterations: TypeAlias = Annotated[int, BeforeValidator(_number), Field(ge=1)]


class RetrySource(BaseModel):
    model_config = ConfigDict(extra="allow")

    max_retries: Retries | None = None


class DataSource(BaseModel):
    model_config = ConfigDict(extra="allow")

    label: Any = None
    config: dict[str, Any] | None = None


class NodeSource(BaseModel):
    """A node after its nulls are gone and an inline config has been moved into `config`."""

    model_config = ConfigDict(extra="allow")

    id: NodeId = Field(validation_alias=AliasChoices("node_id", "id"))
    type: Id = Field(validation_alias=AliasChoices("node_type", "type"))
    config: dict[str, Any]
    next: Annotated[list[Id], BeforeValidator(_next)] = []
    name: Any = None
    label: Any = None
    data: DataSource | None = None
    retry: RetrySource | None = None
    max_retries: Retries | None = None
    timeout: Seconds | None = Field(None, validation_alias=AliasChoices("timeout", "timeout_seconds"))
    at_most_once: bool = False
    max_iterations: Iterations | None = None
    resources: ResourcesSource | None = None


class EdgeSource(BaseModel):
    model_config = ConfigDict(extra="ignore")

    source: Id = Field(validation_alias=AliasChoices("from", "source"))
    target: Id = Field(validation_alias=AliasChoices("to", "target"))
    branch: Label = ""
    condition: Label = ""
    handle: Label = Field("", validation_alias="sourceHandle")
    label: Any = None


class GraphSource(BaseModel):
    model_config = ConfigDict(extra="ignore")

    entry: Id | None = Field(None, validation_alias=AliasChoices("entry_node_id", "entry"))
    timeout: Seconds | None = Field(None, validation_alias=AliasChoices("timeout", "timeout_seconds"))
    warnings: list[str] = []


def pydantic_messages(errors: Iterable[Mapping[str, Any]], prefix: str = "") -> list[str]:
    """One line per pydantic error, each starting with the field. Values are not shown: a config may hold a password."""
    messages = []
    for error in errors:
        parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]]
        if error["type"] == "missing":
            parts[-1] = f".{MISSING.get(error['loc'][-1], error['loc'][-1])}"
        field_name = (prefix + "".join(parts)).removeprefix(".")
        text = (
            "is missing: add it"
            if error["type"] == "missing"
            else " ".join(error["msg"].removeprefix("Value error, ").split())
        )
        messages.append(f"{field_name}: {text}" if field_name else text)
    return list(dict.fromkeys(messages))


def names_of(name: str, field: FieldInfo) -> set[str]:
    """Every key that gives the field, aliases included."""
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return {name, *(each for each in choices if isinstance(each, str))}


def misspelt(model: type[BaseModel], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys that the model does not read but that are near to a field which is not given, each with that field. Others
    are left alone: editors keep what they need beside ours."""
    fields = [names_of(name, field) for name, field in model.model_fields.items()]
    unread = given.keys() - set().union(*fields)
    missing = [name for names in fields if names.isdisjoint(given) for name in sorted(names)]
    return [(key, near[0]) for key in sorted(unread) if (near := _near(key, missing))]


def _near(key: str, names: list[str]) -> list[str]:
    """Those of which two letters have changed places, else the one of which one letter in six is wrong."""
    letters = sorted(key)
    swapped = [name for name in names if len(name) == len(key) and sorted(name) == letters]
    return swapped or difflib.get_close_matches(key, names, n=1, cutoff=NEAR)
