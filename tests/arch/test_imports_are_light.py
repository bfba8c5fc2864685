"""What an import costs and what it must not load, each in a process of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dray

ROOT = Path(__file__).parents[2]
SCRIPT = """
{statement}
import sys
print(len(sys.modules), *(name for name in {watched!r} if name in sys.modules))
"""
HEAVY = ("ray", "psycopg2", "sqlalchemy", "alembic", "httpx", "typer", "rich", "pydantic", "yaml")


MOST = 450  # modules: 315 cost 0.15 s of CPU time, which would be another number on each machine


def load(statement: str) -> tuple[int, set[str]]:
    """How many modules are loaded after it, and which of HEAVY."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(statement=statement, watched=HEAVY)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    count, *found = done.stdout.split()
    return int(count), set(found)


@pytest.mark.parametrize(
    "module", ["dray", "dray.store", "dray.actors", "dray.cluster", "dray.actors.messages", "dray.store.errors"]
)
def test_these_load_nothing_heavy(module: str) -> None:
    assert load(f"import {module}")[1] == set()


def test_writing_a_handler_loads_neither_a_database_driver_nor_ray() -> None:
    found = load("from dray import handler, NodeConfig, NodeContext, Branch, Wait, NodeError, ConfigError")[1]
    assert found.isdisjoint({"ray", "psycopg2", "sqlalchemy", "alembic", "httpx"})


def test_the_client_starts_no_ray_and_loads_little() -> None:
    count, heavy = load("from dray import Client")
    assert heavy <= {"psycopg2", "sqlalchemy", "pydantic"}
    assert count < MOST


@pytest.mark.parametrize(
    "module",
    [
        "dray.cluster.execution.plan",
        "dray.cluster.execution.run",
        "dray.cluster.graph.canonical",
        "dray.actors.pool.pool",
        "dray.actors.runner.runner",
    ],
)
def test_deciding_modules_load_neither_ray_nor_postgres(module: str) -> None:
    assert load(f"import {module}")[1].isdisjoint({"ray", "psycopg2", "sqlalchemy"})


@pytest.mark.parametrize(
    "module", ["dray.cluster.cli.main", "dray.cluster.app", "dray.cluster.driver.driver", "dray.cluster.ray_bootstrap"]
)
def test_ray_is_loaded_only_when_it_is_started(module: str) -> None:
    assert "ray" not in load(f"import {module}")[1]


def test_every_public_name_can_be_fetched_and_is_told_to_type_checkers() -> None:
    assert set(dray.__all__) == {*dray._MODULE_OF, "__version__"}
    shown = (ROOT / "src/dray/__init__.py").read_text().partition("TYPE_CHECKING:")[2].partition("__version__")[0]
    for name, module in dray._MODULE_OF.items():
        assert getattr(dray, name) is getattr(importlib.import_module(module), name)
        assert name in shown


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        dray.Cleint  # noqa: B018
