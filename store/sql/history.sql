-- name: history_now
-- What a look at the history begins with. All of these statements only read, in one snapshot for each batch.
SELECT extract(epoch FROM clock_timestamp())::float8,
    (SELECT count(*) FROM dray.driver d WHERE d.lease_until > clock_timestamp()),
    (SELECT count(*) FROM (SELECT FROM dray.pending_mark LIMIT 10000) m);

-- name: history_executions
-- The newest executions below one, and how many checkpoints each has, counted up to a bound.
SELECT e.id::text, e.workflow_id, e.status, e.queue, e.owner::text, e.claim_count, e.crash_count, e.control,
    extract(epoch FROM e.run_at)::float8, extract(epoch FROM e.started_at)::float8, extract(epoch FROM e.finished_at)::float8,
    extract(epoch FROM e.wake_at)::float8, e.parent_id::text, coalesce(e.depth, 0), coalesce(e.detached, false),
    e.gate, e.concurrency_key, e.rate_key, e.stage, e.lane, i.source_id::text, i.execution_id IS NOT NULL,
    e.owner IS NULL OR d.id IS NOT NULL, extract(epoch FROM d.lease_until)::float8,
    p.status, extract(epoch FROM p.finished_at)::float8, coalesce(p.depth, 0),
    e.id IN (SELECT m.execution_id FROM dray.pending_mark m),
    (SELECT count(*) FROM (SELECT FROM dray.checkpoint c WHERE c.execution_id = e.id LIMIT %(largest)s + 1) c)
FROM dray.execution e
LEFT JOIN dray.execution_input i ON i.execution_id = e.id
LEFT JOIN dray.driver d ON d.id = e.owner
LEFT JOIN dray.execution p ON p.id = e.parent_id
WHERE (%(below)s::uuid IS NULL OR e.id < %(below)s::uuid)
    AND (%(since)s::float8 IS NULL OR e.id >= dray.id_at(to_timestamp(%(since)s::float8)))
ORDER BY e.id DESC LIMIT %(most)s;

-- name: history_records
-- Their checkpoints without the outcomes. When a row was committed is known where the server keeps that (track_commit_timestamp); else the
-- time in the row, a little earlier, has to do.
SELECT c.execution_id::text, c.node_key, c.attempt, c.kind::text, c.branch, extract(epoch FROM c.at)::float8,
    CASE WHEN current_setting('track_commit_timestamp')::boolean THEN extract(epoch FROM pg_xact_commit_timestamp(c.xmin))::float8 END,
    extract(epoch FROM c.wake_at)::float8, c.duration_ms, c.runner, r.pid,
    CASE WHEN c.kind = 'g' THEN c.outcome ->> 'signal' END, CASE WHEN c.kind = 'g' THEN c.outcome ->> 'child' END
FROM dray.checkpoint c LEFT JOIN dray.runner r ON r.id = c.runner
WHERE c.execution_id = ANY (%(ids)s::uuid[]) ORDER BY c.execution_id, c.node_key, c.attempt;

-- name: history_signals
SELECT s.id, s.execution_id::text, s.name, s.node, extract(epoch FROM s.sent_at)::float8, extract(epoch FROM s.consumed_at)::float8, s.consumed_by
FROM dray.signal s WHERE s.execution_id = ANY (%(ids)s::uuid[]) ORDER BY s.id;

-- name: history_children
SELECT e.id::text, e.parent_id::text, e.status, coalesce(e.detached, false), coalesce(e.depth, 0),
    extract(epoch FROM e.run_at)::float8, extract(epoch FROM e.finished_at)::float8
FROM dray.execution e WHERE e.parent_id = ANY (%(ids)s::uuid[]) ORDER BY e.id;

-- name: history_workflows
SELECT w.id, w.name, w.version, w.graph, extract(epoch FROM w.created_at)::float8 FROM dray.workflow w WHERE w.id = ANY (%(ids)s);

-- name: history_gates
-- The limits that hold for a workflow now, and since when.
SELECT DISTINCT ON (w.name) w.name, w.limits, extract(epoch FROM w.created_at)::float8
FROM dray.workflow w WHERE w.name = ANY (%(names)s::text[]) ORDER BY w.name, w.version DESC;

-- name: history_queues
SELECT q.name, q.paused, q.concurrency, q.rate, q.per FROM dray.queue q ORDER BY q.name;

-- name: history_known
SELECT e.id::text FROM dray.execution e WHERE e.id = ANY (%(ids)s::uuid[]);
