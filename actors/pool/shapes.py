"""What a runner asks for: the shape of its pool. A handler says it, and a node of a graph may say it anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dray.actors.registry import HANDLERS, HandlerSpec

_WORDS = ("CPU", "GPU", "memory")


class Shape(NamedTuple):
    """What one runner asks for. memory: bytes. solo: it takes one node at a time. labels: of the cluster's nodes.

    at_once: nodes that it takes at once; 0 = as the pool says, else a graph asked for this shape.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    solo: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    at_once: int = 0

    def alone(self) -> Shape:
        """For a suspect. Asks for no CPU, since all may be taken; where special resources are needed, there is no
        second set of them to wait for, and the suspect goes back among the others."""
        if self.num_gpus or self.resources:
            return self
        return Shape(0.0, memory=self.memory, solo=True, labels=self.labels, at_once=self.at_once)


class Asks(NamedTuple):
    """What a node of a graph asks for, in place of what its handler does; None = as the handler. at_once: as Shape."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: tuple[tuple[str, float], ...] | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    at_once: int = 1


def shape_of(handler: HandlerSpec | None, default: Shape, asks: Asks | None = None) -> Shape:
    """The shape that a node's handler asks for, or the node itself; what they do not say is the default's.

    handler: None = not registered here.
    """
    shape = default if handler is None else _of_handler(handler, default)
    if asks is None:
        return shape
    return Shape(
        shape.num_cpus if asks.num_cpus is None else asks.num_cpus,
        shape.num_gpus if asks.num_gpus is None else asks.num_gpus,
        shape.memory if asks.memory is None else asks.memory,
        shape.resources if asks.resources is None else asks.resources,
        labels=shape.labels if asks.labels is None else asks.labels,
        at_once=asks.at_once,
    )


class Shapes:
    """What the nodes of each type ask for. default: where neither the handler nor the node says."""

    def __init__(self, default: Shape) -> None:
        self._default = default
        self._known: dict[str, Shape] = {}

    def of(self, node_type: str, asks: Asks | None) -> Shape:
        """A type that is not registered here asks for nothing: a runner will say so."""
        if asks is not None:  # not kept: there may be as many as graphs
            return shape_of(HANDLERS.get(node_type), self._default, asks)
        shape = self._known.get(node_type)
        if shape is None:
            shape = self._known[node_type] = shape_of(HANDLERS.get(node_type), self._default)
        return shape


def _of_handler(handler: HandlerSpec, default: Shape) -> Shape:
    labels = handler.label_selector
    if handler.num_cpus is None and not (handler.num_gpus or handler.memory or handler.resources or labels):
        return default
    return Shape(
        default.num_cpus if handler.num_cpus is None else handler.num_cpus,
        handler.num_gpus or 0.0,
        handler.memory or 0,
        tuple(sorted((handler.resources or {}).items())),
        labels=tuple(sorted((labels or {}).items())),
    )


def asked(shape: Shape) -> str:
    """For people: "1 CPU, 1 GPU, label zone=a"."""
    wanted = {"CPU": shape.num_cpus, "GPU": shape.num_gpus, "memory": float(shape.memory), **dict(shape.resources)}
    labels = "".join(f", label {name}={value}" for name, value in shape.labels)
    return amounts(wanted) + labels


def amounts(resources: Mapping[str, float]) -> str:
    """ "2 CPU, 1 GPU, memory 3 GiB". Without what Ray counts for itself."""
    shown = []
    for name in sorted(resources, key=lambda each: (each not in _WORDS, each)):
        amount = resources[name]
        if not amount or ":" in name or name == "object_store_memory":
            continue
        shown.append(f"memory {amount / (1 << 30):.3g} GiB" if name == "memory" else f"{amount:g} {name}")
    return ", ".join(shown) or "nothing"
