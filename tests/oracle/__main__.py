"""python -m tests.oracle --graphs 1000000 --seed 7: random graphs, on all cores, until some differ.

--only NUMBER runs one of them again, --show FILE a graph of your own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from tests.oracle.compare import compare
from tests.oracle.runs import chunk, drawn, many, summary, text, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--graphs", type=int, default=20_000)
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000))
    parser.add_argument("--start", type=int, default=0, help="the number of the first graph")
    parser.add_argument("--most", type=int, default=5, help="stop after so many differences")
    parser.add_argument("--only", type=int, help="the number of one graph")
    parser.add_argument("--show", type=Path, help="a graph as YAML")
    parser.add_argument("--answers", help="the seed of the answers that --show is given; without it many are tried")
    given = parser.parse_args()
    if given.show:
        graph = yaml.safe_load(given.show.read_text())
        for node in graph["nodes"]:
            node.setdefault("config", {})
        answers = [given.answers] if given.answers else [str(number) for number in range(500)]
        counts: Counter[str] = Counter()
        difference = compare(graph, answers, counts)
        print(difference or "they agree", dict(counts) if not difference else "")
        return bool(difference)
    if given.only is not None:
        counts, found = chunk((given.seed, given.only, given.only + 1))
        print(text(drawn(given.seed, given.only)))
    else:
        print(f"seed {given.seed}", flush=True)
        counts, found = many(given.seed, given.graphs, given.start, given.most)
    for number, answers_of, how in found:
        print(told(given.seed, number, answers_of, how), flush=True)
    print(summary(counts))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
