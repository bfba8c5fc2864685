"""The event loop that runs async handlers, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from dray.actors.runner.call import Call

_log = logging.getLogger("dray.runner")


class LoopThread:
    """Runs up to `limit` calls at once. run: what to do with a call; it must not raise.

    One loop lasts as long as its runner: handlers keep connections on it. Only a handler that never yields is a reason
    to leave it (abandon); then it ends when that handler does, if ever.
    """

    def __init__(self, limit: int, run: Callable[[Call], Coroutine[Any, Any, None]]) -> None:
        self._limit = limit
        self._run = run
        self._waiting: deque[Call] = deque()
        self._running: dict[asyncio.Task[None], Call] = {}
        self._abandoned = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._main, name="handler-loop", daemon=True).start()

    def put(self, calls: Iterable[Call]) -> None:
        self._waiting.extend(calls)
        self._loop.call_soon_threadsafe(self._pump)

    def cancel(self, call: Call) -> None:
        """Cancel a call that runs here, as soon as the loop gets to it; call.heard_loop says when it has."""
        self._loop.call_soon_threadsafe(self._cancel, call)

    def current(self) -> asyncio.Task[Any] | None:
        """What the loop is busy with at this moment, asked from another thread."""
        return asyncio.current_task(self._loop)

    def abandon(self) -> list[Call]:
        """Start nothing here any more. Returns the calls that were never started."""
        self._abandoned = True
        left = []
        with contextlib.suppress(IndexError):  # emptied bit by bit: the loop may wake up and look at the same moment
            while True:
                left.append(self._waiting.popleft())
        return left

    def stop(self) -> None:
        """Cancel what runs and end the loop, whenever it gets to it."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._loop.is_closed():
            try:
                self._loop.run_forever()
                break
            except BaseException:  # noqa: BLE001  # SystemExit from a task that a handler left behind: not our end
                _log.exception("a task that a handler left behind tried to end the event loop")
        self._loop.close()

    def _pump(self) -> None:
        while self._waiting and len(self._running) < self._limit and not self._abandoned:
            call = self._waiting.popleft()
            call.loop = self
            task = call.tracked = self._loop.create_task(self._run_here(call))
            self._running[task] = call
            task.add_done_callback(self._ended)

    async def _run_here(self, call: Call) -> None:
        if call.loop is self:  # else it was given to another loop before this one came to it
            await self._run(call)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if self._waiting:
            self._pump()

    def _cancel(self, call: Call) -> None:
        if not call.heard_loop:  # a second time would cancel what it does to end in order
            call.heard_loop = True
            call.tracked.cancel()

    def _stop(self) -> None:
        self._abandoned = True
        closing = self._loop.create_task(self._close())
        closing.add_done_callback(lambda _: self._loop.stop())

    async def _close(self) -> None:
        for call in self._running.values():
            self._cancel(call)
        if self._running:
            await asyncio.wait(self._running, timeout=1.0)
        used = sys.modules.get("dray.actors.outside.http_client")  # its client belongs to this loop
        if used is not None:
            await used.close_client()
