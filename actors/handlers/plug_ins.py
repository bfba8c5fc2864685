"""Node types that the platform has and Dray cannot serve: places for plug-ins.

A workflow that uses one can be stored, with a warning. The node fails when it runs, in one line that says what is
missing, and is not tried again. A handler that somebody registers under the name takes the place (see registry.py).
"""

from __future__ import annotations

from typing import Any, NoReturn

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError
from dray.actors.registry import plug_in


def _needed(node_type: str) -> Any:
    def missing(config: dict[str, Any], ctx: NodeContext) -> NoReturn:
        raise ConfigError(
            f"needs plug-in {node_type!r}: register a handler for it in a module named in DRAY_HANDLERS "
            "(docs/workflows.md, Plug-ins)"
        )

    return missing


for _type in (
    "agent", "browser", "connector", "notification_sms", "ocr_switch", "osint", "rag_switch", "scraping",
    "social_monitoring",
):  # fmt: skip
    plug_in(_type, _needed(_type))
