"""What can go wrong between store and actors, as one tree.

ClusterError
├── GraphInvalid        a graph is refused, with every problem in it
├── ScheduleInvalid     a schedule that means no time
├── SettingsInvalid     the settings do not fit together, or one is unknown
├── RayUnavailable      no Ray to run on
│   ├── RayMismatch     another Ray or Python than the cluster's
│   └── RayGone         the Ray that a driver ran on is gone
├── RunnersMissing      no runner starts here, so what was held is given back
└── PortTaken           the HTTP port cannot be opened

Every error keeps its arguments in `args`, so it survives pickling, and its text says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SHOWN_PROBLEMS = 50


class Problem(NamedTuple):
    """One thing that is wrong.

    place: where, e.g. `node 'a'`, `edge 'a' -> 'b'`, `nodes[3]`. message: what, and what to do, in one line.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ClusterError(Exception):
    """Base of every error of this folder."""


class GraphInvalid(ClusterError):
    """A graph is refused. `problems` holds all that is wrong with it; the text shows the first 50, one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"graph refused: {self.problems[0]}"
        lines = [f"graph refused, {len(self.problems)} problems:", *map(str, self.problems[:SHOWN_PROBLEMS])]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"and {len(self.problems) - SHOWN_PROBLEMS} more")
        return "\n  ".join(lines)


class ScheduleInvalid(ClusterError):
    """A schedule that means no time: a bad cron expression, interval, time or zone. reason: one line."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"schedule refused: {self.reason}"


class SettingsInvalid(ClusterError):
    """The settings are refused before anything starts. `problems` names each setting and what to do about it."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"settings refused: {self.problems[0]}"
        return "\n  ".join([f"settings refused, {len(self.problems)} problems:", *self.problems])


class RayUnavailable(ClusterError):
    """No Ray to run on. address: what was tried, None for a Ray of our own on this host."""

    def __init__(self, address: str | None, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(address, reason)

    def __str__(self) -> str:
        if self.address is None:
            return f"cannot start Ray on this host: {self.reason}; free memory or CPUs, or use --executor local"
        todo = "check the address and that the head runs, or use --executor local"
        return f"cannot reach Ray at {self.address}: {self.reason}; {todo}"


class PortTaken(ClusterError):
    """The driver's HTTP port cannot be opened."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        self.reason = reason
        super().__init__(host, port, reason)

    def __str__(self) -> str:
        return f"cannot open the HTTP port {self.host}:{self.port}: {self.reason}; set another DRAY_HTTP_PORT"


class RayMismatch(RayUnavailable):
    """The cluster and this process have another Ray or Python, which Ray does not let work together.

    ray, python: its versions. our_ray, our_python: those of this process.
    """

    def __init__(self, address: str, ray: str, python: str, our_ray: str, our_python: str) -> None:
        super().__init__(address, "another version")
        self.args = (address, ray, python, our_ray, our_python)

    def __str__(self) -> str:
        address, ray, python, our_ray, our_python = self.args
        todo = []
        if ray != our_ray:
            todo.append(f"pip install 'ray[default]=={ray}' here")
        if python != our_python:
            is_patch = python.split(".")[:2] == our_python.split(".")[:2]
            todo.append(
                f"run this with Python {python}"
                + (" (or set RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor)" if is_patch else "")
            )
        return (
            f"the Ray cluster at {address} has Ray {ray} and Python {python}, this process Ray {our_ray} and "
            f"Python {our_python}: {' and '.join(todo)}, or start the cluster with what is here"
        )


class RayGone(RayUnavailable):
    """The Ray node that the driver was on is no longer one of a cluster, and comes back with a new start only."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, reason)
        self.args = (reason,)

    def __str__(self) -> str:
        return (
            f"Ray is gone: {self.reason}; what this driver held is given back: start its Ray node and the driver again"
        )


class RunnersMissing(ClusterError):
    """No runner of the default shape has started for a while. reason: why the last one did not."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no runner starts here ({self.reason}): what was held is given back, nothing is taken until one does"
