"""Errors travel between processes, and say what to do."""

from __future__ import annotations

import pickle

import pytest

from dray.actors import errors
from dray.actors.errors import (
    ActorsError,
    ChildFailed,
    ConfigError,
    DuplicateHandler,
    ExpressionError,
    FailedAgain,
    HandlerInvalid,
    HandlerLoadError,
    NodeError,
    RegistryError,
    TimedOut,
    UnknownHandler,
    WaitTimedOut,
)

EXAMPLES = [
    ActorsError("a"),
    NodeError("try again"),
    NodeError("do not", retryable=False),
    FailedAgain("ValueError", "no", "work"),
    ConfigError("bad field"),
    ChildFailed("it failed"),
    TimedOut("no answer", retry_after=3.0),
    WaitTimedOut("nothing came"),
    ExpressionError("bad expression"),
    UnknownHandler("no such type"),
    RegistryError("r"),
    DuplicateHandler("double", "a.f", "b.f"),
    HandlerInvalid("double", "a.f", "missing a required argument: 'ctx'"),
    HandlerLoadError("my.module", "ImportError: no"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: ActorsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_no_error_class_is_left_out_of_the_examples() -> None:
    defined = {
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ActorsError) and c.__name__[0] != "_"
    }
    assert defined == {type(error) for error in EXAMPLES}


def test_only_config_errors_are_never_retried() -> None:
    assert NodeError("x").retryable
    assert not ConfigError("x").retryable
    assert not ExpressionError("x").retryable
    assert not UnknownHandler("x").retryable
