"""The threads that run plain handlers."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable

from dray.actors.runner.call import Call


class Threads:
    """Up to `limit` threads, one queue. run: what a thread does with a call; it must not raise.

    There are always as many threads as open calls, or `limit`: a quick call never waits behind one that blocks.
    Of 64 threads that find a batch of 256 quick calls, one does nearly all of them: the others wait for the GIL, which
    changes hands every 5 ms or when a handler waits. So many threads cost such a batch nothing.
    """

    def __init__(self, limit: int, run: Callable[[Call], None]) -> None:
        self._limit = limit
        self._run = run
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0  # calls that are in the queue or on a thread, except those given up
        self._count = 0  # threads, except those lost to a call that was given up
        self._names = itertools.count(1)

    def put(self, calls: Iterable[Call]) -> None:
        number = 0
        for number, call in enumerate(calls, 1):  # noqa: B007
            self._queue.put(call)
        self._adjust(opened=number)

    def abandon(self) -> None:
        """A call on one of the threads was given up: its thread counts no more, and another one takes its place."""
        self._adjust(opened=-1, lost=1)

    def stop(self) -> None:
        """The threads end when they have done what is queued."""
        with self._lock:
            count, self._count, self._limit = self._count, 0, 0
        for _ in range(count):
            self._queue.put(None)

    def _adjust(self, opened: int, lost: int = 0) -> None:
        with self._lock:
            self._open += opened
            self._count -= lost
            missing = min(self._limit, self._open) - self._count
            self._count += max(0, missing)
        for _ in range(missing):
            threading.Thread(target=self._work, name=f"handler-{next(self._names)}", daemon=True).start()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            self._run(call)
            if call.given_up:
                return
            with self._lock:
                self._open -= 1
            del call  # what it holds must not live on until the next one comes
