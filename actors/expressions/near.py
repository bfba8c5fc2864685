"""Why a path leads nowhere, and what there is that is like it. Only where something has failed."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import Any

from dray.actors.expressions.run import Run, step_into
from dray.actors.expressions.source import Path, show
from dray.actors.expressions.values import MISSING

MOST_COMPARED = 500  # keys
MOST_SHOWN = 5
LONGEST = 40  # characters of a key that is shown


def read(run: Run, path: Path) -> Any:
    """The value at a path; MISSING where there is none."""
    value = run.root(str(path[0]))
    for key in path[1:]:
        value = step_into(value, key)
    return value


def why_null(run: Run, path: Path) -> str:
    """`input has no "title", did you mean input.titel?`; `input.title is null` where it is there."""
    value = run.root(str(path[0]))
    for place, key in enumerate(path[1:], 1):
        found = step_into(value, key)
        if found is MISSING:
            return f"{show(path[:place])} {_instead(value, path[:place], key)}"
        value = found
    return f"{show(path)} is null" if value is None else ""


def meant(run: Run, path: Path) -> str:
    """`; did you mean input.titel?`, or nothing."""
    why = why_null(run, path)
    return f"; did you mean {why.rpartition('did you mean ')[2]}" if ", did you mean " in why else ""


def _instead(value: Any, path: Path, key: str | int) -> str:
    if value is None or value is MISSING:
        return "is null"
    if isinstance(key, int):
        return f"has no [{key}]"
    if type(value) is not dict:
        return f"has no {key!r:.60}"
    keys = [each for each in islice(value, MOST_COMPARED) if isinstance(each, str) and len(each) <= LONGEST]
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
    if near:
        return f"has no {key!r:.60}, did you mean {show((*path, near[0]))}?"
    more = ", ..." if len(value) > MOST_SHOWN else ""
    return f"has no {key!r:.60}, but {', '.join(keys[:MOST_SHOWN])}{more}" if keys else f"has no {key!r:.60}"
