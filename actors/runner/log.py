"""The log of a runner process, on stderr, which Ray keeps as a file (worker-...-<pid>.err) and shows in its dashboard.

    12:00:01.123 INFO    node    card charged  execution=0190... node=charge attempt=1

What handlers log with ctx.log, with the traceback of what they raise, and warnings of everything else. Secrets are
hidden, and control characters escaped: a line is one line.
"""

from __future__ import annotations

import logging
import time

from dray.actors.outside.environment import hide
from dray.plain import visible


def setup(level: str = "INFO") -> None:
    """level: of Dray and of ctx.log; all other loggers are heard from WARNING on."""
    handler = logging.StreamHandler()  # stderr
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dray").setLevel(level)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        source = record.name.removeprefix("dray.")
        line = f"{at}.{int(record.msecs):03} {record.levelname:<7} {source:<7} {visible(hide(record.getMessage()))}"
        node = record.__dict__
        if "execution_id" in node:
            key = visible(str(node.get("node_key")))
            line += f"  execution={node['execution_id']} node={key} attempt={node.get('attempt')}"
        if "trace" in node:
            line += f"\n{visible(node['trace'], lines=True)}"
        if record.exc_info:
            line += f"\n{visible(hide(self.formatException(record.exc_info)), lines=True)}"
        return line
