"""The executions that a driver holds, and how many bytes they are; and those that it does not take on."""

from __future__ import annotations

from dray.actors.messages import FailureType
from dray.cluster.driver.claimer import Found
from dray.cluster.driver.committer import Entry
from dray.cluster.driver.options import DriverOptions
from dray.cluster.errors import GraphInvalid
from dray.cluster.execution.commands import error_text
from dray.cluster.execution.run import ExecutionRun
from dray.cluster.graph.types import NO_GRAPH
from dray.store.records import ExecutionStatus, Settlement

SMALL = 8_192  # bytes; as many as may be held of these are of no interest


class Holding(dict[str, ExecutionRun]):
    """By id. bytes: of the inputs and of the outcomes that were loaded, as JSON; small ones are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._sizes: dict[str, int] = {}

    def add(self, run: ExecutionRun, found: Found) -> None:
        """In the place of an earlier run of the same execution, if there is one."""
        size = len(found.claim.input or "") + sum(len(each.outcome or "") for each in found.stored)
        self.bytes -= self._sizes.pop(run.id, 0)
        if size > SMALL:
            self._sizes[run.id] = size
            self.bytes += size
        self[run.id] = run

    def forget(self, run: ExecutionRun) -> None:
        """Unless its execution is back already: woken, and claimed again."""
        if self.get(run.id) is run:
            del self[run.id]
            self.bytes -= self._sizes.pop(run.id, 0)


def refused(found: Found, options: DriverOptions) -> Entry | None:
    """The end of an execution that fails at once; None: it does not."""
    text = _refusal(found, options.held_bytes)
    if text is None:
        return None
    run = ExecutionRun(found.claim, NO_GRAPH, options.policy)
    run.closed = True
    return Entry(run, settlement=Settlement(run.id, ExecutionStatus.FAILED, None, text, run.claim.claim_count))


def _refusal(found: Found, most: int) -> str | None:
    """Why, as it is stored. most: bytes that this driver holds."""
    if isinstance(found.graph, GraphInvalid):
        return error_text(FailureType.GRAPH_INVALID, str(found.graph.problems[0]))
    size = found.claim.input_size or 0
    if size > most:
        message = (
            f"its input has {size} bytes as JSON, and this driver holds {most} at most: put what is large where "
            "handlers can read it, or raise DRAY_HELD_MB and the driver's memory"
        )
        return error_text(FailureType.INPUT_TOO_LARGE, message)
    return None
