"""The built-in node types. Importing this package registers them all; a new file is added to the list below."""

from actors.handlers import code, condition, delay, http_request, lists, merge, switch, trigger, variables

__all__ = ["code", "condition", "delay", "http_request", "lists", "merge", "switch", "trigger", "variables"]
