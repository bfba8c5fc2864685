"""The schema at a glance. Nothing runs with it: statements are plain SQL (store/sql), and the tables are made by
store/migrations; tests/db/test_tables.py shows that they are the same. What each table is for: docs/database.md.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import CHAR, JSONB, UUID

Time = DateTime(timezone=True)
Id = UUID(as_uuid=False)

metadata = MetaData(schema="dray")


def _must(name: str, kind: Any, default: str | None = None, **other: Any) -> Column[Any]:
    """A column that is never NULL."""
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default), **other)


workflow = Table(
    "workflow",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    _must("name", Text),
    _must("version", Integer),
    _must("graph", JSONB),
    _must("ends", ARRAY(Text)),
    _must("created_at", Time, "now()"),
    UniqueConstraint("name", "version", name="workflow_name_version_key"),
)

driver = Table(
    "driver",
    metadata,
    Column("id", Id, primary_key=True),
    _must("lease_until", Time),
    _must("started_at", Time, "now()"),
    _must("listening", Boolean, "false"),
    _must("pid", Integer),
    _must("host", Text),
    _must("info", JSONB, "'{}'"),
)

execution = Table(
    "execution",
    metadata,
    Column("id", Id, primary_key=True),
    _must("run_at", Time, "now()"),
    Column("started_at", Time),
    Column("finished_at", Time),
    Column("wake_at", Time),
    Column("crashed_at", Time),
    Column("owner", Id),
    _must("workflow_id", Integer),
    _must("claim_count", Integer, "0"),
    _must("crash_count", SmallInteger, "0"),
    _must("priority", SmallInteger, "5"),
    _must("wake", Boolean, "false"),
    _must("status", Text, "'queued'"),
    _must("queue", Text, "'default'"),
    Column("control", Text),
    Column("error", JSONB),
    CheckConstraint(
        "status IN ('queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')",
        name="execution_status_check",
    ),
    CheckConstraint("(owner IS NOT NULL) = (status = 'running')", name="execution_owner_check"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))", name="execution_final_check"
    ),
    CheckConstraint("control IN ('cancel', 'pause')", name="execution_control_check"),
)
Index(
    "execution_claim_idx",
    execution.c.queue,
    execution.c.priority.desc(),
    execution.c.run_at,
    postgresql_where=text("status = 'queued'"),
)
Index(
    "execution_wake_idx",
    execution.c.wake_at,
    postgresql_where=text("status = 'waiting' AND wake_at IS NOT NULL"),
)
Index("execution_owner_idx", execution.c.owner, postgresql_where=text("owner IS NOT NULL"))
Index("execution_control_idx", execution.c.owner, postgresql_where=text("control IS NOT NULL"))
Index("execution_failed_idx", execution.c.finished_at, postgresql_where=text("status = 'failed'"))

execution_input = Table(
    "execution_input",
    metadata,
    Column("execution_id", Id, primary_key=True),
    _must("input", JSONB),
    Column("labels", JSONB),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("workflow", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _must("execution_id", Id),
    _must("created_at", Time, "now()"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    _must("execution_id", Id),
    _must("at", Time),
    Column("runner", Integer),
    Column("duration_ms", Integer),
    _must("attempt", SmallInteger),
    _must("kind", CHAR),
    _must("node_key", Text),
    Column("branch", Text),
    Column("wake_at", Time),
    Column("outcome", JSONB),
    PrimaryKeyConstraint("execution_id", "node_key", "attempt"),
    CheckConstraint("kind IN ('c', 'w', 'r', 'l', 's', 'f')", name="checkpoint_kind_check"),
)

runner = Table(
    "runner",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    _must("driver", Id),
    _must("node_id", Text),
    _must("host", Text),
    _must("pid", Integer),
    _must("name", Text),
    _must("started_at", Time, "now()"),
    Column("ended_at", Time),
    Column("ended", Text),
)

signal = Table(
    "signal",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _must("execution_id", Id),
    _must("name", Text),
    Column("payload", JSONB),
    _must("sent_at", Time, "now()"),
)
Index("signal_execution_idx", signal.c.execution_id)

schedule = Table(
    "schedule",
    metadata,
    Column("id", Id, primary_key=True),
    _must("name", Text),
    _must("workflow", Text),
    _must("kind", Text),
    _must("expression", Text),
    _must("zone", Text, "'UTC'"),
    _must("overlap", Text, "'skip'"),
    _must("catch_up", Boolean, "false"),
    _must("from_graph", Boolean, "false"),
    _must("priority", SmallInteger, "5"),
    _must("queue", Text, "'default'"),
    _must("input", JSONB, "'{}'"),
    _must("labels", JSONB, "'{}'"),
    _must("status", Text, "'active'"),
    _must("created_at", Time, "now()"),
    _must("since", Time, "now()"),
    _must("look_at", Time, "now()"),
    Column("next_at", Time),
    Column("queued_at", Time),
    Column("last_at", Time),
    Column("last_execution", Id),
    _must("revision", BigInteger, "0"),
    _must("failures", Integer, "0"),
    Column("error", Text),
    UniqueConstraint("name", name="schedule_name_key"),
    CheckConstraint("kind IN ('cron', 'interval', 'once')", name="schedule_kind_check"),
    CheckConstraint("overlap IN ('skip', 'queue', 'allow')", name="schedule_overlap_check"),
    CheckConstraint("status IN ('active', 'paused', 'ended')", name="schedule_status_check"),
    CheckConstraint("jsonb_typeof(input) = 'object' AND jsonb_typeof(labels) = 'object'", name="schedule_object_check"),
)
Index("schedule_look_idx", schedule.c.look_at, postgresql_where=text("status = 'active'"))
