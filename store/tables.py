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
    Computed,
    DateTime,
    Double,
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
TIMEOUT = """CASE WHEN jsonb_typeof((graph -> 'timeout'::text)) = 'number'::text
    THEN ((graph ->> 'timeout'::text))::double precision ELSE NULL::double precision END"""


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
    _must("created_at", Time, "clock_timestamp()"),
    Column("limits", JSONB, Computed("(graph -> 'limits'::text)", persisted=True)),
    Column("timeout", Double, Computed(TIMEOUT, persisted=True)),
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
    _must("stopped", Boolean, "false"),
    _must("apart", ARRAY(UUID(as_uuid=False)), "'{}'"),
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
    Column("wake", Boolean, server_default=text("false")),
    _must("status", Text, "'queued'"),
    _must("queue", Text, "'default'"),
    Column("control", Text),
    Column("error", JSONB),
    Column("parent_id", Id),
    Column("depth", SmallInteger),
    Column("detached", Boolean),
    _must("rank", Time, "now()"),
    Column("stage", Text),
    Column("tenant", Text),
    Column("gate", Text),
    Column("concurrency_key", Text),
    Column("rate_key", Text),
    Column("lane", Text(collation="C")),
    Column("input_size", Integer),
    CheckConstraint(
        "status IN ('queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')",
        name="execution_status_check",
    ),
    CheckConstraint("(owner IS NOT NULL) = (status = 'running')", name="execution_owner_check"),
    CheckConstraint(
        "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))", name="execution_final_check"
    ),
    CheckConstraint("control IN ('cancel', 'pause')", name="execution_control_check"),
    CheckConstraint("stage IN ('k', 'r', 'w', 'p')", name="execution_stage_check"),
)
Index(
    "execution_claim_idx",
    execution.c.queue,
    execution.c.rank,
    postgresql_where=text("status = 'queued' AND lane IS NULL"),
)
Index(
    "execution_lane_idx",
    execution.c.lane,
    execution.c.rank,
    postgresql_where=text("lane IS NOT NULL AND status = 'queued'"),
)
Index(
    "execution_place_idx",
    execution.c.gate,
    execution.c.stage,
    execution.c.concurrency_key,
    postgresql_where=text("stage IN ('r', 'w', 'p') AND status IN ('queued', 'running')"),
)
Index(
    "execution_rate_idx",
    execution.c.gate,
    execution.c.rate_key,
    execution.c.started_at,
    postgresql_where=text(
        "rate_key IS NOT NULL AND (started_at IS NOT NULL OR (status = 'queued' AND stage IN ('w', 'p')))"
    ),
)
Index(
    "execution_wake_idx",
    execution.c.wake_at,
    postgresql_where=text("status = 'waiting' AND wake_at IS NOT NULL"),
)
Index(
    "execution_parked_idx",
    execution.c.queue,
    execution.c.status,
    postgresql_where=text("status = 'paused' OR (status = 'waiting' AND wake_at IS NULL)"),
)
Index("execution_owner_idx", execution.c.owner, execution.c.queue, postgresql_where=text("owner IS NOT NULL"))
Index("execution_control_idx", execution.c.owner, postgresql_where=text("control IS NOT NULL OR wake"))
Index("execution_parent_idx", execution.c.parent_id, postgresql_where=text("parent_id IS NOT NULL"))
Index(
    "execution_finished_idx",
    execution.c.queue,
    execution.c.finished_at,
    postgresql_where=text("finished_at IS NOT NULL"),
)

execution_input = Table(
    "execution_input",
    metadata,
    Column("execution_id", Id, primary_key=True),
    _must("input", JSONB),
    Column("labels", JSONB),
    Column("source_id", Id),
)
Index(
    "execution_labels_idx",
    execution_input.c.labels,
    postgresql_using="gin",
    postgresql_ops={"labels": "jsonb_path_ops"},
    postgresql_where=text("labels IS NOT NULL"),
)
Index("execution_source_idx", execution_input.c.source_id, postgresql_where=text("source_id IS NOT NULL"))

idempotency = Table(
    "idempotency",
    metadata,
    Column("workflow", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _must("execution_id", Id),
    _must("created_at", Time, "clock_timestamp()"),
)
Index("idempotency_execution_idx", idempotency.c.execution_id)

checkpoint = Table(
    "checkpoint",
    metadata,
    _must("execution_id", Id),
    _must("at", Time),
    Column("runner", Integer),
    Column("duration_ms", Integer),
    _must("attempt", Integer),
    _must("kind", CHAR),
    _must("node_key", Text),
    Column("branch", Text),
    Column("wake_at", Time),
    Column("outcome", JSONB),
    PrimaryKeyConstraint("execution_id", "node_key", "attempt"),
    CheckConstraint("kind IN ('c', 'w', 'r', 'l', 's', 'f', 'g', 'd')", name="checkpoint_kind_check"),
)
Index(
    "checkpoint_wait_idx",
    checkpoint.c.execution_id,
    checkpoint.c.node_key,
    checkpoint.c.attempt,
    postgresql_where=text("kind = 'g'"),
)

crash = Table(
    "crash",
    metadata,
    Column("driver", Id, primary_key=True),
    Column("execution_id", Id, primary_key=True),
    _must("at", Time, "clock_timestamp()"),
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
    _must("sent_at", Time, "clock_timestamp()"),
    Column("node", Text),
    Column("dedupe", Text),
    Column("consumed_at", Time),
    Column("consumed_by", Text),
)
Index("signal_execution_idx", signal.c.execution_id)
Index("signal_unread_idx", signal.c.execution_id, postgresql_where=text("consumed_at IS NULL"))
Index(
    "signal_dedupe_key",
    signal.c.execution_id,
    signal.c.dedupe,
    unique=True,
    postgresql_where=text("dedupe IS NOT NULL"),
)

pending_mark = Table(
    "pending_mark",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _must("execution_id", Id),
    _must("mark", Text),
    CheckConstraint("mark IN ('wake', 'cancel', 'begin')", name="pending_mark_check"),
)

cancellation = Table(
    "cancellation",
    metadata,
    Column("execution_id", Id, primary_key=True),
    _must("at", Time, "clock_timestamp()"),
    _must("role", Text, "CURRENT_USER"),
    Column("asked_by", Text),
    Column("reason", Text),
    CheckConstraint("length(asked_by) <= 200 AND length(reason) <= 2000", name="cancellation_length_check"),
)

queue = Table(
    "queue",
    metadata,
    Column("name", Text, primary_key=True),
    _must("paused", Boolean, "false"),
    Column("concurrency", Integer),
    Column("rate", Integer),
    Column("per", Double),
    _must("ageing", Double, "60"),
    CheckConstraint("concurrency > 0", name="queue_concurrency_check"),
    CheckConstraint("rate > 0 AND per > 0 AND per <= 2678400", name="queue_rate_check"),
    CheckConstraint("(rate IS NULL) = (per IS NULL)", name="queue_rate_per_check"),
    CheckConstraint("ageing >= 0 AND ageing <= 86400", name="queue_ageing_check"),
)

queue_start = Table("queue_start", metadata, _must("queue", Text), _must("at", Time), _must("count", Integer))
Index("queue_start_idx", queue_start.c.queue, queue_start.c.at)

tenant = Table(
    "tenant",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    _must("turn", Time),
)
Index("tenant_turn_idx", tenant.c.queue, tenant.c.turn)

tenant_change = Table(
    "tenant_change",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _must("queue", Text),
    _must("name", Text),
)
Index("tenant_change_queue_idx", tenant_change.c.queue)

gate_change = Table(
    "gate_change",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _must("at", Time, "clock_timestamp()"),
    _must("gate", Text),
    Column("concurrency_key", Text),
    Column("rate_key", Text),
)
Index("gate_change_at_idx", gate_change.c.at)
Index("gate_change_later_idx", gate_change.c.gate, gate_change.c.at)

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
    _must("catch_up", Boolean, "false"),  # for drivers of earlier versions: whether missed is all
    _must("from_graph", Boolean, "false"),
    _must("priority", SmallInteger, "5"),
    _must("queue", Text, "'default'"),
    _must("input", JSONB, "'{}'"),
    _must("labels", JSONB, "'{}'"),
    _must("status", Text, "'active'"),
    _must("created_at", Time, "clock_timestamp()"),
    _must("since", Time, "now()"),
    _must("look_at", Time, "now()"),
    Column("next_at", Time),
    Column("queued_at", Time),
    Column("last_at", Time),
    Column("last_execution", Id),
    _must("revision", BigInteger, "0"),
    _must("failures", Integer, "0"),
    Column("error", Text),
    _must("missed", Text, "'latest'"),
    Column("missed_limit", Integer),
    UniqueConstraint("name", name="schedule_name_key"),
    CheckConstraint("kind IN ('cron', 'interval', 'once')", name="schedule_kind_check"),
    CheckConstraint("overlap IN ('skip', 'queue', 'allow')", name="schedule_overlap_check"),
    CheckConstraint("missed IN ('skip', 'latest', 'all')", name="schedule_missed_check"),
    CheckConstraint("status IN ('active', 'paused', 'ended')", name="schedule_status_check"),
    CheckConstraint("jsonb_typeof(input) = 'object' AND jsonb_typeof(labels) = 'object'", name="schedule_object_check"),
)
Index("schedule_look_idx", schedule.c.look_at, postgresql_where=text("status = 'active'"))

setting = Table(
    "setting",
    metadata,
    Column("name", Text, primary_key=True),
    _must("value", BigInteger),
    CheckConstraint("name = 'max_input_bytes' AND value >= 1024", name="setting_name_check"),
)
