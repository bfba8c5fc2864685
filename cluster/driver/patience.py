"""Waiting out a database that does not answer: what every thread of a driver does about Unavailable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from dray.cluster import logs
from dray.store.connection import waits
from dray.store.errors import Unavailable

Answer = TypeVar("Answer")

log = logs.get("database")


class Stopped(Exception):
    """The driver ends, so nobody waits for the answer any more."""


def patiently(
    what: str, call: Callable[[], Answer], stop: threading.Event, but: type[Unavailable] | None = None
) -> Answer:
    """call(), again and again with growing pauses for as long as the database is unavailable. what: named in the log.

    Each such call is one transaction and may be repeated: if the acknowledgement of the first was lost, the second
    changes nothing. Raises Stopped when `stop` is set meanwhile, and what call() raises besides Unavailable; and of
    Unavailable what is a `but`.
    """
    waited = 0.0
    for pause in waits():
        try:
            answer = call()
        except Unavailable as error:
            if but is not None and isinstance(error, but):
                raise
            log.warning("waiting for the database", what=what, reason=error.reason, again_in=pause)
            if stop.wait(pause):
                raise Stopped from error
            waited += pause
        else:
            if waited:
                log.info("the database is back", what=what, waited=waited)
            return answer
    raise AssertionError  # waits() does not end
