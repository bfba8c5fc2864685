"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from actors.handlers import (
    break_continue,
    code,
    condition,
    delay,
    http_request,
    lists,
    loop,
    merge,
    switch,
    trigger,
    try_catch,
    variables,
)

__all__ = [
    "break_continue", "code", "condition", "delay", "http_request", "lists", "loop", "merge", "switch", "trigger",
    "try_catch", "variables",
]  # fmt: skip
