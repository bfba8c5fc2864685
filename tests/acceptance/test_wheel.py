"""The installed wheel in a project whose own folders and modules have the names of ours, and beside a clone of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.wheels import ROOT, built, copied, installed

HANDLERS = """
import store
from actors.film import STARS
from dray import NodeConfig, NodeContext, handler


class Price(NodeConfig):
    number: int


@handler("price", config=Price)
def price(config: Price, ctx: NodeContext) -> dict[str, int]:
    return {"price": config.number * store.PRICE, "stars": STARS}
"""
SCRIPT = """
import os, sys
import cluster, store
from actors.film import STARS
from dray import Client, canonical_graph

assert (cluster.MINE, store.PRICE, STARS) == (True, 7, 5)
graph = {"nodes": [{"id": "p", "type": "price", "config": {"number": "{{ input.n }}"}}], "edges": []}
with Client(os.environ["DRAY_DATABASE_URL"]) as client:
    client.apply_workflow("shop", canonical_graph(graph, ["shop_handlers"]))
    print(client.submit("shop", {"n": 6}))
"""
RESULT = """
import os, sys
from dray import Client

with Client(os.environ["DRAY_DATABASE_URL"]) as client:
    print(client.get(sys.argv[1]).output)
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return installed(built("wheel", copied(folder / "source"), folder / "dist"), folder / "venv")


def run(folder: Path, *command: str | Path, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRAY_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=kept | environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("is_package", [True, False], ids=["with __init__", "without __init__"])
def test_a_project_with_folders_of_the_same_names(
    tmp_path: Path, tools: Path, database: str, is_package: bool, executor: str
) -> None:
    for name in ("store", "actors"):
        (tmp_path / name).mkdir()
    (tmp_path / "store" / "__init__.py").write_text("PRICE = 7\n")
    if is_package:
        (tmp_path / "actors" / "__init__.py").touch()
    (tmp_path / "actors" / "film.py").write_text("STARS = 5\n")
    (tmp_path / "cluster.py").write_text("MINE = True\n")
    (tmp_path / "shop_handlers.py").write_text(HANDLERS)
    (tmp_path / "shop.py").write_text(SCRIPT)
    (tmp_path / "result.py").write_text(RESULT)
    environ = {"DRAY_DATABASE_URL": database, "DRAY_HANDLERS": "shop_handlers", "DRAY_EXECUTOR": executor}
    execution = run(tmp_path, tools / "python", "shop.py", **environ)
    run(tmp_path, tools / "dray", "worker", "--drain", **environ, DRAY_DATA_DIR=str(tmp_path / "data"))
    assert run(tmp_path, tools / "python", "result.py", execution, **environ) == "{'price': 42, 'stars': 5}"


def test_a_script_beside_a_clone_of_it(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "dray").symlink_to(ROOT)
    (tmp_path / "script.py").write_text("import dray\nprint(dray.Client.__module__)\n")
    assert run(tmp_path, tools / "python", "script.py") == "dray.cluster.client"
