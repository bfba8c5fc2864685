"""Every error crosses process borders: it survives pickling, with its text and its attributes."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

PACKAGES = ("dray.actors", "dray.cluster", "dray.store")
NOT_IMPORTED = ("dray.store.migrations.env",)  # only Alembic can import it
BY_ANNOTATION = {"int": 3, "float": 1.5, "bool": False, "str": "text"}


def errors() -> Iterator[type[BaseException]]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.startswith(NOT_IMPORTED) or ".versions." in module.name:
                continue
            for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(found, BaseException) and found.__module__ == module.name:
                    yield found


def example(kind: type[BaseException]) -> BaseException:
    """An instance with every argument given, by the annotations of the constructor."""
    if "__init__" not in vars(kind) and kind.__init__ in (Exception.__init__, ValueError.__init__):
        return kind("text")
    parameters = list(inspect.signature(kind).parameters.values())
    arguments: list[Any] = []
    for each in parameters:
        wanted = str(each.annotation).partition(" |")[0]
        arguments.append(BY_ANNOTATION.get(wanted, () if wanted.startswith("Sequence") else "text"))
    return kind(*arguments)


@pytest.mark.parametrize("kind", list(errors()), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_every_error_survives_pickling(kind: type[BaseException]) -> None:
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("kind", list(errors()), ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_every_error_says_what_it_means(kind: type[BaseException]) -> None:
    assert kind.__doc__
