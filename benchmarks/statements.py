"""Counts SQL statements and transactions from the server's log, the same way for every system.

The embedded server has no pg_stat_statements, and a connection that fell idle adds its transactions to
pg_stat_database up to ten seconds late. So one run of each benchmark, which counts for nothing else, is logged in full.

A statement is what the client sends at once: one round trip. A transaction is BEGIN to COMMIT or ROLLBACK, or a
statement outside of that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

# For log_line_prefix: database, application, process.
PREFIX = "%d|%a|%p|"

_LINE = re.compile(
    r"(?P<database>[^|]*)\|(?P<application>[^|]*)\|(?P<pid>\d+)\|LOG:  duration: [\d.]+ ms  "
    r"(?P<kind>statement|parse|bind|execute)[^:]*: (?P<text>.*)"
)
_BEGIN = re.compile(r"\s*(BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
_END = re.compile(r"\s*(COMMIT|END|ROLLBACK|ABORT)\b(?!\s+TO\b)", re.IGNORECASE)


class Counted(NamedTuple):
    """statements, transactions: of one database, without the harness's own. texts: how often which, for people."""

    statements: int
    transactions: int
    texts: Counter[str]


def count(lines: Iterable[str], database: str, harness: str) -> Counted:
    """lines: of the log. harness: the application name that is left out."""
    statements = transactions = 0
    inside: set[str] = set()
    texts: Counter[str] = Counter()
    untold = False
    for line in lines:
        found = _LINE.match(line)
        if untold:  # the statement began with a line break
            texts[_short(line)] += 1
            untold = False
        # With the extended protocol one statement is logged as parse, bind and execute.
        if (
            found is None
            or found["database"] != database
            or found["application"] == harness
            or found["kind"] in ("parse", "bind")
        ):
            continue
        statements += 1
        untold = not found["text"].strip()
        if not untold:
            texts[_short(found["text"])] += 1
        if _BEGIN.match(found["text"]):
            inside.add(found["pid"])
        elif _END.match(found["text"]):
            inside.discard(found["pid"])
            transactions += 1
        elif found["pid"] not in inside:
            transactions += 1
    return Counted(statements, transactions, texts)


def _short(text: str) -> str:
    return " ".join(text.split())[:100]
