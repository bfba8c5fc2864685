"""Errors of handlers and of the registry. Every one survives `pickle.loads(pickle.dumps(error))`.

    ActorsError
    ├── NodeError              this attempt failed; retried if `retryable`
    │   ├── TimedOut           it ran out of time: a failure of type `timeout`
    │   ├── ChildFailed        an execution that the node started and waited for did not complete: never retried
    │   ├── WaitTimedOut       what the node waited for did not come in time: never retried
    │   ├── FailedAgain        the failure of another node, handed on by one that could have taken it; never retried
    │   └── ConfigError        the same config fails again: never retried
    │       ├── ExpressionError    an expression or template that cannot be compiled or evaluated
    │       └── UnknownHandler     no handler is registered for the node's type
    └── RegistryError          a deployment mistake, found before any node runs
        ├── DuplicateHandler       two functions claim one node type
        ├── HandlerInvalid         a function that cannot be called with a config and a context
        └── HandlerLoadError       a module of handlers cannot be imported

A handler may raise anything. NodeError and ConfigError are for saying whether to try again; any other exception is a
retryable failure.
"""

from __future__ import annotations


class ActorsError(Exception):
    """Base of all errors raised in this folder."""


class NodeError(ActorsError):
    """This attempt of the node failed. message: one line, says what to do next. retryable: default True.

    retry_after: seconds before which another attempt is of no use, as a service has said; None = nobody has.
    """

    def __init__(self, message: str, retryable: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message, retryable, retry_after)
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class TimedOut(NodeError):
    """What the node did was not over in time. The type of the failure is `timeout`, as if the runner had ended it."""


class FailedAgain(NodeError):
    """The failure that led to this node, again, because it is not for this node to take. type: of that failure. node:
    where it was."""

    def __init__(self, error_type: str, message: str, node: str | None = None) -> None:
        super().__init__(message, retryable=False)
        self.type = error_type
        self.node = node

    def __reduce__(self) -> tuple[type[FailedAgain], tuple[str, str, str | None]]:
        return type(self), (self.type, self.message, self.node)


class _Final(NodeError):
    """Trying again would end in the same way."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)

    def __reduce__(self) -> tuple[type[_Final], tuple[str]]:
        return type(self), (self.message,)


class ChildFailed(_Final):
    """An execution that the node started, and waited for, failed or was cancelled."""


class WaitTimedOut(_Final):
    """What the node waited for did not come in time."""


class ConfigError(_Final):
    """The node's config, or a value filled into it, cannot work. Never retried."""


class ExpressionError(ConfigError):
    """An expression cannot be compiled, or not be evaluated with the values of this execution."""


class UnknownHandler(ConfigError):
    """No handler is registered for this node type."""


class RegistryError(ActorsError):
    """The handlers of this deployment do not fit together."""


class DuplicateHandler(RegistryError):
    """Two functions are registered for one node type."""

    def __init__(self, node_type: str, first: str, second: str) -> None:
        super().__init__(node_type, first, second)
        self.node_type, self.first, self.second = node_type, first, second

    def __str__(self) -> str:
        return (
            f"node type {self.node_type!r} is registered twice, by {self.first} and by {self.second}: "
            "rename one of the two types"
        )


class HandlerInvalid(RegistryError):
    """A function that a runner could not call, or asks for what none can have. function: module.name. reason: why."""

    def __init__(self, node_type: str, function: str, reason: str) -> None:
        super().__init__(node_type, function, reason)
        self.node_type, self.function, self.reason = node_type, function, reason

    def __str__(self) -> str:
        return f"the handler of node type {self.node_type!r}, {self.function}, {self.reason}"


class HandlerLoadError(RegistryError):
    """A module (or entry point) of handlers cannot be imported."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(module, reason)
        self.module, self.reason = module, reason

    def __str__(self) -> str:
        todo = "install it where runners run, or take it out of the configured handler modules"
        if self.module.endswith(".py") or "/" in self.module:
            todo = f"name it as `import` does, {self.module.removesuffix('.py').strip('./').replace('/', '.')!r}"
        return f"cannot load handlers from {self.module!r} ({self.reason}): {todo}"
