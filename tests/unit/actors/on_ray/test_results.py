"""Every result that a runner can give comes out of the driver's end as it went in."""

from __future__ import annotations

import marshal

import pytest

from dray.actors.messages import ChildStart, FailureType, NodeFailure, NodeResult
from dray.actors.on_ray.pool import _plain, _result

FAILURES = [
    NodeFailure(each, "why", retryable=True, retry_after=2.0, node="n") for each in [*FailureType, "ValueError"]
]
OTHERS = [
    NodeResult(1, "null"),
    NodeResult(2, '"x"', "yes", wait=2.5, duration_ms=7),
    NodeResult(3, awaits='{"signal":"go"}', wait=60.0),
    NodeResult(4, '{"y":2}', child=ChildStart("c1", "w", None, "null")),
]


@pytest.mark.parametrize("result", [*(NodeResult(5, failure=each) for each in FAILURES), *OTHERS], ids=str)
def test_it_travels(result: NodeResult) -> None:
    assert _result(marshal.loads(marshal.dumps(_plain(result)))) == result
