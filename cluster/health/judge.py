"""How a driver is, judged from what it reported last. Pure: the report and the clock in, a verdict out.

gone          no driver has reported for a while: it is dead, or its machine stands still
starting      no lease yet: it starts, or waits for its database; or no runner is ready, and so it takes nothing
stuck         it lives, has something to do, and nothing goes on
late          the database does not answer, or refuses: the lease was not renewed in time, or something waits for it
alive         all is well, and there is nothing to do
progressing   all is well, and it works
draining      it was told to stop, and finishes what runs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

SILENCE = 10.0  # seconds: reports are written every second
PASSING = 5.0  # seconds without an answer of the database that nobody need be told of
SHORT = 30.0  # seconds: a runner may take so long to start
State: TypeAlias = Literal["gone", "starting", "stuck", "late", "alive", "progressing", "draining"]
Question: TypeAlias = Literal["live", "ready", "well"]

# live: a restart would not help. ready: it takes work. well: neither sick nor still starting.
GOOD: dict[Question, frozenset[State]] = {
    "live": frozenset({"starting", "late", "alive", "progressing", "draining"}),
    "ready": frozenset({"alive", "progressing"}),
    "well": frozenset({"alive", "progressing", "draining"}),
}


class Verdict(NamedTuple):
    """reason: one line for people."""

    state: State
    reason: str

    def answers(self, question: Question) -> bool:
        return self.state in GOOD[question]


def judge(report: Mapping[str, Any] | None, now: float, stuck_after: float) -> Verdict:
    """report: Observer.report(), None = there is none. now: time.monotonic(), the same in all processes."""
    if report is None:
        return Verdict("gone", "no driver runs here")
    if (silent := now - report["written"]) > SILENCE or silent < -SILENCE:  # the latter: of before a reboot
        return Verdict("gone", f"process {report['pid']} has not reported for {abs(silent):.0f} s")
    if report["phase"] == "starting":
        return Verdict("starting", f"no lease yet, {now - report['started']:.0f} s after the start")
    if (still := now - report["turned"]) > stuck_after:
        return Verdict("stuck", f"nothing has been decided for {still:.0f} s")
    if (trouble := _trouble(report, now)) is not None:
        return Verdict("late", trouble)
    blocked = report.get("blocked", {})
    what = min(blocked, key=lambda each: blocked[each], default=None)
    if what is not None and now - blocked[what] > stuck_after:
        return Verdict("stuck", f"{what}, for {now - blocked[what]:.0f} s")
    if (age := now - report["renewed"]) > report["lease_ttl"] * 2 / 3:
        return Verdict("late", f"the lease was renewed {age:.0f} s ago, and lasts {report['lease_ttl']:.0f} s")
    held = report.get("held", 0)
    if report["phase"] == "draining":
        return Verdict("draining", f"executions {held}")
    if (unready := report.get("unready")) is not None:
        return Verdict("starting", f"takes nothing, since no runner is ready: {unready}")
    if not held:
        return Verdict("alive", "nothing to do")
    since = now - report["progressed"]
    reason = f"executions {held}, nodes {report['in_flight']}, last progress {since:.0f} s ago"
    return Verdict("progressing", reason + _short(report, now))


def _trouble(report: Mapping[str, Any], now: float) -> str | None:
    """What has waited longest for the database, in the database's words: a restart mends neither an outage nor a full
    disk."""
    waiting = sorted((since, what, reason) for what, (since, reason) in report.get("troubles", {}).items())
    if not waiting or now - waiting[0][0] < PASSING:
        return None
    since, what, reason = waiting[0]
    return f"{what} waits for the database, for {now - since:.0f} s: {reason}"


def _short(report: Mapping[str, Any], now: float) -> str:
    """What nodes wait for that no runner is there for: the longest, and how many more."""
    short = sorted(((asks, nodes, now - at) for asks, nodes, at in report.get("short", ())), key=lambda each: -each[2])
    if not short or short[0][2] < SHORT:
        return ""
    asks, nodes, seconds = short[0]
    others = f"; and for {len(short) - 1} other kinds" if len(short) > 1 else ""
    return f"; nodes {nodes} wait for runners with {asks}, for {seconds:.0f} s{others}"


def worst(verdicts: list[Verdict], question: Question) -> Verdict:
    """Of several drivers on one machine: the first that does not answer the question, else the first."""
    return next((each for each in verdicts if not each.answers(question)), verdicts[0])
