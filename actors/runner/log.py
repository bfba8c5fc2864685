"""The log of a runner process, on stderr, which Ray keeps as a file (worker-...-<pid>.err) and shows in its dashboard.

    12:00:01.123 INFO    node    card charged  execution=0190... node=charge attempt=1

What handlers log with ctx.log, and warnings of everything else.
"""

from __future__ import annotations

import logging
import time


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
        line = f"{at}.{int(record.msecs):03} {record.levelname:<7} {source:<7} {record.getMessage()}"
        node = record.__dict__
        if "execution_id" in node:
            line += f"  execution={node['execution_id']} node={node.get('node_key')} attempt={node.get('attempt')}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line
