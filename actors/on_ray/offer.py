"""What the cluster has, told to a person whose runners do not start."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import ray

from dray.actors.pool.shapes import Shape, amounts, asked

_log = logging.getLogger("dray.pool")
_asking = threading.Lock()


def say_what_is_missing(shape: Shape, runners: int, seconds: float) -> None:
    """Log it, from a thread of its own: Ray's head may be slow to answer, and the driver must not wait."""
    threading.Thread(target=_say, args=(shape, runners, seconds), name="what the cluster has", daemon=True).start()


def _say(shape: Shape, runners: int, seconds: float) -> None:
    if not _asking.acquire(blocking=False):  # the head has not answered the last time yet
        return
    problem: str | None = None
    try:
        nodes: list[dict[str, Any]] = [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]
        free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  # Ray raises whatever its parts raise; this is for people only
        nodes, free, problem = [], {}, f"the head does not say: {error}"
    finally:
        _asking.release()
    _log.warning(
        "runners wait for a place in the cluster",
        extra={
            "fields": {
                "runners": runners,
                "for_s": round(seconds),
                "each_asks_for": asked(shape),
                "free": problem or amounts(free),
                "nodes": problem or offered(nodes, shape),
            }
        },
    )


def offered(nodes: list[dict[str, Any]], shape: Shape) -> str:
    """What the nodes of the cluster have in all, those alike counted together."""
    counts: dict[str, int] = {}
    names = [name for name, _ in shape.labels]
    for node in nodes:
        labels = "".join(f", label {each}={node['Labels'].get(each, '')}" for each in names)
        text = amounts(node["Resources"]) + labels
        counts[text] = counts.get(text, 0) + 1
    return "; ".join(f"{count} x ({text})" for text, count in counts.items()) or "none"
