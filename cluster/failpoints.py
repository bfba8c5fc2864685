"""Named places in the driver where a test makes this process die, fail or stop.

    DRAY_FAILPOINTS="after_claim:kill,after_commit@3:raise"

name[@n]:action, with commas between. n: which hit of that place acts, default the first; every point acts once.
kill: SIGKILL to this process. raise: RuntimeError. pause: SIGSTOP to this process, which stands still, heartbeat and
all, until somebody sends SIGCONT.

Nothing is armed unless the setting says so; then hit() is one look at an empty dict.
"""

from __future__ import annotations

import os
import re
import signal
import threading

# One execution's way through the driver, in order.
NAMES = (
    "after_claim",
    "after_load",
    "after_plan",
    "after_dispatch",
    "after_collect",
    "before_commit",
    "after_commit",
    "before_release",
)
# A schedule's slot: chosen, not written yet; written.
SLOT_NAMES = ("before_slot", "after_slot")
ACTIONS = ("kill", "raise", "pause")

_POINT = re.compile(rf"({'|'.join(NAMES + SLOT_NAMES)})(?:@([1-9]\d*))?:({'|'.join(ACTIONS)})")

_armed: dict[str, tuple[int, str]] = {}  # name -> hits until it acts, what it does
_lock = threading.Lock()


def configure(text: str) -> None:
    """Arm what the text says, and nothing else. Raises ValueError naming the first point that cannot be read."""
    points = parse(text)
    with _lock:
        _armed.clear()
        _armed.update(points)


def parse(text: str) -> dict[str, tuple[int, str]]:
    """Name -> (which hit acts, action). Raises ValueError as configure() does."""
    points: dict[str, tuple[int, str]] = {}
    for each in filter(None, map(str.strip, text.split(","))):
        match = _POINT.fullmatch(each)
        if match is None:
            raise ValueError(
                f"{each!r} is no failpoint: write name[@n]:{'|'.join(ACTIONS)}, names: {', '.join(NAMES + SLOT_NAMES)}"
            )
        name, nth, action = match.groups()
        if name in points:
            raise ValueError(f"failpoint {name!r} is given twice: one place acts once")
        points[name] = int(nth or 1), action
    return points


def hit(name: str) -> None:
    """This place was reached."""
    if name in _armed:
        _act(name)


def _act(name: str) -> None:
    with _lock:  # several threads pass failpoints
        left, action = _armed.pop(name, (0, ""))
        if left > 1:
            _armed[name] = left - 1, action
    if left != 1:
        return
    if action == "raise":
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
