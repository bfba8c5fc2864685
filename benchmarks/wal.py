"""WAL bytes per node of an execution of 10 nodes with outcomes of 100 bytes: python -m benchmarks.wal [STATEMENT...]

Claims 500 executions, records their outcomes in 10 commits of 500, settles with the last; submit is not counted. The
statements are run first, to try a setting: "ALTER TABLE dray.execution SET (fillfactor = 50)". The same to a byte or
two in every round and on every machine, so one round decides.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from itertools import pairwise

from dray.store.client.client import Client
from dray.store.connection import connect, connection
from dray.store.driver_store import DriverStore
from dray.store.embedded import EmbeddedPostgres
from dray.store.migrate import migrate
from dray.store.records import Kind, Outcome, Settlement

EXECUTIONS = 500
NODES = 10
OUTCOME = '{"x": "' + "y" * 90 + '"}'
GRAPH = {
    "format": 1,
    "nodes": [{"id": f"n{n}"} for n in range(NODES)],
    "edges": [{"from": f"n{n}", "to": f"n{n + 1}"} for n in range(NODES - 1)],
}
# Whole pages after a checkpoint, and vacuum, come when they come.
SETTINGS = {"full_page_writes": "off", "autovacuum": "off"}


def main(statements: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(folder, SETTINGS) as url:
        engine = connect(url)
        migrate(engine)
        with connection(engine) as found:
            for each in statements:
                found.exec_driver_sql(each)

            def written() -> int:
                return int(found.exec_driver_sql("SELECT pg_current_wal_insert_lsn() - '0/0'").scalar_one())

            store, client = DriverStore(engine), Client(engine)
            client.apply_workflow("w", GRAPH)
            driver = str(uuid.uuid4())
            store.register(driver, 3600, {"pid": 1, "host": "here"})
            runner = store.register_runner(driver, "f" * 56, "here", 1, "runner")
            for _ in range(3):
                client.submit_many("w", [{"n": n} for n in range(EXECUTIONS)])
                marks = [written()]
                claims = store.claim(driver, ["default"], EXECUTIONS)
                marks.append(written())
                for n in range(NODES):
                    outcomes = [
                        Outcome(each.id, f"n{n}", 1, Kind.COMPLETED, None, OUTCOME, None, runner, 3) for each in claims
                    ]
                    ends = [Settlement(each.id, "completed", None, None) for each in claims] if n == NODES - 1 else []
                    store.commit(driver, outcomes, ends)
                    marks.append(written())
                claim, *commits = [(after - before) / EXECUTIONS for before, after in pairwise(marks)]
                outcome = sum(commits[:-1]) / (NODES - 1)
                print(
                    f"{(claim + sum(commits)) / NODES:.0f} bytes per node: claim {claim:.0f} and end "
                    f"{commits[-1] - outcome:.0f} per execution, {outcome:.0f} per outcome"
                )
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1:])
