"""Many graphs on all cores; what is told of a difference."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import Counter
from typing import Any

import yaml

from tests.oracle.compare import compare
from tests.oracle.generator import Generator
from tests.oracle.shrink import kind_of, shrink

ORDERS = 3  # executions of each graph
CHUNK = 200


def drawn(seed: str, number: int) -> dict[str, Any]:
    return Generator(f"{seed}/{number}").graph()


def seeds(seed: str, number: int) -> list[str]:
    return [f"{seed}/{number}/{order}" for order in range(ORDERS)]


def chunk(work: tuple[str, int, int]) -> tuple[Counter[str], list[tuple[int, str, str]]]:
    """Graphs start..end: how many agree, and which differ: number, seed of the answers, how."""
    seed, start, end = work
    counts: Counter[str] = Counter()
    found = []
    for number in range(start, end):
        if difference := compare(drawn(seed, number), seeds(seed, number), counts):
            found.append((number, *difference))
    return counts, found


def text(graph: dict[str, Any]) -> str:
    """As YAML, a line for each node and edge."""

    def line(value: Any) -> str:
        return str(yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False))

    lines = ["nodes:\n", *(f"  - {line(each)}" for each in graph["nodes"])]
    lines += ["edges:\n", *(f"  - {line(each)}" for each in graph["edges"])] if graph["edges"] else ["edges: []\n"]
    return "".join([*lines, *(f"{key}: {value}\n" for key, value in graph.items() if key not in ("nodes", "edges"))])


def told(seed: str, number: int, answers: str, difference: str) -> str:
    """What is printed of a difference: the smallest graph that shows it, and how to see it again."""
    graph, answers, difference = shrink(drawn(seed, number), answers, difference)
    return (
        f"{difference}\n\n{text(graph)}\n"
        f"again:     python -m tests.oracle --seed {seed} --only {number}\n"
        f"this one:  python -m tests.oracle --show FILE --answers {answers}\n"
    )


def many(seed: str, graphs: int, start: int = 0, most: int = 5) -> tuple[Counter[str], list[tuple[int, str, str]]]:
    """found: one of each kind, until there are so many kinds."""
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    found: list[tuple[int, str, str]] = []
    work = [(seed, at, min(at + CHUNK, start + graphs)) for at in range(start, start + graphs, CHUNK)]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for index, (part, differing) in enumerate(pool.imap_unordered(chunk, work)):
            counts += part
            for each in differing:
                kinds[kind_of(each[2])] += 1
                if kinds[kind_of(each[2])] == 1:
                    found.append(each)
            if index % 50 == 49 and sys.stderr.isatty():
                rate = (index + 1) * CHUNK / (time.monotonic() - began)
                sys.stderr.write(f"{(index + 1) * CHUNK:,} graphs, {rate:.0f} a second, {len(found)} differ\n")
            if len(found) >= most:
                pool.terminate()
                break
    return counts, sorted(found)


def summary(counts: Counter[str]) -> str:
    """alike: graphs. refused: by the engine. unclear: the page does not say what they mean. open, known: executions."""
    kinds = ("alike", "executions", "different", "refused", "unclear", "open", "known")
    return ", ".join(f"{key} {counts[key]:,}" for key in kinds)
