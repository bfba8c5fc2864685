"""Which nodes of one execution wait for news, and which news came: signals, ends of children, time-outs. Pure.

A signal is for one node: the oldest that has the name, and the node where it says one. It is taken by the outcome that
the node answers to it; until that is recorded, another driver would find it untaken, and give it to the node again.
A node whose wait is on its way to the database is told nothing before it is there.

A node that waited and is not needed any more has left things behind: a child that runs, a question in the list of
approvals. An outcome of kind d ends them, in the commit that drops it; or in that of the driver that begins again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterable
from typing import Any

from dray.store.records import ChildEnd, Kind, Outcome, Signal, StoredOutcome


class Newsroom:
    __slots__ = ("_awaited", "_children", "_expired", "_found", "_keys", "_signals", "_taken", "_unstored")

    def __init__(self) -> None:
        self._awaited: dict[int, dict[str, Any]] = {}  # node -> NodeResult.awaits
        self._keys: dict[int, str] = {}  # of the same nodes
        self._found: dict[int, Signal | ChildEnd] = {}
        self._expired: set[int] = set()
        self._signals: dict[int, Signal] = {}  # those that nobody waits for yet, by id
        self._children: dict[str, ChildEnd] = {}
        self._taken: set[int] = set()
        self._unstored: set[int] = set()

    def wait(self, node: int, key: str, awaits: str, is_stored: bool = True) -> None:
        """The node waits, for this alone."""
        self.forget(node)
        self._awaited[node] = json.loads(awaits)
        self._keys[node] = key
        if not is_stored:
            self._unstored.add(node)

    def forget(self, node: int) -> str | None:
        """The node does not wait any more. Gives its key, where it did."""
        found = self._found.pop(node, None)
        if isinstance(found, Signal):
            self._signals[found.id] = found
        self._awaited.pop(node, None)
        self._expired.discard(node)
        self._unstored.discard(node)
        return self._keys.pop(node, None)

    def left(self, stored: Iterable[StoredOutcome]) -> list[Outcome]:
        """Once all that is stored was taken in: the outcomes that end the waits of nodes which are not needed any more,
        where the driver that dropped them did not come to that."""
        waits: dict[str, StoredOutcome] = {}
        for each in stored:
            if each.kind == Kind.WAITS_FOR_NEWS or (
                each.node_key in waits and each.kind in (Kind.RETRIED, Kind.RUNNER_LOST)
            ):
                waits[each.node_key] = each
            else:
                waits.pop(each.node_key, None)
        for key in self._keys.values():
            waits.pop(key, None)
        return [dropped(each.execution_id, key, each.attempt + 1) for key, each in waits.items()]

    def hear(self, signals: Iterable[Signal], children: Iterable[ChildEnd]) -> None:
        """What came; the same may come again."""
        known = self._taken | {each.id for each in self._found.values() if isinstance(each, Signal)}
        self._signals.update((each.id, each) for each in signals if each.id not in known)
        self._children.update((each.id, each) for each in children)

    def told(self, stored: Collection[int], among: Container[int]) -> list[int]:
        """The nodes for which there is news now that was not there before. stored: of whatever nodes, what they
        answered is in the database now. among: only these; one that is on its way has been told what there was."""
        told: list[int] = []
        if not self._awaited:  # nearly always
            return told
        self._unstored.difference_update(stored)
        for node, awaited in sorted(self._awaited.items()):
            if node in self._found or node in self._unstored or node not in among:
                continue
            child = self._children.pop(awaited["child"], None) if "child" in awaited else None
            found = child or (self._signal(self._keys[node], awaited["signal"]) if "signal" in awaited else None)
            if found is not None:
                self._found[node] = found
                told.append(node)
        return told

    def _signal(self, key: str, name: str) -> Signal | None:
        mine = (None, key, key.rpartition("/")[2])
        fitting = [each.id for each in self._signals.values() if each.name == name and each.node in mine]
        return self._signals.pop(min(fitting)) if fitting else None

    def waits(self, node: int) -> bool:
        """Whether it waits and there is nothing to tell it."""
        return node in self._awaited and node not in self._found and node not in self._expired

    def is_over(self, node: int) -> bool:
        """Whether its wait was cut short by the end of its life, and that has come before any news."""
        return node in self._expired and node not in self._found and "last" in self._awaited[node]

    def has_found(self, node: int) -> bool:
        return node in self._found

    def expire(self, node: int) -> None:
        """Its time is over."""
        if node in self._awaited:
            self._expired.add(node)

    def taken(self, node: int) -> int | None:
        """The node has answered: it waits no more. Gives the id of the signal that its answer takes."""
        if not self._awaited or self._awaited.pop(node, None) is None:
            return None
        del self._keys[node]
        self._expired.discard(node)
        found = self._found.pop(node, None)
        if not isinstance(found, Signal):
            return None
        self._taken.add(found.id)
        return found.id

    def text(self, node: int) -> str | None:
        """NodeTask.news."""
        awaited = self._awaited.get(node)
        if awaited is None:
            return None
        found = self._found.get(node)
        state = json.dumps(awaited.get("state"), ensure_ascii=False)
        if isinstance(found, Signal):
            news = f'"signal":{{"name":{json.dumps(found.name)},"payload":{found.payload or "null"}}}'
        elif found is not None:
            rest = f'"output":{found.output or "null"},"error":{found.error or "null"}'
            news = f'"child":{{"id":"{found.id}","status":"{found.status}",{rest}}}'
        else:
            news = '"timed_out":true'
        return f'{{"state":{state},{news}}}'


def cut_short(awaits: str) -> str:
    """NodeResult.awaits, of a wait that ends with the node's life."""
    return f'{{"last":true,{awaits[1:]}' if awaits != "{}" else '{"last":true}'


def dropped(execution: str, key: str, attempt: int) -> Outcome:
    """That a node which waited is not needed any more."""
    return Outcome(execution, key, attempt, Kind.DROPPED, None, None, None, None, None)
