"""What programs import as dray.Client: the client of the store, which knows nothing of graphs, and a check of each
graph before it is stored. The check is loaded where a graph is stored: whoever only submits does not pay for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dray.store.client.client import Client as StoreClient


class Client(StoreClient):
    """Submit, look, signal, stop and repeat, store workflows, schedule them, hold and limit queues, prune."""

    def apply_workflow(
        self, name: str, graph: Mapping[str, Any], *, handlers: Sequence[str] = ()
    ) -> tuple[int, int, bool]:
        """Check a graph and store it as the next version; gives (id, version, whether it is new). The latest version's
        graph again makes no new version.

        graph: in any form that `dray workflow apply` reads, or as dray.canonical_graph() makes it. handlers: modules
        that register node types, beside the built-in ones and those of this process. Raises GraphInvalid with every
        problem, HandlerLoadError, and StoreError.
        """
        from dray.cluster.graph.files import canonical_graph

        return super().apply_workflow(name, canonical_graph(graph, handlers))
