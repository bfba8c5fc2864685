"""Dray: durable executions on Ray. What users import, all of it here.

    from dray import Client                          # submit and watch executions
    from dray import handler, NodeConfig, NodeContext    # write a node type of one's own

Importing it loads nothing: a name is fetched when it is first used. So a module of handlers costs a runner neither a
database driver nor SQLAlchemy, and nothing here ever starts Ray.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.config_shape import BareExpression, HoldsSecrets, Raw
    from actors.context import Again, Branch, News, NodeContext, Wait, WaitForChild, WaitForSignal
    from actors.errors import ChildFailed, ConfigError, NodeError, WaitTimedOut
    from actors.expressions import Expression
    from actors.registry import NodeConfig, handler
    from cluster.errors import GraphInvalid, RayUnavailable, ScheduleInvalid, SettingsInvalid
    from cluster.schedules import Timing
    from cluster.workflows import canonical_graph
    from store.client import Attempt, Client, Execution
    from store.client_schedules import Schedule
    from store.client_signals import Approval
    from store.errors import (
        AccessRefused,
        DatabaseURLInvalid,
        DataRefused,
        ExecutionNotFound,
        NotWaiting,
        ScheduleNotFound,
        SchemaMissing,
        StoreError,
        Unavailable,
        WaitTimeout,
        WorkflowNotFound,
    )

__version__ = "0.1.0"

_FROM = {
    "actors.config_shape": ("BareExpression", "HoldsSecrets", "Raw"),
    "actors.context": ("Again", "Branch", "News", "NodeContext", "Wait", "WaitForChild", "WaitForSignal"),
    "actors.errors": ("ChildFailed", "ConfigError", "NodeError", "WaitTimedOut"),
    "actors.expressions": ("Expression",),
    "actors.registry": ("NodeConfig", "handler"),
    "cluster.errors": ("GraphInvalid", "RayUnavailable", "ScheduleInvalid", "SettingsInvalid"),
    "cluster.schedules": ("Timing",),
    "cluster.workflows": ("canonical_graph",),
    "store.client": ("Attempt", "Client", "Execution"),
    "store.client_schedules": ("Schedule",),
    "store.client_signals": ("Approval",),
    "store.errors": (
        "AccessRefused",
        "DataRefused",
        "DatabaseURLInvalid",
        "ExecutionNotFound",
        "NotWaiting",
        "ScheduleNotFound",
        "SchemaMissing",
        "StoreError",
        "Unavailable",
        "WaitTimeout",
        "WorkflowNotFound",
    ),
}
_MODULE_OF = {name: module for module, names in _FROM.items() for name in names}

__all__ = [
    "AccessRefused",
    "Again",
    "Approval",
    "Attempt",
    "BareExpression",
    "Branch",
    "ChildFailed",
    "Client",
    "ConfigError",
    "DataRefused",
    "DatabaseURLInvalid",
    "Execution",
    "ExecutionNotFound",
    "Expression",
    "GraphInvalid",
    "HoldsSecrets",
    "News",
    "NodeConfig",
    "NodeContext",
    "NodeError",
    "NotWaiting",
    "Raw",
    "RayUnavailable",
    "Schedule",
    "ScheduleInvalid",
    "ScheduleNotFound",
    "SchemaMissing",
    "SettingsInvalid",
    "StoreError",
    "Timing",
    "Unavailable",
    "Wait",
    "WaitForChild",
    "WaitForSignal",
    "WaitTimedOut",
    "WaitTimeout",
    "WorkflowNotFound",
    "__version__",
    "canonical_graph",
    "handler",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dray' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def main() -> None:
    """The command `dray`. It begins here, because this is the one module whose name nobody else has."""
    spec = importlib.util.find_spec("cluster")
    places = list(spec.submodule_search_locations or []) if spec else []
    home = Path(__file__).resolve().parent / "cluster"
    if not places or Path(places[0]).resolve() != home:
        sys.exit(
            f"dray: package 'cluster' comes from {places[0] if places else spec and spec.origin}, not from {home}; "
            f"uninstall the other 'cluster' or put {home.parent} first on PYTHONPATH"
        )
    from cluster.__main__ import main as run

    run()
