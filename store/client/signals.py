"""What a client says to executions that wait: signals, and the answers of people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from dray.store.client.base import ClientBase, json_text, uuid_text
from dray.store.errors import DataRefused, ExecutionNotFound, NotWaiting

APPROVAL_SIGNAL = "human_input"  # what a human_approval waits for (actors/handlers/human_approval.py)


@dataclass(frozen=True, slots=True)
class Approval:
    """A node that waits for a person. node: its key. since: when it began to wait. due: when it gives up."""

    execution: str
    workflow: str
    node: str
    attempt: int
    message: str | None
    options: list[str]
    since: datetime
    due: datetime | None


Approvals: TypeAlias = list[Approval]


class SignalClient(ClientBase):
    """signal, approvals, approve."""

    def signal(
        self, execution: str, name: str, payload: Any = None, *, node: str | None = None, dedupe: str | None = None
    ) -> bool:
        """Send a signal; False: the execution has ended. It is kept until a node waits for it.

        node: the id or key of the node that it is for, None = whichever waits for that name first. dedupe: of several
        signals to the execution with the same key the first counts. Raises ExecutionNotFound.
        """
        text = None if payload is None else json_text(payload, "payload")
        given = {"id": uuid_text(execution), "name": name, "payload": text, "node": node, "dedupe": dedupe}
        ((sent,),) = self._ask("signal", given)
        if not sent and not self._ask("get_status", {"id": uuid_text(execution)}):
            raise ExecutionNotFound(execution)
        return bool(sent)

    def approvals(self, execution: str | None = None, limit: int = 50) -> Approvals:
        """The nodes that wait for a person, those of the newest executions first."""
        given = {"id": None if execution is None else uuid_text(execution), "limit": limit}
        return [Approval(*row) for row in self._ask("list_approvals", given)]

    def approve(self, execution: str, decision: str, node: str | None = None, comment: str | None = None) -> Approval:
        """Answer a node that waits for a person; gives what was answered. Of two answers the first counts.

        decision: one of its options. node: its id or key, where several of the execution wait. Raises NotWaiting,
        DataRefused for what is no option, ExecutionNotFound.
        """
        if not self._ask("get_status", {"id": uuid_text(execution)}):
            raise ExecutionNotFound(execution)
        found = [each for each in self.approvals(execution, 1_000) if node in (None, each.node, _node_id(each.node))]
        if not found:
            raise NotWaiting(execution, node)
        if len(found) > 1:
            raise DataRefused(f"several nodes of it wait, name one: {', '.join(each.node for each in found)}")
        (wait,) = found
        if decision not in wait.options:
            raise DataRefused(f"{decision!r} is no option of node {wait.node!r}: it has {', '.join(wait.options)}")
        payload = {"decision": decision} if comment is None else {"decision": decision, "comment": comment}
        key = f"{APPROVAL_SIGNAL}:{wait.node}#{wait.attempt}"
        if not self.signal(execution, APPROVAL_SIGNAL, payload, node=wait.node, dedupe=key):
            raise NotWaiting(execution, node)
        return wait


def _node_id(key: str) -> str:
    return key.rpartition("/")[2]
