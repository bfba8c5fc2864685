"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from actors.handlers import (
    ai_prompt,
    code,
    condition,
    delay,
    http_request,
    lists,
    log,
    merge,
    notification,
    plug_ins,
    storage,
    switch,
    trigger,
    variables,
)  # fmt: skip

__all__ = [
    "ai_prompt", "code", "condition", "delay", "http_request", "lists", "log", "merge", "notification", "plug_ins",
    "storage", "switch", "trigger", "variables",
]  # fmt: skip
