"""What a node asks of the cluster, as users write it and as it is stored: "resources" of the node.

    resources: {num_cpus: 2, num_gpus: 1, memory: 4GiB, resources: {licence: 1}, label_selector: {zone: "in(a,b)"},
                concurrency: 4}

The names are those of @handler, and of Ray. It is for one runner, which takes `concurrency` such nodes at once. What it
does not say is as the handler says it. Whatever Ray would refuse is refused here: Ray's refusal would come when a
runner is to be started, too late for the author. Pure.

No runtime_env: it installs packages and sets variables on machines that others share, from wherever the author says,
and as often as there are versions of it. What a node needs belongs into the image.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dray.actors.pool.shapes import Asks

MAX_NAMES = 16  # of resources, and of labels, of one node
MAX_SHAPES = 32  # of one workflow
LEAST_CPUS = 0.1
LEAST_AMOUNT = 0.0001
MAX_AMOUNT = 1_000_000
LEAST_MEMORY = 1 << 20
MAX_MEMORY = 1 << 50
RAYS_OWN = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory", "object_store_memory": "memory"}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MEMORY = re.compile(r"(\d{1,15})\s*(?:([KMGT])i?B?|B)?", re.IGNORECASE)
_RESOURCE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,127}")
# Ray's rules, which are those of Kubernetes.
_WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL = re.compile(rf"(?:{_WORD}(?:\.{_WORD})*/)?{_WORD}")
_SELECTS = re.compile(rf"!?(?:in\({_WORD}(?:, ?{_WORD})*\)|{_WORD})")


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number, written out: it is read when the workflow is stored")
    if isinstance(value, float) and value > 1 and not value.is_integer():
        raise ValueError("above 1 it must be a whole number")
    if 0 < value < LEAST_AMOUNT:
        raise ValueError(f"Ray counts nothing smaller than {LEAST_AMOUNT}")
    return value


def _bytes(value: Any) -> Any:
    found = _MEMORY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        return int(found[1]) * _UNITS[(found[2] or "").upper()]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be bytes, as a number or with a unit: 512MiB, 4GiB")
    return value


Amount: TypeAlias = Annotated[float, BeforeValidator(_number), Field(ge=0, le=MAX_AMOUNT, allow_inf_nan=False)]


class ResourcesSource(BaseModel):
    model_config = ConfigDict(extra="forbid")

    num_cpus: Amount | None = None
    num_gpus: Amount | None = None
    memory: Annotated[int, BeforeValidator(_bytes), Field(ge=LEAST_MEMORY, le=MAX_MEMORY)] | None = None
    resources: Annotated[dict[str, Amount], Field(max_length=MAX_NAMES)] | None = None
    label_selector: Annotated[dict[str, str], Field(max_length=MAX_NAMES)] | None = None
    concurrency: Annotated[int, BeforeValidator(_number), Field(ge=1, le=1000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("must be an object, such as {num_gpus: 1}")  # pydantic's way
        if "runtime_env" in data:
            raise ValueError("runtime_env is not for graphs: put what the node needs into the image of the runners")
        for key in data.keys() - cls.model_fields.keys():
            near = difflib.get_close_matches(key.lower(), cls.model_fields, n=1)
            meant = RAYS_OWN.get(key) or (near[0] if near else None)
            hint = f"did you mean {meant}?" if meant else "one of the cluster's own goes into resources.resources"
            raise ValueError(f"has no key {key[:80]!r}: {hint}")
        return {key: value for key, value in data.items() if value is not None}

    @field_validator("resources")
    @classmethod
    def _resource_names(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for name in value or ():
            if name in RAYS_OWN:
                raise ValueError(f"{name} is Ray's own: write {RAYS_OWN[name]} beside resources")
            if not _RESOURCE.fullmatch(name):
                raise ValueError(f"{name[:80]!r} is no name of a resource: letters, digits and _ . / - are")
        return value

    @field_validator("label_selector")
    @classmethod
    def _labels(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, wanted in (value or {}).items():
            if len(name) > 253 or not _LABEL.fullmatch(name):
                raise ValueError(f"{name[:80]!r} is no name of a label")
            if len(wanted) > 1000 or not _SELECTS.fullmatch(wanted):
                raise ValueError(f"{wanted[:80]!r} selects no label: write a, !a, in(a,b) or !in(a,b)")
        return value

    @model_validator(mode="after")
    def _counted(self) -> ResourcesSource:
        """Else there would be room for such runners on the head, and for any number of them."""
        asked = any((self.num_gpus, *(self.resources or {}).values()))
        if self.num_cpus is not None and self.num_cpus < LEAST_CPUS and not (asked and self.num_cpus == 0):
            raise ValueError(f"num_cpus must be {LEAST_CPUS} or more, or 0 beside num_gpus or resources")
        return self

    def stored(self) -> dict[str, Any] | None:
        """As it is stored: what was said, in one form; None = nothing."""
        found = {key: getattr(self, key) for key in type(self).model_fields if getattr(self, key) is not None}
        for key in ("num_cpus", "num_gpus"):
            if key in found:
                found[key] = _plain(found[key])
        if self.resources is not None:
            found["resources"] = {name: _plain(amount) for name, amount in self.resources.items()}
        return found or None


def _plain(amount: float) -> float:
    """1.0 and 1 are the same graph."""
    return int(amount) if amount == int(amount) else amount


def asks_of(stored: dict[str, Any] | None) -> Asks | None:
    """For the driver, from the stored form."""
    if not stored:
        return None
    resources, labels = stored.get("resources"), stored.get("label_selector")
    return Asks(
        stored.get("num_cpus"),
        stored.get("num_gpus"),
        stored.get("memory"),
        None if resources is None else tuple(sorted(resources.items())),
        None if labels is None else tuple(sorted(labels.items())),
        stored.get("concurrency", 1),
    )
