from __future__ import annotations

from collections.abc import Iterator

import pytest

from dray.store.embedded import EmbeddedPostgres
from tests.acceptance.commands import Running, Shell


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Running]]:
    """A `dray dev` with the local executor, and a shell in another terminal on the same data folder."""
    folder = tmp_path_factory.mktemp("dev")
    shell = Shell(folder)
    with shell.running("dev", "--executor", "local") as running:
        running.wait_for("Workflow worker started")
        yield shell, running


@pytest.fixture
def shell(dev: tuple[Shell, Running]) -> Shell:
    return dev[0]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that no `dray dev` knows of."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), {"fsync": "off"}) as url:
        yield url
