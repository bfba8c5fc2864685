"""The client's part for what is deleted in the end."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from dray.store.client.base import ClientBase

BATCH = 500


class RetentionClient(ClientBase):
    def prune(self, older_than: timedelta, statuses: Collection[str] | None = None, *, dry_run: bool = False) -> int:
        """Delete executions that ended longer ago, with their inputs, checkpoints and signals; gives how many.

        statuses: completed, failed, cancelled; None = all of these. dry_run: only count. In batches, each a transaction
        of its own, unless the client was given a connection. Left alone: what has not ended, and children whose parent
        has not.
        """
        given: dict[str, Any] = {
            "age": older_than.total_seconds(),
            "statuses": None if statuses is None else list(statuses),
        }
        if dry_run:
            return int(self._ask("count_prunable", given)[0][0])
        total = 0
        behind: str | None = None
        while True:
            ((deleted, behind),) = self._ask("prune", {**given, "most": BATCH, "behind": behind})
            total += int(deleted)
            if behind is None:
                return total
