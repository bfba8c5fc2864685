"""Every setting: its name, default and unit, and where it comes from.

    options of a command    win over
    DRAY_<NAME>             which wins over
    the platform's names    PLATFORM_NAMES and _platform_database: what SynthralOS services are configured with

load() reads all of it once, before anything starts, and refuses the whole with every problem in one error: values that
do not fit, settings that contradict each other, and DRAY_* names that nothing reads. An empty variable counts as unset.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, InstanceOf, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dray.cluster import failpoints
from dray.cluster.errors import SettingsInvalid
from dray.store.errors import DatabaseURLInvalid
from dray.store.url import DatabaseURL

PREFIX = "DRAY_"
PLATFORM_NAMES = {
    "concurrency": "WORKFLOW_WORKER_CONCURRENCY",
    "max_retries": "WORKFLOW_MAX_RETRIES",
    "retry_multiplier": "WORKFLOW_RETRY_BACKOFF_MULTIPLIER",
    "node_timeout": "WORKFLOW_NODE_TIMEOUT_SECONDS",
    "execution_timeout": "WORKFLOW_TIMEOUT_SECONDS",
    "retention_days": "WORKFLOW_HISTORY_RETENTION_DAYS",
    "environment": "ENVIRONMENT",
}
_SUPABASE = re.compile(r"https://([a-z0-9-]+)\.supabase\.co/?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NEVER_GIVEN = (PREFIX, "DATABASE_URL", "SUPABASE_", "POSTGRES_", "PG")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
# Ray refuses a smaller object store.
_LEAST_STORE_MB = 75


def _url(value: Any) -> Any:
    try:
        return None if value is None else DatabaseURL.of(value)
    except DatabaseURLInvalid as error:
        raise ValueError(str(error)) from None


def _names(value: Any) -> Any:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Database: TypeAlias = Annotated[InstanceOf[DatabaseURL] | None, NoDecode, BeforeValidator(_url)]
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=10 * 365 * 86_400, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]


class Settings(BaseSettings):
    """Frozen. Times are seconds. Make one with load(), which gives the errors their form."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    database_url: Database = Field(None, description="the database; unset: that of a running `dray dev`")
    direct_url: Database = Field(None, description="the same past a transaction pooler, for LISTEN; unset: polling")
    data_dir: Path = Field(Path("~/.dray"), description="where `dray dev` keeps its Postgres")
    environment: str = Field("local", description="a name for people, shown in the log")

    executor: Literal["ray", "local"] = Field("ray", description="where handlers run: Ray, or threads of the driver")
    ray_address: str = Field("local", description="local: a Ray of its own; auto: the one on this host; host:port")
    ray_num_cpus: Count | None = Field(None, description="CPUs of a Ray of its own; unset: those of this machine")
    ray_object_store_mb: int = Field(80, ge=_LEAST_STORE_MB, description="object store of a Ray of its own, in MiB")
    ray_dashboard: bool = Field(
        False, description="dashboard of a Ray of its own, on 127.0.0.1:8265 or the next free port"
    )

    handlers: Names = Field((), description="modules with handlers, with commas between")
    secrets: Names = Field((), description="environment variables that handlers may read, with commas between")
    storage_root: Path | None = Field(None, description="folder of `storage` nodes with provider local; unset: none")
    queues: Names = Field(("default",), description="queues to claim from, with commas between")
    concurrency: Count = Field(1000, description="executions that a driver holds at once")
    claim_batch: Count = Field(500, description="executions that one claim takes at most")
    runners: Count | None = Field(
        None, description="runners of the default shape; unset: the cluster's CPUs / runner_cpus"
    )
    min_runners: int | None = Field(
        None, ge=0, le=1_000_000, description="pool follows demand: no fewer runners than this; 1 if only max is set"
    )
    max_runners: Count | None = Field(
        None, description="pool follows demand: no more; unset, with min_runners: as DRAY_RUNNERS unset"
    )
    runner_idle: Seconds = Field(60.0, description="so long fewer runners must be enough until some are ended")
    runner_cpus: float = Field(1.0, ge=0, le=1024, description="CPUs that one runner asks of Ray")
    runner_concurrency: Count = Field(64, description="handlers at once in one runner")
    runner_shapes: Count = Field(8, description="shapes that graphs ask for and that have runners at once")
    runner_slots: Count = Field(256, description="nodes that are sent to one runner at once")

    held_mb: Count | None = Field(
        None,
        description="inputs and loaded outputs of the executions that a driver holds, in MiB; unset: a 16th of its "
        "memory, with executor local a 32nd",
    )
    max_input_bytes: int | None = Field(
        None,
        ge=1024,
        le=1 << 28,
        description="an input as JSON, in bytes at most, for all of the database; unset: as it is",
    )
    max_output_bytes: int = Field(
        4 << 20, ge=1024, le=1 << 28, description="one node's output as JSON, in bytes at most"
    )
    node_timeout: Seconds = Field(300.0, description="for one attempt of a node that does not say")
    execution_timeout: Seconds | None = Field(
        None, description="for an execution whose workflow does not say; unset: none"
    )
    max_retries: int = Field(3, ge=0, le=1000, description="retries of a node that does not say")
    retry_delay: Seconds = Field(1.0, description="before the first retry")
    retry_multiplier: float = Field(2.0, ge=1, le=100, description="each further retry waits so many times longer")
    retry_max_delay: Seconds = Field(
        3600.0, description="the wait grows no further; up to a half more is added at random"
    )
    max_iterations: int = Field(1_000, ge=1, le=1_000_000, description="turns of a loop that does not say")
    retention_days: float | None = Field(
        None, gt=0, le=36_500, description="days that executions are kept after their end; unset: for ever"
    )
    crash_limit: int = Field(3, ge=0, le=1000, description="crashes of its runner or driver that a node may cause")

    lease_ttl: Seconds = Field(15.0, description="after that without a heartbeat a driver counts as dead")
    heartbeat: Seconds = Field(5.0, description="between two renewals of the lease; at most a third of lease_ttl")
    poll_interval: Seconds = Field(1.0, description="between two looks for work where nothing notifies")
    drain_timeout: float = Field(25.0, ge=0, le=86_400, description="for running nodes when a driver is told to stop")
    schedule_grace: Seconds = Field(60.0, description="so late may a schedule's slot be run; a later one was missed")
    schedule_catch_up: Count = Field(
        100, description="missed slots made good at most, of a schedule that makes all good and does not say"
    )

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="DEBUG shows every node"
    )
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON")
    health_file: Path | None = Field(
        None, description="where a driver reports how it is, for `dray health`; unset: one in the temporary folder"
    )
    stuck_after: Seconds = Field(60.0, description="a driver for which nothing goes on so long counts as stuck")
    http_port: int | None = Field(None, ge=1, le=65535, description="port of /livez, /readyz and /metrics; unset: none")
    http_host: str = Field("127.0.0.1", description="the address that this port is bound to")
    failpoints: str = Field("", description="for tests: where this process dies (cluster/failpoints.py)")

    @field_validator("data_dir", "storage_root", "health_file")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("secrets")
    @classmethod
    def _nameable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
            if name.startswith(NEVER_GIVEN):
                raise ValueError(f"{name} is about Dray or its database, which handlers are never given")
        return tuple(dict.fromkeys(value))

    @field_validator("ray_address")
    @classmethod
    def _address(cls, value: str) -> str:
        if value.startswith("ray://"):
            raise ValueError("Ray Client (ray://) is too slow for a driver: run it on a node of the cluster, use auto")
        if value not in ("local", "auto") and not _HOST_PORT.fullmatch(value):
            raise ValueError(f"{value!r} is no address of Ray: use local, auto or host:port")
        return value

    @field_validator("queues")
    @classmethod
    def _some_queue(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one queue")
        return tuple(dict.fromkeys(value))

    @field_validator("failpoints")
    @classmethod
    def _readable(cls, value: str) -> str:
        failpoints.parse(value)
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        problems = []
        if self.heartbeat * 3 > self.lease_ttl:
            problems.append(
                f"DRAY_HEARTBEAT ({self.heartbeat:g} s) must be at most a third of DRAY_LEASE_TTL "
                f"({self.lease_ttl:g} s), so that two lost heartbeats do not cost the lease"
            )
        if self.retry_delay > self.retry_max_delay:
            problems.append(
                f"DRAY_RETRY_DELAY ({self.retry_delay:g} s) is longer than DRAY_RETRY_MAX_DELAY "
                f"({self.retry_max_delay:g} s)"
            )
        if self.runner_slots < self.runner_concurrency:
            problems.append(
                f"DRAY_RUNNER_SLOTS ({self.runner_slots}) is less than DRAY_RUNNER_CONCURRENCY "
                f"({self.runner_concurrency}): a runner could never be busy"
            )
        if self.runners is not None and (self.min_runners is not None or self.max_runners is not None):
            problems.append("DRAY_RUNNERS is a fixed number: unset it, or DRAY_MIN_RUNNERS and DRAY_MAX_RUNNERS")
        if self.max_runners is not None and (self.min_runners or 0) > self.max_runners:
            problems.append(f"DRAY_MIN_RUNNERS ({self.min_runners}) is more than DRAY_MAX_RUNNERS ({self.max_runners})")
        if self.direct_url is not None and self.database_url is None:
            problems.append("DRAY_DIRECT_URL is only for LISTEN: set DRAY_DATABASE_URL too")
        if self.direct_url is not None and self.direct_url.is_transaction_pooler:
            problems.append("DRAY_DIRECT_URL leads to a transaction pooler, which cannot LISTEN: give the direct one")
        if problems:
            raise SettingsInvalid(problems)
        return self


def load(**given: Any) -> Settings:
    """The settings of this process. given: what the command line says, by name; None = it does not say.

    Raises SettingsInvalid.
    """
    environ = {name: value for name, value in os.environ.items() if value}
    values = {name: value for name, value in given.items() if value is not None}
    origin = {name: f"--{name.replace('_', '-')}" for name in values}
    problems = _unknown(environ)
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        platform = PLATFORM_NAMES.get(name, "")
        if name in values:
            continue
        if variable in environ:
            origin[name] = variable
        elif platform in environ:
            values[name], origin[name] = environ[platform], platform
        elif name == "database_url":
            try:
                values[name], origin[name] = _platform_database(environ)
            except ValueError as error:
                problems.append(str(error))
    try:
        settings = Settings(**values)
    except SettingsInvalid as error:
        problems += error.problems
    except ValidationError as error:
        problems += [
            f"{origin[str(each['loc'][0])]}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        ]
    if problems:
        raise SettingsInvalid(problems)
    return settings


def _unknown(environ: Mapping[str, str]) -> list[str]:
    """A complaint for every DRAY_* name that nothing reads: a misspelt setting must not quietly be its default."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    problems = []
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "unset it; all names: `dray settings`"
        problems.append(f"{name} is no setting: {hint}")
    return problems


def _platform_database(environ: Mapping[str, str]) -> tuple[DatabaseURL | str | None, str]:
    """The database by the platform's names, the first of the four ways that is set, and the name of that way."""
    if url := environ.get("SUPABASE_DB_URL"):
        return url, "SUPABASE_DB_URL"
    if (project := environ.get("SUPABASE_URL")) and (password := environ.get("SUPABASE_DB_PASSWORD")):
        match = _SUPABASE.fullmatch(project)
        if match is None:
            raise ValueError(
                "SUPABASE_URL: only https://<project>.supabase.co tells where the database is; set DRAY_DATABASE_URL"
            )
        host = f"db.{match[1].lower()}.supabase.co"
        return DatabaseURL.from_parts(host, 5432, "postgres", password, "postgres"), "SUPABASE_URL"
    if server := environ.get("POSTGRES_SERVER") or environ.get("POSTGRES_HOST"):
        port = environ.get("POSTGRES_PORT", "5432")
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
            raise ValueError("POSTGRES_PORT: must be a number from 1 to 65535")
        user, password, database = (environ.get(f"POSTGRES_{each}") for each in ("USER", "PASSWORD", "DB"))
        return DatabaseURL.from_parts(server, int(port), user, password, database), "POSTGRES_SERVER"
    return environ.get("DATABASE_URL"), "DATABASE_URL"
