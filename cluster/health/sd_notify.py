"""Tells systemd how this process is (sd_notify(3)): it runs, it goes on, it stops. Does nothing where nobody listens.

A unit with Type=notify and WatchdogSec= restarts a driver whose decisions stand still, which a restart on exit does not
see. So a sign of life is sent from where they are made, never from a thread of its own.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from dray.cluster import logs

GAP = 1.0  # seconds between two signs of life, if no watchdog asks for more
PATIENCE = 90  # seconds that each sign of life before READY=1 asks for: a database may be away for long at boot

log = logs.get("sd_notify")


class Notifier:
    """The protocol over one datagram socket. Not for several threads at once, except stopping()."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._socket: socket.socket | None = None
        self._gap = GAP if watchdog is None else min(GAP, watchdog / 4)
        self._watched = watchdog is not None
        self._next = 0.0
        self._is_ready = False
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # a manager that does not read must not stop us
            self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Takes the variables away: what we start must not speak for us."""
        address, wanted, pid = (environ.pop(each, None) for each in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        ours = pid is None or pid == str(os.getpid())
        return cls(address, int(wanted) / 1e6 if wanted and wanted.isdigit() and ours else None)

    def ready(self, status: str) -> None:
        """Started; again after each new start within this process."""
        self._is_ready = True
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str | None = None) -> None:
        """Called whenever something has been got done, however often: it is told at most once in a while."""
        now = time.monotonic()
        if self._socket is None or (now < self._next and status is None):
            return
        self._next = now + self._gap
        lines = [f"STATUS={status}"] if status else []
        if not self._is_ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={PATIENCE * 1_000_000}")
        elif self._watched:
            lines.append("WATCHDOG=1")
        if lines:
            self._send("\n".join(lines))

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=draining")

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as error:  # the manager's business: we go on
            log.debug("systemd cannot be told", reason=str(error))
