"""dray workflow: check, store and show graphs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dray.cluster.cli.base import Stop, complain, open_client, put, put_json, put_table, settings_for

if TYPE_CHECKING:
    from dray.store.records import StoredWorkflow

app = typer.Typer(help="Store workflows and look at them.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[str, typer.Argument(metavar="FILE", help="JSON, or YAML if it ends in .yaml or .yml; - is stdin.")]
Handlers = Annotated[str | None, typer.Option(help="Modules with handlers, with commas between.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
NAME = re.compile(r"[^\s/][^\n\r\t\0/]{0,253}")


@app.command()
def apply(
    file: File,
    name: Annotated[str | None, typer.Option(help="[default: the file's key name, else the file's name]")] = None,
    handlers: Handlers = None,
    as_json: AsJson = False,
) -> None:
    """Store a workflow as a new version. The same graph again makes no new version."""
    source, graph = _checked(file, handlers)
    name = name or _name_of(source, file)
    with open_client() as client:
        _, version, created = client.apply_workflow(name, graph)
    if as_json:
        put_json({"name": name, "version": version, "created": created, "warnings": graph["warnings"]})
        return
    _warn(graph)
    put(f"{name} version {version} {'stored' if created else 'was stored already'}: {_size(graph)}")
    if schedule := graph.get("schedule"):
        put(f"{name} runs by itself: {schedule['expression']} {schedule['zone']} (dray schedule show {name})")


@app.command()
def validate(file: File, handlers: Handlers = None, as_json: AsJson = False) -> None:
    """Check a workflow without storing it; needs no database. --json prints the form that would be stored."""
    _, graph = _checked(file, handlers)
    if as_json:
        put_json(graph)
        return
    _warn(graph)
    put(f"{file} is sound: {_size(graph)}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All workflows, with their latest version."""
    with open_client() as client:
        found = client.workflows()
    if as_json:
        put_json([_summary(each) for each in found])
    else:
        rows = [(each.name, each.version, _count(each.graph)) for each in found]
        put_table("", ("name", "version", "nodes"), rows)


@app.command()
def show(
    name: str,
    version: Annotated[int | None, typer.Option(help="[default: the latest]")] = None,
    as_json: AsJson = False,
) -> None:
    """One workflow. --json prints the graph, which `dray workflow apply` reads again."""
    with open_client() as client:
        found = client.workflow(name, version)
    graph = found.graph
    if as_json:
        put_json(graph)
        return
    graph = _sound(found)
    put(f"{found.name} version {found.version}: {_size(graph)}")
    out: dict[str, list[str]] = {node["id"]: [] for node in graph["nodes"]}
    for edge in graph["edges"]:
        out[edge["from"]].append(f"{edge['to']} ({edge['label']})" if edge["label"] else edge["to"])
    rows = [(node["id"], node["type"], node.get("name"), ", ".join(out[node["id"]])) for node in graph["nodes"]]
    put_table("", ("node", "type", "name", "leads to"), rows)
    _warn(graph)


@app.command()
def diff(
    name: str,
    old: Annotated[int | None, typer.Argument(metavar="[V1]", help="[default: the one before the latest]")] = None,
    new: Annotated[int | None, typer.Argument(metavar="[V2]", help="[default: the latest]")] = None,
    as_json: AsJson = False,
) -> None:
    """What two versions of a workflow differ in."""
    from dray.cluster.graph.diff import diff, lines

    with open_client() as client:
        after = client.workflow(name, new)
        if old is None and after.version == 1:
            raise Stop(f"{name} has one version only: there is nothing to compare it with")
        before = client.workflow(name, after.version - 1 if old is None else old)
    changes = diff(_sound(before), _sound(after))
    if as_json:
        put_json({"name": name, "old": before.version, "new": after.version, "changes": changes})
        return
    put(f"{name}: version {before.version} -> {after.version}" + ("" if changes else ", no difference"))
    for line in lines(changes):
        put(line)


def _checked(file: str, handlers: str | None) -> tuple[Any, dict[str, Any]]:
    from dray.cluster.graph.files import canonical_graph, read

    settings = settings_for(handlers=handlers)
    try:
        source = read(file)
    except ValueError as error:
        raise Stop(str(error)) from None
    return source, canonical_graph(source, settings.handlers)


def _name_of(source: Any, file: str) -> str:
    given = source.get("name") if isinstance(source, dict) else None
    name = given if isinstance(given, str) else Path(file).stem if file != "-" else ""
    if not NAME.fullmatch(name):
        raise Stop("the workflow needs a name of at most 254 characters, without / and line breaks: give --name")
    return name


def _size(graph: dict[str, Any]) -> str:
    return f"{len(graph['nodes'])} nodes, {len(graph['edges'])} edges"


def _summary(found: Any) -> dict[str, Any]:
    return {"id": found.id, "name": found.name, "version": found.version, "nodes": _count(found.graph)}


def _count(graph: Any) -> int | None:
    """None: what is stored is no graph."""
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    return len(nodes) if isinstance(nodes, list) else None


def _sound(found: StoredWorkflow) -> dict[str, Any]:
    """Its graph. Raises GraphInvalid for what was stored without a check."""
    from dray.cluster.graph.load import load

    load(found.id, found.name, found.version, found.graph)
    return found.graph


def _warn(graph: dict[str, Any]) -> None:
    for warning in graph["warnings"]:
        complain(f"warning: {warning}")
