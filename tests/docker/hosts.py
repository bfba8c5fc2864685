"""A Ray cluster of several hosts, each a container: a head without CPUs, drivers, and workers with the runners."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.docker.engine import call, inspect
from tests.docker.places import Place

TOKEN = "0123456789abcdef" * 4
# Seconds instead of a minute, until a host that does not answer counts as dead.
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
LEASE = {"DRAY_LEASE_TTL": "6", "DRAY_HEARTBEAT": "2"}
RAY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
NODE = ("--object-store-memory=80000000", "--disable-usage-stats")


class Host(NamedTuple):
    container: str
    name: str
    address: str


class Hosts:
    """What docker/compose.yaml starts, with `docker run`: so that each can be killed or cut off by itself."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def head(self) -> Host:
        command = ("ray", "start", "--head", "--block", "--port=6379", "--num-cpus=0", "--include-dashboard=false")
        return self._host("head", {**RAY, **SOON}, (*command, *NODE))

    def worker(self, name: str, cpus: int = 1) -> Host:
        return self._host(name, RAY, ("ray", "start", "--block", "--address=head:6379", f"--num-cpus={cpus}", *NODE))

    def driver(self, name: str, **settings: str) -> Host:
        script = (
            f"env -u DRAY_DATABASE_URL ray start --address=head:6379 --num-cpus=0 {' '.join(NODE)} > /dev/null"
            " && exec dray worker --ray-address head:6379"
        )
        return self._host(name, {**RAY, **LEASE, **settings}, ("sh", "-c", script), told=True)

    def _host(self, name: str, environ: Mapping[str, str], command: tuple[str, ...], told: bool = False) -> Host:
        given = [each for pair in environ.items() for each in ("-e", "=".join(pair))]
        options = ["--restart", "unless-stopped", "--no-healthcheck", "--shm-size", "128m"]
        options += ["--hostname", name, "--network-alias", name]
        found = self.place.run(*options, *given, command=command, told=told)
        networks: dict[str, Any] = inspect(found)["NetworkSettings"]["Networks"]
        return Host(found, name, networks[self.place.network]["IPAddress"])

    def cut_off(self, host: Host) -> None:
        call("docker", "network", "disconnect", self.place.network, host.container)

    def heal(self, host: Host) -> None:
        """With the address that it had, so that its connections go on where they stood."""
        call(
            "docker", "network", "connect", "--ip", host.address, "--alias", host.name, self.place.network,
            host.container,
        )  # fmt: skip

    def crash(self, host: Host) -> None:
        """All its processes at once, as if it had lost its power; its restart policy starts it again.

        `docker kill` would not do: what a person has killed stays away.
        """
        command = ["docker", "exec", "-u", "0", host.container, "sh", "-c", "kill -9 -1"]
        subprocess.run(command, capture_output=True)  # which says what became of its own shell
