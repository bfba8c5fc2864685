"""What a person does to queues: look, pause, resume, limit."""

from __future__ import annotations

from dataclasses import dataclass

from store.client_base import ClientBase


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
