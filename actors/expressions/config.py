"""Expressions: CEL in `{{ }}` inside the strings of a config, and bare in the fields marked for it.

A workflow is stored   prepare(config, model, node_ids): translate, compile, say what is wrong and what is referenced
A runner gets a node   compile_config(config, model): once per node of a workflow version
A node is to run       CompiledConfig.render(scope): fill in the templates; bare fields are left for the handler
A handler asks         evaluate(expression, scope), by way of NodeContext.evaluate

Names: input, nodes.<id>.output, vars, execution, error (the failure that led to this node: type, message, node; null
where none did); in bare fields also those that the handler gives (item, index, acc); in a loop its aliases. Other
spellings, and names of the input without `input.`, are translated when the workflow is stored (dialects.py).

A missing key, or a key of null, is null in a template; in a bare expression it is an error that names it: a condition
on a misspelt name must not quietly be false. There, `has(input.a.b)` is false if any part of the path is missing, and
what is compared with null may be missing.

An expression has no effect and reaches nothing but its names. What it costs is bounded: bounds.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel

from dray.actors.errors import ExpressionError
from dray.actors.expressions.bounds import MAX_GROWTH
from dray.actors.expressions.config_shape import BareExpression, Expression, HoldsSecrets, Raw, Shape
from dray.actors.expressions.dialects import Names, translate
from dray.actors.expressions.functions import FUNCTIONS
from dray.actors.expressions.hints import INSTEAD, hint
from dray.actors.expressions.program import compile_expression, evaluate
from dray.actors.expressions.rendering import CompiledConfig, compile_config, is_template, render
from dray.actors.expressions.source import Code, Path, SourceError, show, split
from dray.actors.expressions.values import as_text

__all__ = [
    "BareExpression", "CompiledConfig", "Expression", "HoldsSecrets", "Prepared", "Raw", "References", "as_text",
    "compile_config", "compile_expression", "evaluate", "is_template", "prepare", "render",
]  # fmt: skip

ROOTS = ("input", "nodes", "vars", "execution", "error")
OF_INPUT = frozenset({"input", "data", "trigger"})  # what the platform calls the input is the input, see the runner
SECRETS = "secrets"  # in fields marked HoldsSecrets only
NO_ALIASES: Mapping[str, str] = MappingProxyType({})
OF_NODES = frozenset({"output", "result"})
ELSEWHERE = frozenset({"item", "index", "acc"})  # most likely names of another field, or of a loop
MOST_COMPARED = 200  # names that are looked through for one that was meant


class References(NamedTuple):
    """Which values a config can touch. nodes: ids that it names. any_node: it computes an id, which may be any.
    variables: names that it names; it may compute others."""

    input: bool
    vars: bool
    nodes: frozenset[str]
    error: bool = False
    any_node: bool = False
    variables: frozenset[str] = frozenset()


class Prepared(NamedTuple):
    """config: translated, the canonical one. problems, warnings: (path in the config, message)."""

    config: dict[str, Any]
    references: References
    problems: list[tuple[str, str]]
    warnings: list[tuple[str, str]]


def prepare(
    config: dict[str, Any],
    model: type[BaseModel] | None,
    node_ids: Collection[str],
    aliases: Mapping[str, str] = NO_ALIASES,
    meaningless: Mapping[str, str] = NO_ALIASES,
) -> Prepared:
    """Translate and check every template and bare expression of a config; finds all problems, raises nothing.

    node_ids: of the whole graph; pass a set. Raw fields, and fields that the model ignores, are left as they are.
    aliases: root name -> the path that it stands for, such as {"item": "nodes.each.output.item"} in a loop's body. The
    names above, and those of a bare field itself, are no aliases, whatever this says. meaningless: names that a reader
    would take for something else than a key of the input -> what to say of them.
    """
    preparing = _Preparing(node_ids, aliases, meaningless)
    translated = preparing.value(config, Shape(model=model), "")
    paths = preparing.paths
    computed = any(path == ("nodes",) for path in paths)
    nodes = frozenset(str(path[1]) for path in paths if path[0] == "nodes" and len(path) > 1 and path[1] in node_ids)
    roots = {path[0] for path in paths}
    variables = frozenset(str(path[1]) for path in paths if path[0] == "vars" and len(path) > 1)
    references = References(bool(roots & OF_INPUT), "vars" in roots, nodes, "error" in roots, computed, variables)
    return Prepared(translated, references, preparing.problems, preparing.warnings)


class _Preparing:
    """One walk through a config."""

    def __init__(self, node_ids: Collection[str], aliases: Mapping[str, str], meaningless: Mapping[str, str]) -> None:
        self.node_ids = node_ids
        self.meaningless = meaningless
        plain = Names(node_ids)
        self.aliases = {k: translate(v, plain).text for k, v in aliases.items() if k not in ROOTS}
        self.paths: set[Path] = set()
        self.problems: list[tuple[str, str]] = []
        self.warnings: list[tuple[str, str]] = []

    def value(self, value: Any, shape: Shape, place: str) -> Any:
        if isinstance(value, dict):
            return {k: self.value(v, shape.child(k), f"{place}.{k}" if place else str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.value(v, shape.child(None), f"{place}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str) and isinstance(shape.marker, BareExpression):
            return self.expression(value, place, shape.marker.names)
        return self.template(value, place, shape) if isinstance(value, str) and shape.is_template else value

    def template(self, text: str, place: str, shape: Shape) -> str:
        if not is_template(text):
            return text
        try:
            parts = split(text)
        except SourceError as error:
            self.problems.append((place, str(error)))
            return text
        return "".join(
            f"{{{{ {self.expression(part.text, place, (), shape.holds_secrets)} }}}}"
            if isinstance(part, Code)
            else part
            for part in parts
        )

    def expression(self, text: str, place: str, names: Sequence[str] = (), with_secrets: bool = False) -> str:
        if not text.strip():
            self.problems.append((place, "the expression is empty"))
            return text
        try:
            translated, assumed = translate(text, Names(self.node_ids, names, self.aliases_beside(names)))
            program = compile_expression(translated)
            if program.growth > MAX_GROWTH:
                raise SourceError(
                    f"its maps copy their items more than {MAX_GROWTH:,} times: use map nodes, one after another"
                )
        except SourceError as error:
            self.problems.append((place, str(error)))
            return text
        except ExpressionError as error:
            self.problems.append((place, f"{error}{hint(text)}"))
            return text
        for name in sorted(program.functions - FUNCTIONS.keys()):
            todo = f": write {INSTEAD[name]}" if name in INSTEAD else ""
            self.problems.append((place, f"there is no function {name}(){todo}"))
        self.problems += [(place, f"{name!r} {self.meaningless[name]}") for name in assumed & self.meaningless.keys()]
        self.warnings += [(place, said) for name in sorted(assumed) if (said := self.doubt(name, names))]
        for path in program.paths:
            if path[0] == SECRETS and SECRETS not in names:
                self.check_secret(path, place, with_secrets)
            elif path[0] not in names:
                self.check(path, place)
        self.paths.update(program.paths)
        return translated

    def aliases_beside(self, names: Sequence[str]) -> dict[str, str]:
        return {name: path for name, path in self.aliases.items() if name not in names} if names else self.aliases

    def check(self, path: Path, place: str) -> None:
        if path[0] != "nodes" or len(path) < 2:
            return
        if path[1] not in self.node_ids:
            self.problems.append((place, f"there is no node {path[1]!r}{self.near(str(path[1]), self.node_ids)}"))
        elif len(path) > 2 and path[2] not in OF_NODES:
            meant = show((*path[:2], "output", *path[2:]))
            self.problems.append((place, f"{show(path)} is nothing: a node has an output; write {meant}"))

    def doubt(self, name: str, names: Sequence[str]) -> str:
        """What to say of a name that was taken as a key of the input; nothing, unless another one is like it."""
        if name in self.meaningless:
            return ""
        known = [*ROOTS, *names, *self.aliases]
        if len(self.node_ids) + len(known) <= MOST_COMPARED:
            known += self.node_ids
        near = self.near(name, known)
        if name not in ELSEWHERE and not near:
            return ""
        return f"{name!r} is taken as input.{name}, for nothing else is called so here{near}"

    def check_secret(self, path: Path, place: str, allowed: bool) -> None:
        if not allowed:
            self.problems.append((place, "a secret may not be named here: what this field holds is stored or logged"))
        elif len(path) != 2 or not isinstance(path[1], str):
            self.problems.append((place, f"name one secret: {SECRETS}.NAME, not {show(path)}"))

    def near(self, name: str, known: Collection[str]) -> str:
        found = difflib.get_close_matches(name, list(islice(known, 500)), n=3, cutoff=0.75)
        return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
