"""Ray's texts, as 2.60 writes them, in one line each."""

from __future__ import annotations

import pytest

from dray.actors.on_ray.deaths import is_crash, reason_of

HEAD = """The actor died unexpectedly before finishing this task.
\tclass_name: RunnerActor
\tactor_id: dba9083234e442f726d05e9e01000000
\tpid: 25308
\tname: dray-abcdefgh-runner-1
\tnamespace: t
\tip: 192.0.2.2
"""
PROCESS = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed."
)
SIGTERM = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "exits unexpectedly by a signal. SystemExit is raised (sys.exit is called). Exit code: 1. The process receives a "
    "SIGTERM."
)
NODE = "The actor died because its node has died. Node Id: 8240032e\n\tthe actor's node was terminated "
MEMORY = """1 worker(s) were killed due to the node running low on memory. \
Memory on the node (IP: 192.0.2.2, ID: fc6e8c90) was 1.06GB used / 23.54GB limit (0.044982)
OOM kill reason: Memory usage 1133105152B exceeded threshold of 252765104B (1.0% of 25276510208B limit)
Selected to kill: (Task: job ID=01000000, task name=dray-abcdefgh-runner-1:RunnerActor.__init__, required \
resources={}, pid=28702, actual memory used=0.06GB, worker ID=ec12f6cd)
"""


class Preempted(Exception):
    preempted = True


@pytest.mark.parametrize(
    ("error", "reason", "crash"),
    [
        (
            Exception(HEAD + PROCESS),
            "its process died: it was killed (out of memory?), crashed or called os._exit",
            True,
        ),
        (Exception(HEAD + SIGTERM), "its process ended: Exit code: 1. The process receives a SIGTERM.", True),
        (Exception(HEAD + "The actor is dead because it was killed by `ray.kill`."), "killed by `ray.kill`", True),
        (
            Exception(HEAD + NODE + "unexpectedly: health check failed due to missing too many heartbeats"),
            "its node 8240032e died: health check failed due to missing too many heartbeats",
            True,
        ),
        (Exception(HEAD + NODE + "expectedly: received SIGTERM"), "its node 8240032e died: received SIGTERM", False),
        (Preempted(HEAD + "drained"), "drained", False),
        (
            Exception(MEMORY),
            "killed by Ray, with 0.06GB in use, since its node fc6e8c90 ran low on memory: 1.06GB used / 23.54GB limit",
            True,
        ),
        (ValueError(), "ValueError", True),
        (ValueError("x" * 1_000), "x" * 297 + "...", True),
    ],
)
def test_one_line_says_what_is_known(error: Exception, reason: str, crash: bool) -> None:
    assert reason_of(error) == reason
    assert is_crash(error) is crash
