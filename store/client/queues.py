"""What a person does to queues: look, pause, resume, limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from dray.store.client.base import ClientBase, uuid_text
from dray.store.records import TURNS, Stage

Texts: TypeAlias = list[str]


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue. concurrency, rate: None = no limit; per: seconds of the rate. ageing: seconds of waiting that are
    worth a point of priority. queued: what waits for a driver; held: of these, for a place, a rate or a turn."""

    name: str
    paused: bool
    concurrency: int | None
    rate: int | None
    per: float | None
    ageing: float
    queued: int
    held: int
    running: int
    oldest_queued_seconds: float | None


class QueueClient(ClientBase):
    """The part of the client that is about queues."""

    def queues(self) -> list[Queue]:
        """Every queue that somebody has set up, or that has something queued or running; by name."""
        return [Queue(*row) for row in self._ask("list_queues", {})]

    def held_by(self, execution: str) -> Texts:
        """What a queued execution waits for besides its turn, for people; empty where that is nothing, or where it is
        not queued. Its workflow's limits are told as they are now, and only the one at which it stands."""
        rows = self._ask("held_by", {"id": uuid_text(execution)})
        return _reasons(*rows[0]) if rows else []

    def pause_queue(self, queue: str) -> None:
        """Have no driver take anything from it; what runs goes on. Also for a queue that nobody has used yet."""
        self._ask("pause_queue", {"queue": queue})

    def resume_queue(self, queue: str) -> bool:
        """False: it was not paused."""
        ((resumed,),) = self._ask("resume_queue", {"queue": queue})
        return bool(resumed)

    def limit_queue(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: float | None = None,
        ageing: float = 60.0,
    ) -> None:
        """Set all limits of a queue; what is not given has none. concurrency: executions that run at once, in all
        drivers. rate: executions that start within `per` seconds. Raises DataRefused."""
        given = {"queue": queue, "concurrency": concurrency, "rate": rate, "per": per, "ageing": ageing}
        self._ask("limit_queue", given)


def _reasons(
    lane: str | None, gate: str | None, key: str | None, rate_key: str | None, tenant: str | None,
    limits: dict[str, Any] | None, queue: str, paused: bool, concurrency: int | None, rate: int | None,
    per: float | None, served: bool,
) -> list[str]:  # fmt: skip
    """The row of held_by. lane: the kind of the line in which it stands."""
    found, said = [], limits or {}
    if lane == Stage.KEY:
        found.append(f"concurrency limit of workflow {gate} for each key ({said.get('key_limit')}), key {key!r}")
    elif lane == Stage.RATE:
        allowed = said.get("rate", {})
        whose = f", key {rate_key!r}" if rate_key else ""
        found.append(f"rate of workflow {gate} ({allowed.get('limit')} within {allowed.get('per')} s){whose}")
    elif lane == Stage.WORKFLOW:
        found.append(f"concurrency limit of workflow {gate} ({said.get('concurrency')})")
    elif lane == TURNS:
        found.append(f"the turns of tenants in queue {queue}, tenant {tenant!r}")
    if paused:
        found.append(f"queue {queue} is paused")
    if concurrency is not None:
        found.append(f"concurrency limit of queue {queue} ({concurrency})")
    if rate is not None:
        found.append(f"rate of queue {queue} ({rate} within {per:g} s)")
    if not served:
        found.append(f"no driver takes from queue {queue}")
    return found
