"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from dray.actors.handlers import (
    ai_prompt,
    break_continue,
    code,
    condition,
    delay,
    http_request,
    human_approval,
    lists,
    log,
    loop,
    merge,
    notification,
    plug_ins,
    storage,
    sub_workflow,
    switch,
    trigger,
    try_catch,
    variables,
    wait_for_signal,
)

__all__ = [
    "ai_prompt", "break_continue", "code", "condition", "delay", "http_request", "human_approval", "lists", "log",
    "loop", "merge", "notification", "plug_ins", "storage", "sub_workflow", "switch", "trigger", "try_catch",
    "variables", "wait_for_signal",
]  # fmt: skip
