"""The side of a measured process: requests come as JSON lines on stdin, answers go as JSON lines to stdout.

The measured system runs in a process of its own, so that neither the harness nor another system shares its interpreter,
and the harness can read the server's counters just before and just after a run. Only the standard library, since this
runs in the peers' environment too.

    {"do": "prepare", "bench": "W10", "count": 100}   everything submitted, nothing runs yet -> {}
    {"do": "run", "bench": "W10", "count": 100}       all of it runs                         -> {}
    {"do": "span", "bench": "W10", "count": 100}      when, if all of it was done            -> {"began": s, "ended": s}
    {"do": "latencies", "bench": "LAT1", "count": 50} one at a time on an idle system         -> {"seconds": [..]}
    end of input                                      the process ends
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TextIO

# The application name of connections that only prepare and watch: left out of the counters.
HARNESS = "dray benchmarks"


class Options(NamedTuple):
    """url: of the database that this system has for itself. index: which of `processes`, from 0. folder: for files."""

    url: str
    index: int
    processes: int
    folder: str


class Span(NamedTuple):
    """When the first execution was taken and when the last was finished, in seconds since 1970."""

    began: float
    ended: float


class Subject(Protocol):
    """A system to be measured, in its own process; the methods are the requests above."""

    def prepare(self, bench: str, count: int) -> None: ...

    def run(self, bench: str, count: int) -> None: ...

    def span(self, bench: str, count: int) -> Span: ...

    def latencies(self, bench: str, count: int) -> list[float]: ...

    def close(self) -> None: ...


def options() -> Options:
    """Those of the command line."""
    parser = ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", default=".")
    return Options(**vars(parser.parse_args()))


def serve(make: Callable[[Options], Subject]) -> None:
    """Answers requests until the input ends."""
    answers = answers_on_stdout()
    subject = make(options())
    try:
        _answer(answers, {"ready": os.getpid()})
        for line in sys.stdin:
            request = json.loads(line)
            try:
                _answer(answers, _do(subject, request))
            except Exception as error:  # noqa: BLE001 - the harness says it and goes on with the next system
                traceback.print_exc()
                _answer(answers, {"error": f"{type(error).__name__}: {error}"})
    finally:
        subject.close()


def answers_on_stdout() -> TextIO:
    """Where answers go. From now on what is printed goes to stderr, since libraries print what they like."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def share(count: int, options: Options) -> int:
    """This process's part of `count`."""
    return count // options.processes + (options.index < count % options.processes)


def _do(subject: Subject, request: dict[str, Any]) -> dict[str, Any]:
    bench, count = request["bench"], request["count"]
    if request["do"] == "prepare":
        subject.prepare(bench, count)
        return {}
    if request["do"] == "run":
        subject.run(bench, count)
        return {}
    if request["do"] == "span":
        return subject.span(bench, count)._asdict()
    return {"seconds": subject.latencies(bench, count)}


def _answer(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
