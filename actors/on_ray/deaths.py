"""What Ray's exceptions tell of a runner's death, in one line.

Ray's own texts are a list of ids, then paragraphs of advice. Exit codes it does not know: it sees the connection end.
"""

from __future__ import annotations

import re

_IDS = re.compile(r"^\t(?:class_name|actor_id|pid|name|namespace|ip): .*\n", re.MULTILINE)
_OPENING = "The actor died unexpectedly before finishing this task."
_PLANNED = "terminated expectedly"  # of a node that was stopped in order
_SAID = (
    (
        r"Memory on the node \(IP: \S+ ID: (\w+)\) was (\S+ used / \S+ limit).*actual memory used=([\d.]+GB)",
        r"killed by Ray, with \3 in use, since its node \1 ran low on memory: \2",
    ),
    (
        r"because its node has died\. Node Id: (\w+) the actor's node was terminated \w+: (.*)",
        r"its node \1 died: \2",
    ),
    (
        r"connection error code 2\. End of file",
        "its process died: it was killed (out of memory?), crashed or called os._exit",
    ),
    (r"The actor is dead because it was (killed by `ray\.kill`)", r"\1"),
    (r"(Exit code: .*)", r"its process ended: \1"),
)


def reason_of(error: BaseException) -> str:
    text = " ".join(_IDS.sub("", str(error)).split())
    for pattern, reason in _SAID:
        if found := re.search(pattern, text):
            text = found.expand(reason)
            break
    text = text.removeprefix(_OPENING).strip() or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def is_crash(error: BaseException) -> bool:
    """Whether the runner died of itself or of its nodes, and not because a machine was taken away in order."""
    return not getattr(error, "preempted", False) and _PLANNED not in str(error)
