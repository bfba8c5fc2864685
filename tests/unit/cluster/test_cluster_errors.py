"""Every error survives pickling with its text and its fields, and its text is for the person who must act."""

from __future__ import annotations

import inspect
import pickle

import pytest

from dray.cluster import errors
from dray.cluster.errors import (
    ClusterError,
    GraphInvalid,
    PortTaken,
    Problem,
    RayGone,
    RayMismatch,
    RayUnavailable,
    RunnersMissing,
    ScheduleInvalid,
    SettingsInvalid,
)

EXAMPLES: dict[type[ClusterError], ClusterError] = {
    ClusterError: ClusterError("something"),
    GraphInvalid: GraphInvalid(
        [Problem("node 'a'", "unknown type 'x'"), Problem("edges[3]", "from (or source): missing")]
    ),
    ScheduleInvalid: ScheduleInvalid("'x' is no time zone"),
    SettingsInvalid: SettingsInvalid(["DRAY_LEASE_TTL: must be more than 3 s", "DRAY_FOO: unknown"]),
    RayUnavailable: RayUnavailable("ray://head:10001", "connection refused"),
    RunnersMissing: RunnersMissing("it cannot import shop"),
    PortTaken: PortTaken("127.0.0.1", 9464, "address in use"),
    RayMismatch: RayMismatch("head:6379", "2.60.0", "3.12.1", "2.59.0", "3.11.1"),
    RayGone: RayGone("the cluster does not count its node 0a46 any more"),
}


def test_every_error_has_an_example() -> None:
    found = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, BaseException)}
    assert found == set(EXAMPLES)


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: ClusterError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_one_problem_is_one_line() -> None:
    assert str(GraphInvalid([Problem("node 'a'", "is wrong")])) == "graph refused: node 'a': is wrong"
    assert str(SettingsInvalid(["DRAY_X: unknown"])) == "settings refused: DRAY_X: unknown"


def test_many_problems_are_counted_and_the_text_stays_short() -> None:
    error = GraphInvalid([Problem(f"nodes[{index}]", "is wrong") for index in range(1000)])
    lines = str(error).splitlines()
    assert len(error.problems) == 1000
    assert lines[0] == "graph refused, 1000 problems:"
    assert lines[1] == "  nodes[0]: is wrong"
    assert lines[-1] == "  and 950 more"
    assert len(lines) == 52


def test_ray_errors_say_what_to_try() -> None:
    assert "cannot start Ray on this host" in str(RayUnavailable(None, "no memory"))
    assert "--executor local" in str(RayUnavailable("auto", "no head"))
