"""The end of a driver: whatever of it fails, the rest is done; and where it was planned, nothing counts as a crash."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dray.cluster import logs
from dray.cluster.driver.portions import Portion
from dray.store.connection import waits
from dray.store.driver_store import GIVE_BACK, DriverStore
from dray.store.errors import Unavailable

PATIENCE = 5.0  # seconds for giving back; whoever told the driver to stop waits

log = logs.get("driver")


def release(store: DriverStore, incarnation: str, lease_ttl: float) -> bool:
    """Give back what is held. False where it had been reaped, or the database does not answer in time."""
    portion = Portion("release", GIVE_BACK)
    until = time.monotonic() + PATIENCE
    for pause in waits():
        try:
            released, _ = portion.ask(lambda most: store.release(incarnation, most))
        except Unavailable as error:
            if time.monotonic() + pause > until:  # the lease will run out, and others go on then
                log.warning("cannot give back what is held", reason=error.reason, lease_ttl=lease_ttl)
                return False
            time.sleep(pause)
        else:
            if released is not None and released.has_left:
                log.warning("others keep locked what is held: any driver gives it back, once it is free")
            return released is not None
    raise AssertionError  # waits() does not end


def stop_all(parts: Iterable[Any]) -> None:
    """Stop each, also where the stop of another fails: one left running would keep the process, or the lease, alive."""
    for part in parts:
        try:
            part.stop()
        except Exception:
            log.exception("a part of the driver did not stop as it should", part=type(part).__name__)
