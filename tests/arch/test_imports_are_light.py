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
import time
began = time.process_time()
{statement}
took = time.process_time() - began
import sys
print(took, *(name for name in {watched!r} if name in sys.modules))
"""
HEAVY = ("ray", "psycopg2", "sqlalchemy", "alembic", "httpx", "typer", "rich", "pydantic", "yaml")


def load(statement: str) -> tuple[float, set[str]]:
    """CPU seconds, so that a busy machine does not count; and which of HEAVY were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(statement=statement, watched=HEAVY)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    seconds, *found = done.stdout.split()
    return float(seconds), set(found)


@pytest.mark.parametrize("module", ["dray", "store", "actors", "cluster", "actors.messages", "store.errors"])
def test_these_load_nothing_heavy(module: str) -> None:
    assert load(f"import {module}")[1] == set()


def test_writing_a_handler_loads_neither_a_database_driver_nor_ray() -> None:
    found = load("from dray import handler, NodeConfig, NodeContext, Branch, Wait, NodeError, ConfigError")[1]
    assert found.isdisjoint({"ray", "psycopg2", "sqlalchemy", "alembic", "httpx"})


def test_the_client_starts_no_ray_and_costs_less_than_half_a_second() -> None:
    costs = [load("from dray import Client") for _ in range(3)]
    assert costs[0][1] <= {"psycopg2", "sqlalchemy", "pydantic"}
    assert min(seconds for seconds, _ in costs) < 0.5


@pytest.mark.parametrize(
    "module", ["cluster.plan", "cluster.execution", "cluster.graph", "actors.pool", "actors.runner"]
)
def test_deciding_modules_load_neither_ray_nor_postgres(module: str) -> None:
    assert load(f"import {module}")[1].isdisjoint({"ray", "psycopg2", "sqlalchemy"})


@pytest.mark.parametrize("module", ["cluster.cli", "cluster.app", "cluster.driver", "cluster.ray_bootstrap"])
def test_ray_is_loaded_only_when_it_is_started(module: str) -> None:
    assert "ray" not in load(f"import {module}")[1]


def test_every_public_name_can_be_fetched_and_is_told_to_type_checkers() -> None:
    assert set(dray.__all__) == {*dray._MODULE_OF, "__version__"}
    shown = (ROOT / "dray.py").read_text().partition("TYPE_CHECKING:")[2].partition("__version__")[0]
    for name, module in dray._MODULE_OF.items():
        assert getattr(dray, name) is getattr(importlib.import_module(module), name)
        assert name in shown


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        dray.Cleint  # noqa: B018
