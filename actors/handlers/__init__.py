"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from actors.handlers import code, condition, delay, http_request, human_approval, lists, merge, sub_workflow, switch, trigger, variables, wait_for_signal

__all__ = ["code", "condition", "delay", "http_request", "human_approval", "lists", "merge", "sub_workflow", "switch", "trigger", "variables", "wait_for_signal"]
