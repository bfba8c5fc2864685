"""The commands that speak to executions which wait: signals, and the answers of people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dray.cluster.cli.base import Exit, Stop, json_value, open_client, put, put_json, put_table

app = typer.Typer(help="See which nodes wait for a person, and answer.", no_args_is_help=True, rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the execution.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
Node = Annotated[str | None, typer.Option(help="The node that it is for, by id or key.")]


def signal(
    execution: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the signal.")],
    payload: Annotated[str, typer.Option(help="JSON, @file, or - for stdin.")] = "null",
    node: Node = None,
    dedupe: Annotated[str | None, typer.Option(help="Of several signals with the same key the first counts.")] = None,
) -> None:
    """Send a signal to an execution. It is kept until a node waits for it."""
    value = json_value(payload, "--payload")
    with open_client() as client:
        if not client.signal(execution, name, value, node=node, dedupe=dedupe):
            raise Stop(f"execution {execution} has ended: it takes no signal", Exit.FAILED)


@app.command("list")
def list_approvals(
    execution: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """The nodes that wait for a person: those of the newest executions first."""
    with open_client() as client:
        found = client.approvals(execution, limit)
    if as_json:
        put_json([asdict(each) for each in found])
        return
    rows = [
        (each.execution, each.workflow, each.node, each.since, each.due, ",".join(each.options), each.message)
        for each in found
    ]
    put_table("", ("execution", "workflow", "node", "since", "due", "options", "message"), rows)


@app.command()
def answer(
    execution: Id,
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="One of the options.")],
    node: Annotated[str | None, typer.Option(help="The node, by id or key, where several wait.")] = None,
    comment: Annotated[str | None, typer.Option(help="Goes into the node's output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a node that waits for a person."""
    with open_client() as client:
        found = client.approve(execution, decision, node, comment)
    if as_json:
        put_json({"id": execution, "node": found.node, "decision": decision})
    else:
        put(f"{execution} {found.node}: {decision}")
