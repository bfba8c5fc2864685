"""What a person does to executions: cancel, pause, resume, retry, rerun; one, or many by a filter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dray.store.client.base import ClientBase, json_text, uuid_text
from dray.store.errors import ExecutionNotFound

BATCH = 500  # executions of one transaction
PASSES = 10  # through what a filter takes, for those that somebody kept locked
PAUSE = 0.2  # seconds between two of them


@dataclass(frozen=True, slots=True)
class Bulk:
    """matched: the executions to which it could be done when they were counted. done: to which it was done."""

    matched: int
    done: int


class ControlClient(ClientBase):
    """The part of the client that stops executions and lets them go on."""

    def cancel(self, execution: str, reason: str | None = None, *, by: str | None = None) -> str:
        """Cancel it, with the executions that its nodes wait for; gives its status now, `cancelling` while its driver
        still has to stop it, or how it had ended before.

        reason: why, at most 2,000 characters; by: who asks, at most 200. Both are kept, with the database role; the
        first who asks counts. Raises ExecutionNotFound, DataRefused.
        """
        return self._control("cancel", execution, reason=reason, by=by)

    def pause(self, execution: str) -> str:
        """Hold it; gives its status now, `pausing` while what runs of it is finished, `cancelling` for one that is to
        be cancelled, or how it had ended before. Raises ExecutionNotFound."""
        return self._control("pause", execution)

    def resume(self, execution: str) -> str:
        """Let it go on; gives its status now, also where it was not paused. Raises ExecutionNotFound."""
        return self._control("resume", execution)

    def retry(self, execution: str, *, latest: bool = False) -> str:
        """Go on with one that has failed or was cancelled from what it has recorded, in a new execution; gives the id
        of that. latest: in the latest version of the workflow, where what has run stands in that at the same place.

        Raises ExecutionNotFound, ExecutionUnfit.
        """
        return self._again("retry", execution, latest=latest)

    def rerun(
        self,
        execution: str,
        from_node: str,
        input: Any = None,  # noqa: A002 - the word for it
        *,
        latest: bool = False,
    ) -> str:
        """Run this node of one that has ended, and all that follows from it, once more in a new execution; gives the id
        of that. Of a node in a loop: the outermost loop around it. input: None = that of the earlier one. latest: as in
        retry(); the node may be a new one.

        Raises ExecutionNotFound, ExecutionUnfit, and DataRefused for a node that the workflow has not.
        """
        text = None if input is None else json_text(input, "input")
        return self._again("rerun", execution, from_node=from_node, input=text, latest=latest)

    def bulk(
        self,
        action: str,
        *,
        workflow: str | None = None,
        status: str | Iterable[str] | None = None,
        labels: Mapping[str, Any] | None = None,
        queue: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        latest: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
        by: str | None = None,
    ) -> Bulk:
        """cancel, pause, resume or retry whatever this takes, in batches of a transaction each; dry_run: only count.

        after, before: when it was submitted; what comes while this runs is left alone. retry: only what nobody has
        repeated yet. latest: retry in the latest version; what does not fit in that is left alone. reason, by: as in
        cancel(). Raises DataRefused for another action.
        """
        given: dict[str, Any] = {
            "workflow": workflow,
            "status": [status] if isinstance(status, str) else None if status is None else [*status],
            "labels": None if labels is None else dict(labels),
            "queue": queue,
            "after": None if after is None else after.astimezone().isoformat(),
            "before": None if before is None else before.astimezone().isoformat(),
        }
        given = {name: value for name, value in given.items() if value is not None}
        ((matched, now),) = self._ask("bulk_count", {"action": action, "filter": json_text(given, "the filter")})
        if dry_run or not matched:
            return Bulk(matched, 0)
        if before is None or before.astimezone() > now:
            given["before"] = now.isoformat()
        text = json_text(given, "the filter")
        done = 0
        for number in range(PASSES):
            if number:
                time.sleep(PAUSE)
                if not self._ask("bulk_count", {"action": action, "filter": text})[0][0]:
                    break
            done += self._pass({"action": action, "filter": text, "latest": latest, "reason": reason, "by": by})
        return Bulk(matched, done)

    def _pass(self, given: dict[str, Any]) -> int:
        done = 0
        behind: str | None = None
        while True:
            ((count, behind),) = self._ask("bulk", {**given, "most": BATCH, "behind": behind})
            done += int(count)
            if behind is None:
                return done

    def _control(self, name: str, execution: str, **given: Any) -> str:
        ((status,),) = self._ask(name, {"id": uuid_text(execution), **given})
        if status is None:
            raise ExecutionNotFound(execution)
        return str(status)

    def _again(self, name: str, execution: str, **given: Any) -> str:
        ((found,),) = self._ask(name, {"id": uuid_text(execution), **given})
        if found is None:
            raise ExecutionNotFound(execution)
        return str(found)
