"""Several hosts, of which some die and some are cut off for a while: everything is finished, and recorded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.docker.engine import call, inspect, logs, until
from tests.docker.hosts import Host, Hosts
from tests.docker.places import a_place, started, stopped

pytestmark = pytest.mark.docker
EXECUTIONS = 12


def row(name: str, nodes: tuple[str, ...], seconds: int) -> dict[str, Any]:
    config = {"language": "bash", "code": f"sleep {seconds}; cat /etc/hostname"}
    edges = [{"from": one, "to": other} for one, other in pairwise(nodes)]
    return {"name": name, "nodes": [{"id": each, "type": "code", "config": config} for each in nodes], "edges": edges}


class Cluster:
    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.place = hosts, hosts.place
        self.head = hosts.head()
        until(lambda: "Ray runtime started" in logs(self.head.container), every=0.5)
        self.workers = [hosts.worker("one", 2), hosts.worker("two", 2)]
        self.driver = hosts.driver("driver", DRAY_RUNNERS="2")
        self.submitted = 0
        self.nodes = 0
        self.place.apply(row("short", ("first", "second", "third"), 4))
        self.place.apply(row("long", ("only",), 20))
        started(self.driver.container)

    def submit(self, executions: int = EXECUTIONS, workflow: str = "short") -> None:
        self.submitted += executions
        self.nodes += executions * (3 if workflow == "short" else 1)
        self.place.submit(workflow, executions)

    def finishes(self) -> None:
        """All that was submitted so far completes, and every node has been recorded once."""
        until(lambda: self.place.statuses() == {"completed": self.submitted})
        (found,) = self.place.sql(
            "SELECT count(*), count(DISTINCT (execution_id, node_key)) FROM dray.checkpoint WHERE kind = 'c'"
        )
        assert found == f"{self.nodes}|{self.nodes}"

    def living(self) -> set[str]:
        """The hosts on which runners live."""
        return set(self.place.sql("SELECT DISTINCT host FROM dray.runner WHERE ended_at IS NULL"))

    def lost(self) -> int:
        (found,) = self.place.sql("SELECT count(*) FROM dray.checkpoint WHERE kind = 'l'")
        return int(found)

    def held_by(self, driver: Host) -> int:
        (found,) = self.place.sql(
            "SELECT count(*) FROM dray.execution e JOIN dray.driver d ON d.id = e.owner"
            f" WHERE d.host = '{driver.name}' AND d.lease_until > now()"
        )
        return int(found)

    def recorded(self) -> set[str]:
        """All that is recorded of nodes, word by word."""
        return set(self.place.sql("SELECT c::text FROM dray.checkpoint c"))


def restarts(host: Host) -> int:
    count: int = inspect(host.container)["RestartCount"]
    return count


def processes(host: Host) -> list[str]:
    return call("docker", "exec", host.container, "sh", "-c", "cat /proc/[0-9]*/comm; true").split()


def works(host: Host) -> bool:
    """Nodes run there now."""
    return "sleep" in processes(host)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with a_place() as place:
        found = Cluster(Hosts(place))
        try:
            yield found
        finally:
            if os.environ.get("KEEP_LOGS"):
                for host in (found.head, found.driver, *found.workers):
                    print(host.name, logs(host.container)[-6000:])  # noqa: T201


def test_a_host_that_dies_costs_only_the_time_of_its_nodes(cluster: Cluster) -> None:
    until(lambda: cluster.living() == {"one", "two"})
    victim = cluster.workers[0]
    before = cluster.lost()
    cluster.submit()
    until(lambda: works(victim), every=0.3)
    call("docker", "kill", victim.container)
    cluster.finishes()
    assert cluster.lost() > before
    assert cluster.living() == {"two"}
    call("docker", "start", victim.container)


def test_what_a_host_that_was_cut_off_says_late_changes_nothing(cluster: Cluster) -> None:
    victim = cluster.workers[1]
    until(lambda: victim.name in cluster.living())
    cluster.submit()
    until(lambda: works(victim), every=0.3)
    cluster.hosts.cut_off(victim)
    until(lambda: victim.name not in cluster.living())
    cluster.finishes()
    recorded = cluster.recorded()
    until(lambda: not works(victim))
    assert "ray::RunnerActo" in processes(victim), "its runners have done their nodes, and tell nobody"
    cluster.hosts.heal(victim)
    until(lambda: restarts(victim))
    cluster.submit()
    cluster.finishes()
    assert recorded <= cluster.recorded()


def test_a_driver_that_was_cut_off_writes_nothing_late_and_goes_on(cluster: Cluster) -> None:
    first = cluster.driver
    # It takes half of what is submitted at most: whoever asks first may take all, and the first one must hold some.
    second = cluster.hosts.driver("second", DRAY_RUNNERS="2", DRAY_CONCURRENCY=str(2 * EXECUTIONS))
    started(second.container)
    cluster.submit(4 * EXECUTIONS)
    until(lambda: cluster.held_by(first), every=0.3)
    cluster.hosts.cut_off(first)
    cluster.finishes()
    recorded = cluster.recorded()
    cluster.hosts.heal(first)
    assert stopped(second.container) == 0
    cluster.submit()
    cluster.finishes()
    assert recorded <= cluster.recorded()


def test_a_head_that_dies_takes_all_of_ray_along_and_all_of_it_comes_back(cluster: Cluster) -> None:
    parts = (cluster.head, cluster.driver, *cluster.workers)
    before = {each.name: restarts(each) for each in parts}
    cluster.submit(EXECUTIONS, "long")
    until(lambda: all(works(each) for each in cluster.workers), every=0.3)
    cluster.hosts.crash(cluster.head)
    until(lambda: all(restarts(each) > before[each.name] for each in parts))
    cluster.finishes()
