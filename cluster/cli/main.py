"""The command `dray`: what starts and what looks after. Workflows and executions: workflow.py, executions.py.

Whatever is slow to import is imported where it is used, so that `dray --help` and a typing error answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dray import __version__
from dray.cluster import logs
from dray.cluster.cli import control, health, history, schedules, signals, workflow
from dray.cluster.cli import executions as cli_executions
from dray.cluster.cli import queues as cli_queues
from dray.cluster.cli.base import (
    Exit,
    Stop,
    code_of,
    complain,
    leave,
    open_client,
    put,
    put_json,
    put_table,
    settings_for,
    shown,
    with_database,
)

app = typer.Typer(
    name="dray",
    help="Durable executions on Ray: workflows whose every step survives crashes, kept in Postgres.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
)
app.add_typer(workflow.app, name="workflow")
app.add_typer(cli_executions.app, name="executions")
app.add_typer(cli_queues.app, name="queues")
app.add_typer(schedules.app, name="schedule")
app.command("health")(health.health)
app.command("runners")(health.runners)
app.command("check-history")(history.check_history)
app.command("submit")(cli_executions.submit)
app.command("signal")(signals.signal)
app.add_typer(signals.app, name="approvals")
for command in (
    control.pause,
    control.resume,
    control.retry,
    control.rerun,
    control.bulk,
    control.prune,
):
    app.command()(command)

Executor = Annotated[str | None, typer.Option(help="ray, or local: threads of this process.")]
RayAddress = Annotated[str | None, typer.Option(help="local, auto or host:port.")]
Concurrency = Annotated[int | None, typer.Option(help="Executions held at once.")]
Handlers = Annotated[str | None, typer.Option(help="Modules with handlers, with commas between.")]
Queues = Annotated[str | None, typer.Option(help="Queues to claim from, with commas between.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command()
def worker(
    executor: Executor = None,
    ray_address: RayAddress = None,
    concurrency: Concurrency = None,
    queues: Queues = None,
    handlers: Handlers = None,
    drain: Annotated[bool, typer.Option("--drain", help="End once nothing is queued or due soon.")] = False,
    max_runtime: Annotated[str | None, typer.Option(help="End in time, e.g. 14m; for cron and serverless.")] = None,
) -> None:
    """Run a driver: claim executions and run their nodes, until SIGTERM or Ctrl-C. Start as many as you like."""
    from dray.cluster.dev import stopped_by_signals

    settings = with_database(
        settings_for(
            executor=executor, ray_address=ray_address, concurrency=concurrency, queues=queues, handlers=handlers
        )
    )
    bounded = health.bounded(settings, drain, max_runtime)
    with stopped_by_signals() as stop:
        _drive(settings, stop, bounded)


@app.command()
def single(
    executor: Executor = None,
    concurrency: Concurrency = None,
    queues: Queues = None,
    handlers: Handlers = None,
) -> None:
    """A driver and a Ray of its own, sized by the memory and CPUs that this container may use, until SIGTERM."""
    from dray.cluster import single as sizing
    from dray.cluster.dev import stopped_by_signals

    given = {"executor": executor, "concurrency": concurrency, "queues": queues, "handlers": handlers}
    given["ray_address"] = "local"
    sized = sizing.here(given)
    settings = with_database(settings_for(**{**given, **sized.values}))
    for line in sized.told:
        logs.get("single").info(line)
    with stopped_by_signals() as stop:
        _drive(settings, stop)


@app.command()
def dev(
    executor: Executor = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where Postgres keeps its data. [default: ~/.dray]")] = None,
    concurrency: Concurrency = None,
    handlers: Handlers = None,
) -> None:
    """Run everything on this machine: an embedded Postgres, a Ray of its own, a driver. Ctrl-C ends all of it."""
    from dray.cluster import dev as dev_server

    settings = settings_for(executor=executor, data_dir=data_dir, concurrency=concurrency, handlers=handlers)
    with dev_server.stopped_by_signals() as stop:

        def serve(settings: Any) -> None:
            put(f"database   {settings.database_url.url.set(drivername='postgresql').render_as_string()}")
            put(f"data       {settings.data_dir}")
            put("In another terminal: dray workflow apply FILE, dray submit NAME --wait, dray status. Ctrl-C ends it.")
            _drive(settings, stop)

        dev_server.run(settings, serve)


def _drive(settings: Any, stop: Any, bounded: Any = None) -> None:
    from dray.cluster.app import WorkerInfo, run_worker
    from dray.cluster.health.monitoring import FOR_EVER

    log = logs.get("worker")

    def started(info: WorkerInfo) -> None:
        log.info(
            "Workflow worker started",
            version=info.version,
            database=info.database,
            executor=info.executor,
            concurrency=info.concurrency,
            runners=info.runners,
            incarnation=info.incarnation,
            environment=settings.environment,
        )

    try:
        run_worker(settings, stop=stop, on_ready=started, bounded=bounded or FOR_EVER)
    except Exception as error:
        if code_of(error) is not None:
            raise
        log.exception("Workflow worker failed")
        raise Stop("an error of Dray's own, told in the log; what was committed is safe", Exit.FAILED) from error
    log.info("Workflow worker stopped")


@app.command()
def demo(
    executions: Annotated[int, typer.Option(min=20, max=20_000, help="How many to run.")] = 300,
) -> None:
    """See it work: some hundred executions on an embedded Postgres and Ray, one runner killed half-way, all proved."""
    from dray.cluster.demo import show

    raise typer.Exit(show.run(executions))


@app.command()
def migrate() -> None:
    """Bring the database's tables to what this version of Dray needs. Run it before the drivers of a new version."""
    from dray.store.connection import connect
    from dray.store.migrate import migrate as bring

    database = with_database(settings_for()).database_url
    assert database is not None
    engine = connect(database, pool_size=1, application_name="dray migrate")
    try:
        put(f"{database.safe}: schema at revision {bring(engine, complain)}")
    finally:
        engine.dispose()


@app.command()
def status(as_json: AsJson = False) -> None:
    """How many executions there are in each queue and status, and which drivers live."""
    from dray.store.records import ExecutionStatus

    with open_client() as client:
        stats = client.stats()
    if as_json:
        put_json(stats)
        return
    queues, oldest, now = stats["queues"], stats["oldest_queued_seconds"], stats["open"]
    kinds = [each.value for each in ExecutionStatus if any(each.value in found for found in queues.values())]
    counts = [
        (queue, *(found.get(kind, 0) for kind in kinds), shown(oldest.get(queue)), _rate(now, queue))
        for queue, found in sorted(queues.items())
    ]
    put_table("executions", ("queue", *kinds, "oldest queued, s", "ended per minute"), counts)
    put()
    drivers = [
        (each["id"][:8], each["host"], each["pid"], each["info"].get("executor"), each["executions"],
         round(each["lease_seconds"], 1), ",".join(each["info"].get("queues", ())))
        for each in stats["drivers"]
    ]  # fmt: skip
    put_table("drivers", ("driver", "host", "process", "executor", "executions", "lease, s", "queues"), drivers)
    if not drivers:
        complain("warning: no driver lives, so nothing runs: start `dray worker` or `dray dev`")


def _rate(now: dict[str, Any], queue: str) -> float:
    return round(now[queue]["finished_per_minute"], 1) if queue in now else 0.0


@app.command("settings")
def show_settings(as_json: AsJson = False) -> None:
    """Every setting, its value here and its default; no password."""
    from dray.cluster.settings import PREFIX, Settings

    found = settings_for()
    fields = Settings.model_fields
    values = {name: getattr(found, name) for name in fields}
    if as_json:
        put_json({PREFIX + name.upper(): value for name, value in values.items()})
        return
    rows = [
        (PREFIX + name.upper(), value, field.default, field.description)
        for (name, field), value in zip(fields.items(), values.values(), strict=True)
    ]
    put_table("", ("name", "value", "default", "meaning"), rows)


@app.command()
def version() -> None:
    """The version of Dray."""
    put(__version__)


def _tell_version(asked: bool) -> None:
    if asked:
        put(__version__)
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


def run(arguments: Sequence[str]) -> int:
    """The exit code of the command line."""
    # Modules with handlers are found in the folder where a command is started. Last, so that a folder of the user's
    # cannot stand before one of ours.
    sys.path.append(str(Path.cwd()))
    try:
        answer = app(list(arguments), prog_name="dray", standalone_mode=False)
        return answer if isinstance(answer, int) else Exit.DONE
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        leave(Exit.DONE)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer, or the help where a command is missing
            message = error.format_message()
            if message.startswith("Usage:"):
                put(message)
            else:
                complain(f"{message.rstrip('.')} (try --help)")
            return Exit.USAGE
        code = code_of(error)
        if code is None:
            raise
        complain(error)
        return code
    return Exit.DONE
