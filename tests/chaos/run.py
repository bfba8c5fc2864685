"""Chaos: drivers that die and stand still, a server that goes away, users who think; then the history is judged.

    python -m tests.chaos.run --seed 7 --seconds 60 [--executor ray] [--plan] [--only kind,kind] [--keep FILE]

The plan of disturbances follows from the seed alone, and is printed. What the machine makes of it is not the same
twice, so a seed that failed may have to be run again, or longer.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg2

from dray.cluster.cli.history import as_plain, judge, lines
from dray.cluster.history.effects import parse
from dray.cluster.history.facts import Violation
from dray.cluster.history.judge import Question, Report
from dray.store.connection import connect
from tests.chaos.plan import Step, plan
from tests.chaos.shapes import LOGGED
from tests.chaos.transitions import READ, judge_transitions
from tests.chaos.users import Users, answer_all
from tests.chaos.world import World

REST = 180.0  # seconds that everything has to come to rest; never waited out when all is well
GRACE = 10.0
RATE = 4.0  # submits of one to four executions a second
FAILED = """
    SELECT e.id::text, w.name, e.error::text, e.crash_count, e.claim_count FROM dray.execution e
    JOIN dray.workflow w ON w.id = e.workflow_id WHERE e.status = 'failed' ORDER BY e.id
"""
OPEN = "SELECT count(*) FROM dray.execution WHERE finished_at IS NULL"


def chaos(
    seed: int, seconds: float, executor: str = "local", only: frozenset[str] = frozenset(), rate: float = RATE
) -> Report:
    """The judgement on one run. only: kinds of disturbances; none = all."""
    with ExitStack() as stack:
        world = World(executor, stack)
        if world.disk is None:
            print("no disk can be made full here: mounting a tmpfs needs root")
        steps = plan(seed, seconds, only, world.without())
        for step in steps:
            print(step)
        users = Users(lambda: world.url, seed, rate)
        disturb(world, steps, seconds)
        users.stop()
        world.heal()
        come_to_rest(world)
        world.finish()
        return judged(world, users, steps)


def disturb(world: World, steps: Sequence[Step], seconds: float) -> None:
    began = time.monotonic()
    for step in steps:
        while (left := began + step.at - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            world.look()
            world.look_for_forgotten()
        world.do(step)
    while time.monotonic() < began + seconds:
        time.sleep(0.2)
        world.look()


def come_to_rest(world: World) -> None:
    """Resumes and answers until all have ended."""
    lots = random.Random(0)
    until = time.monotonic() + REST
    while time.monotonic() < until:
        world.look()
        try:
            found = psycopg2.connect(world.url, connect_timeout=5)
            with found.cursor() as cursor:
                cursor.execute(
                    "SELECT dray.resume(id) FROM dray.execution WHERE status = 'paused' OR control = 'pause'"
                )
                found.commit()
                answer_all(found, lots, 1.0)
                cursor.execute(OPEN)
                ((left,),) = cursor.fetchall()
            found.close()
        except psycopg2.Error:
            continue
        if not left:
            time.sleep(2.0)  # marks are placed within a second
            return
        time.sleep(0.3)


def judged(world: World, users: Users, steps: Sequence[Step]) -> Report:
    log = world.folder / "effects.jsonl"
    seen = parse(log.read_text().splitlines()) if log.exists() else []
    least = {"final": 3 * len(steps) or 10, "order": 100, "effects": 100, "waits": 10, "signals": 5, "children": 5,
             "retries": 3, "at_most_once": 3, "limited": 3, "cancelled": 1}  # fmt: skip
    question = Question(
        grace=GRACE, idle=True, same_limits=True, least=least, logged=LOGGED, late=world.late(), accepted=users.accepted
    )
    engine = connect(world.url, pool_size=1)
    report = judge(engine, question, seen)
    engine.dispose()
    report.counts["steps"] = len(steps)
    report.counts["drivers"] = len(world.all)
    report.counts["accepted"] = len(users.accepted)
    rows = world.sql(READ)
    report.counts["transitions"] = len(rows)
    report.violations += judge_transitions(rows)
    for execution, workflow, error, crashes, claims in world.sql(FAILED):
        told = f"workflow {workflow}: nothing in it can fail for good, but: {error}; {crashes} crashes, {claims} claims"
        report.violations.append(Violation("innocent", execution, told))
    report.violations += [
        Violation(rule, None, told) for rule, _, told in (each.partition(": ") for each in world.wrong)
    ]
    return report


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--only", default="", help="kinds of disturbances, with commas between")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--plan", action="store_true", help="print the plan only")
    parser.add_argument("--keep", type=Path, help="write the judgement there, as JSON")
    given = parser.parse_args()
    only = frozenset(filter(None, given.only.split(",")))
    if given.plan:
        for step in plan(given.seed, given.seconds, only):
            print(step)
        return 0
    report = chaos(given.seed, given.seconds, given.executor, only, given.rate)
    if given.keep is not None:
        given.keep.write_text(json.dumps(as_plain(report), default=str, indent=1))
    print("\n".join(lines(report)))
    found = dict(Counter(each.rule for each in report.violations))
    print(f"seed {given.seed}: {len(report.violations)} contradictions {found}")
    if report.violations:
        print(f"to see it again: make chaos SEED={given.seed} SECONDS={given.seconds:g} EXECUTOR={given.executor}"
              + (f" ONLY={given.only}" if given.only else ""))  # fmt: skip
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
