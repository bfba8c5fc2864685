"""What the benchmarks count, and how they choose and judge."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from benchmarks.figures import Figures
from benchmarks.measure import AMOUNTS, LOADS, NODES, percentile
from benchmarks.processes import cpu_by_role, resident_mb, tree
from benchmarks.report import BENCHES, TARGETS, number, show
from benchmarks.soak import Sample, growth
from benchmarks.statements import count

HARNESS = "dray benchmarks"


def _lines(*texts: str, pid: int = 7, database: str = "bench", application: str = "worker") -> list[str]:
    return [f"{database}|{application}|{pid}|LOG:  duration: 0.100 ms  {text}\n" for text in texts]


def test_a_statement_alone_is_one_transaction():
    assert count(_lines("statement: SELECT 1", "statement: SELECT 2"), "bench", HARNESS)[:2] == (2, 2)


def test_begin_to_commit_is_one_transaction_of_several_statements():
    lines = _lines("statement: BEGIN; SET LOCAL lock_timeout = 5", "statement: INSERT INTO t", "statement: COMMIT")
    assert count(lines, "bench", HARNESS)[:2] == (3, 1)


def test_an_extended_query_is_one_statement_and_not_three():
    lines = _lines("parse <unnamed>: SELECT $1", "bind <unnamed>: SELECT $1", "execute <unnamed>: SELECT $1")
    assert count(lines, "bench", HARNESS)[:2] == (1, 1)


def test_transactions_of_two_connections_that_overlap_are_two():
    lines = [
        *_lines("statement: BEGIN", pid=1),
        *_lines("statement: BEGIN", pid=2),
        *_lines("statement: ROLLBACK TO SAVEPOINT a", "statement: ROLLBACK", pid=2),
        *_lines("statement: COMMIT", pid=1),
    ]
    assert count(lines, "bench", HARNESS).transactions == 2


def test_other_databases_the_harness_and_other_messages_do_not_count():
    lines = [
        *_lines("statement: SELECT 1", database="other"),
        *_lines("statement: SELECT 1", application=HARNESS),
        "bench|worker|7|ERROR:  syntax error\n",
        "\tFROM a continued line\n",
    ]
    assert count(lines, "bench", HARNESS)[:2] == (0, 0)


def test_a_statement_that_begins_with_a_line_break_is_shown_by_its_next_line():
    found = count([*_lines("statement: "), "\t    SELECT later\n"], "bench", HARNESS)
    assert found.statements == 1
    assert found.texts == {"SELECT later": 1}


def test_a_figure_is_the_median_of_its_runs_and_one_line_of_json(tmp_path):
    file = tmp_path / "out" / "results.jsonl"
    Figures(fresh=True, file=file).add("W10", "dray", "nodes_per_s", [1.0, 9.0, 2.0])
    assert json.loads(file.read_text()) == {
        "bench": "W10", "system": "dray", "metric": "nodes_per_s", "value": 2.0, "unit": "1/s", "runs": [1.0, 9.0, 2.0],
    }  # fmt: skip


def test_another_benchmark_keeps_the_lines_that_are_there_and_replaces_its_own(tmp_path):
    file = tmp_path / "results.jsonl"
    first = Figures(fresh=True, file=file)
    first.add("W10", "dray", "nodes_per_s", [1.0])
    first.add("SOAK", "dray", "driver_rss_mb", [1.0])
    Figures(fresh=False, file=file).add("SOAK", "dray", "driver_rss_mb", [2.0])
    assert [json.loads(line)["value"] for line in file.read_text().splitlines()] == [1.0, 2.0]


def test_a_target_is_judged_only_if_both_of_its_systems_ran(tmp_path):
    figures = Figures(fresh=True, file=tmp_path / "results.jsonl")
    figures.add("W10", "dray", "nodes_per_s", [9_000.0])
    figures.add("W10", "dray", "tx_per_node", [0.02])
    assert "times DBOS" not in _shown(figures)
    figures.add("W10", "dbos", "nodes_per_s", [500.0])
    assert "18x" in _shown(figures)
    assert "W10 nodes/s, times DBOS" in _shown(figures)
    assert "NOT MET" not in _shown(figures)
    figures.add("W10", "dray", "tx_per_node", [0.04])
    assert "NOT MET" in _shown(figures)


def _shown(figures: Figures) -> str:
    text = io.StringIO()
    show(figures, Console(file=text, width=120))
    return text.getvalue()


def test_every_benchmark_and_every_target_has_a_title():
    named = {bench for amounts in AMOUNTS.values() for bench in amounts} | {target.bench for target in TARGETS}
    assert named <= set(BENCHES)
    assert set(LOADS) <= set(NODES)


def test_the_tree_holds_a_child_and_what_it_used():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in [each.pid for each in tree(os.getpid())]
        assert cpu_by_role(child.pid, "child").keys() == {"child"}
        assert resident_mb(child.pid) > 0
        assert cpu_by_role(child.pid, "child", without=frozenset({child.pid})) == {}


def test_the_p99_of_few_values_is_the_largest():
    assert percentile([1.0, 2.0, 30.0], 99) == 30.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0


def test_growth_does_not_count_what_the_warm_up_took():
    samples = [Sample(nodes, 100.0 if nodes >= 100 else nodes) for nodes in range(0, 1001, 10)]
    assert growth(samples) == 0.0
    leaking = [Sample(nodes, 50 + nodes / 10) for nodes in range(0, 1001, 10)]
    assert growth(leaking) == pytest.approx(70, abs=1)


def test_numbers_show_three_digits():
    assert [number(each) for each in (12_345.6, 456.7, 1.2345, 0.0123, 0.0)] == ["12,346", "457", "1.23", "0.0123", "0"]
