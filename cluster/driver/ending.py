"""The end of a driver: whatever of it fails, the rest is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dray.cluster import logs
from dray.store.driver_store import DriverStore
from dray.store.errors import Unavailable

log = logs.get("driver")


def release(store: DriverStore, incarnation: str, lease_ttl: float) -> bool:
    """Give back what is held. False where the database is away."""
    try:
        store.release(incarnation)
    except Unavailable as error:  # whoever told us to stop waits: the lease will run out, and others go on then
        log.warning("cannot give back what is held", reason=error.reason, lease_ttl=lease_ttl)
        return False
    return True


def stop_all(parts: Iterable[Any]) -> None:
    """Stop each, also where the stop of another fails: one left running would keep the process, or the lease, alive."""
    for part in parts:
        try:
            part.stop()
        except Exception:
            log.exception("a part of the driver did not stop as it should", part=type(part).__name__)
