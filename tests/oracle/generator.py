"""Random graphs in the shapes that people draw, some with edges that they would not. One seed, one graph."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.oracle.parts import Unclear
from tests.oracle.structure import Structure

Ports = list[tuple[str, str | None]]  # what leads to the next node: a node, and the label on its edge


@dataclass(frozen=True)
class Place:
    """Where in the graph something is drawn."""

    depth: int
    loops: tuple[tuple[str, str], ...] = ()  # name and type of those around, the innermost last
    plain: bool = False  # in a branch of a fork: nothing that ends a path or leaves it


class Generator:
    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.left = self.random.choice([5, 8, 12, 16])
        self.exits: list[Ports] = []
        self.loose: Ports = []

    def graph(self) -> dict[str, Any]:
        ports: Ports = []
        if self.random.random() < 0.8:
            ports = [(self.node("trigger"), None)]
        ports = self.block(Place(self.random.choice([1, 2, 2, 3])), ports)
        if ports and self.random.random() < 0.7:
            self.work(Place(0), ports)
        self.wild()
        if self.random.random() < 0.3:
            self.random.shuffle(self.edges)
        self.reads()
        graph: dict[str, Any] = {"nodes": self.nodes, "edges": self.edges}
        if self.nodes[0]["type"] == "trigger" and self.random.random() < 0.1:
            graph["entry_node_id"] = self.nodes[0]["id"]
        return graph

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def node(self, kind: str, ports: Ports = (), /, **config: Any) -> str:  # type: ignore[assignment]
        name = f"{kind[0]}{len(self.nodes)}"
        self.left -= 1
        self.nodes.append({"id": name, "type": kind, "config": config})
        self.lead(ports, name)
        return name

    def lead(self, ports: Ports, target: str) -> None:
        for source, label in ports:
            edge = {"from": source, "to": target, **({"branch": label} if label else {})}
            if edge not in self.edges:
                self.edges.append(edge)

    def block(self, place: Place, ports: Ports) -> Ports:
        for _ in range(self.random.choice([1, 1, 2, 3])):
            if self.left <= 0 and ports:
                break
            ports = self.step(place, ports)
            if not ports:
                break
        return ports

    def step(self, place: Place, ports: Ports) -> Ports:
        simple = [self.work, self.work, self.setting, self.caught]
        rich = [
            self.condition,
            self.condition,
            self.switch,
            self.fork,
            self.fork,
            self.loop,
            self.loop,
            self.cycle,
            self.attempt,
            self.side_by_side,
        ]
        kinds = simple + (rich if place.depth and self.left > 2 else [])
        return self.random.choice(kinds)(place, ports)

    def deeper(self, place: Place, plain: bool | None = None) -> Place:
        return Place(place.depth - 1, place.loops, place.plain if plain is None else plain)

    # One node

    def work(self, place: Place, ports: Ports) -> Ports:
        name = self.node("work", ports)
        node = self.nodes[-1]
        node["max_retries"] = self.random.choice([0, 0, 0, 1, 2])
        if self.chance(0.1):
            node["at_most_once"] = True
        return [(name, "success" if self.chance(0.1) else None)]

    def setting(self, place: Place, ports: Ports) -> Ports:
        value = f"set by {len(self.nodes)}"
        return [(self.node("set_variable", ports, variable_name=self.random.choice("vw"), variable_value=value), None)]

    def merge(self, ports: Ports) -> Ports:
        if self.chance(0.3) and len(ports) > 1:
            return [(self.node("merge", ports, merge_strategy="array"), None)]
        return self.work(Place(0), ports)

    def caught(self, place: Place, ports: Ports) -> Ports:
        [(name, label)] = self.work(place, ports)
        handled = self.block(self.deeper(place), [(name, "failed")]) if place.depth else [(name, "failed")]
        if not place.depth:
            handled = self.work(place, handled)
        return [(name, label), *handled] if self.chance(0.7) or place.plain else [(name, label)]

    # Several

    def condition(self, place: Place, ports: Ports) -> Ports:
        name = self.node("condition", ports, condition="true")
        after: Ports = []
        for label in ("true", "false"):
            after += self.branch(place, (name, label))
        if self.chance(0.1):
            after += self.branch(place, (name, None))
        return after

    def switch(self, place: Place, ports: Ports) -> Ports:
        name = self.node("switch", ports, switch_expression="1", cases={"a": "first", "b": "second", "c": "second"})
        after: Ports = []
        for label in self.random.sample(["a", "b", "second", "default"], self.random.choice([1, 2, 3])):
            after += self.branch(place, (name, label))
        return after

    def branch(self, place: Place, port: tuple[str, str | None]) -> Ports:
        roll = self.random.random()
        if place.loops and roll < 0.2 and not place.plain:
            return self.jump(place, [port])
        if roll < 0.35:
            return []
        if roll < 0.55:
            return [port]
        found = self.block(self.deeper(place), [port])
        if self.chance(0.15) and not place.plain and not place.loops:
            return []
        return found

    def jump(self, place: Place, ports: Ports) -> Ports:
        inner = place.loops[-1]
        config: dict[str, Any] = {}
        kinds = ["continue"] if inner[1] == "foreach" else ["break", "continue"]
        if self.chance(0.3):
            loops = place.loops
            for at in range(len(loops) - 1, 0, -1):
                if loops[at][1] == "foreach":
                    loops = loops[at:]
                    break
            name, kind = self.random.choice(loops)
            kinds = ["continue"] if kind == "foreach" else kinds if kind != "foreach" else []
            config["loop_label"] = name
            if kind == "foreach" and name != inner[0]:
                config = {}
        if not config and inner[1] == "foreach":
            kinds = ["continue"]
        self.node(self.random.choice(kinds), ports, **config)
        return []

    def fork(self, place: Place, ports: Ports) -> Ports:
        [(name, _)] = self.work(place, ports)
        node = self.nodes[-1]
        count = self.random.choice([2, 2, 3])
        mode = self.random.choice(["all", "all", "any", "n_of_m", "sequential"])
        if mode == "sequential":
            node["sequential"] = True
        elif mode != "all":
            node["parallel_wait_mode"] = mode
            if mode == "n_of_m":
                node["parallel_wait_n"] = self.random.randint(1, count)
        after: Ports = []
        inner = self.deeper(place, place.plain or mode in ("any", "n_of_m"))
        for _ in range(count):
            direct = self.chance(0.1) and not any(each[0] == name for each in after)
            after += [(name, None)] if direct else self.block(inner, [(name, None)])
        if mode == "all" and len(after) > 1 and self.chance(0.3) and not place.plain and not place.loops:
            after = after[1:]
        return self.merge(after) if after and (mode != "all" or self.chance(0.8)) else after

    def side_by_side(self, place: Place, ports: Ports) -> Ports:
        """Two nodes that are entered alike, and what follows them crosswise."""
        ones = [self.work(place, ports)[0] for _ in range(2)]
        twos = [self.work(place, self.random.sample(ones, self.random.choice([1, 2])))[0] for _ in range(2)]
        return self.merge([*twos, *([self.random.choice(ones)] if self.chance(0.3) else [])])

    def loop(self, place: Place, ports: Ports) -> Ports:
        kind = self.random.choice(["for", "for", "repeat", "while", "foreach", "loop"])
        many = self.random.choice([0, 1, 2, 2, 3])
        config: dict[str, Any] = {"array_expression": [f"item {index}" for index in range(many)]}
        if kind == "repeat":
            config = {"repeat_count": many}
        elif kind == "while":
            config = {"condition_expression": "true"}
        elif kind == "loop":
            kind, config["loop_type"] = "loop", "for"
        elif kind == "foreach":
            config |= {
                "max_parallel": self.random.choice([1, 2, 20]),
                "on_error": self.random.choice(["fail", "collect"]),
            }
        if self.chance(0.1):
            config["max_iterations"] = 2
        name = self.node(kind, ports, **config)
        shown = config.get("loop_type", kind)
        inner = Place(place.depth - 1, (*place.loops, (name, shown)), False)
        if self.chance(0.15):
            config["loop_label"] = f"the {name}"
        starts: Ports = [(name, "body")]
        if kind == "while":
            [(looked, label)] = self.work(inner, starts)
            config["condition_expression"] = f"nodes.{looked}.output.n != 2"
            starts = [(looked, label)]
        back = self.block(inner, starts)
        if self.chance(0.2):
            back = [*back, *self.block(inner, starts)]
        self.lead(back or self.work(inner, starts), name)
        after: Ports = [(name, "done")]
        if self.chance(0.15):
            after += self.block(self.deeper(place), [(name, "failed")])
        if shown != "foreach" and self.chance(0.2):
            inside = [e for e in self.nodes[self.at(name) + 1 :] if e["type"] in ("condition", "work")]
            if inside:
                chosen = self.random.choice(inside)
                label = self.random.choice(["true", "false"]) if chosen["type"] == "condition" else None
                out: Ports = [(chosen["id"], label)]
                after += out if self.chance(0.5) else self.work(place, out)
        return after

    def at(self, name: str) -> int:
        return next(index for index, each in enumerate(self.nodes) if each["id"] == name)

    def cycle(self, place: Place, ports: Ports) -> Ports:
        first = self.work(Place(0), ports)
        head = first[0][0]
        self.nodes[-1]["max_iterations"] = self.random.choice([2, 3, 5])
        inner = Place(place.depth - 1, place.loops, True)
        before = self.block(inner, first) if self.chance(0.3) else first
        name = self.node("condition", before, condition="true")
        again: Ports = [(name, "false")]
        if self.chance(0.5):
            again = self.block(inner, again)
        self.lead(again or [(name, "false")], head)
        return [(name, "true")]

    def attempt(self, place: Place, ports: Ports) -> Ports:
        inner = Place(place.depth - 1, place.loops, True)
        inside = self.block(inner, [(self.node("try", ports), None)])
        if self.chance(0.2):
            return [(self.node("finally", inside), None)]
        config = {"error_type": "Boom"} if self.chance(0.3) else {}
        caught = self.node("catch", inside, **config)
        if self.chance(0.3):
            one = self.work(place, [(caught, "caught")])
            return [*one, *(self.work(place, [(caught, "passed")]) if self.chance(0.5) else [(caught, "passed")])]
        if self.chance(0.5):
            return [(caught, None)]
        handling = self.block(inner, [(caught, None)])
        return [(self.node("finally", handling), None)]

    # Over all

    def wild(self) -> None:
        """An edge or two that nobody would have drawn."""
        for _ in range(self.random.choice([0, 0, 0, 1, 2])):
            if len(self.nodes) < 3:
                return
            one, other = sorted(self.random.sample(range(len(self.nodes)), 2))
            source, target = self.nodes[one], self.nodes[other]
            labels: list[str | None] = [None]
            if source["type"] == "condition":
                labels = ["true", "false"]
            elif source["type"] == "work":
                labels = [None, None, "failed", "success"]
            elif source["type"] in ("for", "foreach", "while", "repeat", "loop"):
                labels = ["body", "done"]
            self.lead([(source["id"], self.random.choice(labels))], target["id"])

    def reads(self) -> None:
        """What is surely before a node may be read by it."""
        try:
            what = Structure({"nodes": self.nodes, "edges": self.edges})
        except Unclear:
            return
        for node in self.nodes:
            if node["id"] in what.dead:
                continue
            names = sorted(readable(what, node["id"]))
            chosen = self.random.sample(names, min(len(names), self.random.choice([0, 1, 2, 3])))
            if node["type"] == "work" and chosen:
                node["config"]["reads"] = {name: f"{{{{ {name} }}}}" for name in chosen}
            elif node["type"] == "set_variable" and chosen and self.chance(0.5):
                node["config"]["variable_value"] = f"{{{{ {chosen[0]} }}}}"


def readable(what: Structure, node: str) -> set[str]:
    """The expressions that a node may hold."""
    found = {"error.type", "error.node"}
    region, unit = what.stands(node), node
    setters = {
        each["id"]: each["config"]["variable_name"] for each in what.nodes.values() if each["type"] == "set_variable"
    }
    while True:
        unsure = {
            each
            for fork in what.forks
            if fork.mode != "sequential" and fork.node in region.units
            for _, private in fork.branches
            if unit not in private
            for each in private
        }
        sure = region.above.get(unit, set()) - unsure
        for other in what.nodes:
            if other in what.dead or what.nodes[other]["type"] in ("break", "continue"):
                continue
            up = what.stands(other)
            top = other
            hidden = False
            while up is not region and up.parent is not None:
                top, hidden, up = up.head or "", hidden or up.kind == "foreach", up.parent
            if up is region and top in sure:
                found.add(f"nodes.{other}.output")
                if other in setters and not hidden:
                    found.add(f"vars.{setters[other]}")
        if region.parent is None:
            return found
        if region.kind != "cycle":
            found.add("index")
            found.add(f"nodes.{region.head}.output")
        if region.kind in ("for", "foreach"):
            found.add("item")
        region, unit = region.parent, region.head or ""
