"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from actors.handlers import (
    break_continue,
    code,
    condition,
    delay,
    http_request,
    human_approval,
    lists,
    loop,
    merge,
    sub_workflow,
    switch,
    trigger,
    try_catch,
    variables,
    wait_for_signal,
)

__all__ = [
    "break_continue",
    "code",
    "condition",
    "delay",
    "http_request",
    "human_approval",
    "lists",
    "loop",
    "merge",
    "sub_workflow",
    "switch",
    "trigger",
    "try_catch",
    "variables",
    "wait_for_signal",
]
