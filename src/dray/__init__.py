"""Dray: durable executions on Ray. What users import, all of it here.

    from dray import Client                          # submit and watch executions
    from dray import handler, NodeConfig, NodeContext    # write a node type of one's own

Importing it loads nothing: a name is fetched when it is first used. So a module of handlers costs a runner neither a
database driver nor SQLAlchemy, and nothing here ever starts Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dray.actors.context import Again, Branch, News, NodeContext, Wait, WaitForChild, WaitForSignal
    from dray.actors.errors import ChildFailed, ConfigError, NodeError, WaitTimedOut
    from dray.actors.expressions.config import Expression
    from dray.actors.expressions.config_shape import BareExpression, HoldsSecrets, Raw
    from dray.actors.registry import NodeConfig, handler
    from dray.cluster.client import Client
    from dray.cluster.errors import GraphInvalid, RayUnavailable, ScheduleInvalid, SettingsInvalid
    from dray.cluster.graph.files import canonical_graph
    from dray.cluster.schedules import Timing
    from dray.store.client.client import Attempt, Execution
    from dray.store.client.schedules import Schedule
    from dray.store.client.signals import Approval
    from dray.store.errors import (
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
    "dray.actors.expressions.config_shape": ("BareExpression", "HoldsSecrets", "Raw"),
    "dray.actors.context": ("Again", "Branch", "News", "NodeContext", "Wait", "WaitForChild", "WaitForSignal"),
    "dray.actors.errors": ("ChildFailed", "ConfigError", "NodeError", "WaitTimedOut"),
    "dray.actors.expressions.config": ("Expression",),
    "dray.actors.registry": ("NodeConfig", "handler"),
    "dray.cluster.client": ("Client",),
    "dray.cluster.errors": ("GraphInvalid", "RayUnavailable", "ScheduleInvalid", "SettingsInvalid"),
    "dray.cluster.schedules": ("Timing",),
    "dray.cluster.graph.files": ("canonical_graph",),
    "dray.store.client.client": ("Attempt", "Execution"),
    "dray.store.client.schedules": ("Schedule",),
    "dray.store.client.signals": ("Approval",),
    "dray.store.errors": (
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


if not TYPE_CHECKING:  # to a type checker it would mean that there is every name

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'dray' has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
