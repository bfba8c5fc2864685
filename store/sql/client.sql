-- name: submit
-- (nothing) -> queued, or -> waiting when run_at lies ahead; see the function.
SELECT dray.submit(%(workflow)s::text, %(input)s::jsonb, %(priority)s::text, %(queue)s::text, %(run_at)s::timestamptz,
    %(idempotency_key)s::text, %(labels)s::jsonb, %(tenant)s::text, %(concurrency_key)s::text, %(idempotency_window)s::interval)::text;

-- name: submit_many
-- (nothing) -> queued, all or none.
SELECT id::text FROM dray.submit_many(%(workflow)s::text, %(inputs)s::jsonb[], %(priority)s::text, %(queue)s::text,
    %(labels)s::jsonb, %(tenant)s::text, %(concurrency_key)s::text) AS id;

-- name: cancel
-- queued, waiting, paused -> cancelled; running -> marked, its driver cancels it; with all below. NULL: no such execution.
SELECT dray.cancel(%(id)s::uuid, %(reason)s::text, %(by)s::text);

-- name: get_execution
SELECT e.id::text, w.name, w.version, e.status, e.priority, e.queue, e.run_at, e.started_at, e.finished_at, e.wake_at,
    e.claim_count, e.crash_count, e.error, i.labels, i.source_id::text, i.input, dray.output(e.id) AS output,
    CASE WHEN e.status = 'cancelled' OR e.control = 'cancel' THEN dray.cancelled_by(e.id) END
FROM dray.execution e JOIN dray.workflow w ON w.id = e.workflow_id LEFT JOIN dray.execution_input i ON i.execution_id = e.id
WHERE e.id = %(id)s::uuid;

-- name: get_status
SELECT status FROM dray.execution WHERE id = %(id)s::uuid;

-- name: list_executions
-- The newest first: ids of version 7 are in the order of their making.
SELECT e.id::text, w.name, w.version, e.status, e.priority, e.queue, e.run_at, e.started_at, e.finished_at, e.wake_at,
    e.claim_count, e.crash_count, e.error, i.labels, i.source_id::text
FROM dray.execution e JOIN dray.workflow w ON w.id = e.workflow_id LEFT JOIN dray.execution_input i ON i.execution_id = e.id
WHERE (%(workflow)s::text IS NULL OR w.name = %(workflow)s) AND (%(statuses)s::text[] IS NULL OR e.status = ANY (%(statuses)s::text[]))
    AND (%(labels)s::jsonb IS NULL OR i.labels @> %(labels)s::jsonb) AND (%(before)s::uuid IS NULL OR e.id < %(before)s::uuid)
    AND (%(queue)s::text IS NULL OR e.queue = %(queue)s) AND (%(since)s::timestamptz IS NULL OR e.id >= dray.id_at(%(since)s::timestamptz))
    AND (%(until)s::timestamptz IS NULL OR e.id < dray.id_at(%(until)s::timestamptz))
ORDER BY e.id DESC LIMIT %(limit)s;

-- name: list_attempts
SELECT node_key, attempt, outcome_kind, branch, outcome, at, duration_ms, wake_at, runner, ray_node, host, pid
FROM dray.attempts WHERE execution_id = %(id)s::uuid ORDER BY at, node_key, attempt;

-- name: apply_workflow
-- (nothing) -> the next version; or the latest one, where its graph is the same.
-- The schedule of its trigger goes with it, in the same transaction.
SELECT a.id, a.version, a.created, dray.schedule_by_graph(%(name)s::text, %(graph)s::jsonb)
FROM dray.apply_workflow(%(name)s::text, %(graph)s::jsonb) a;

-- name: list_workflows
SELECT DISTINCT ON (name) id, name, version, graph FROM dray.workflow ORDER BY name, version DESC;

-- name: get_workflow
SELECT id, name, version, graph FROM dray.workflow
WHERE name = %(name)s AND (%(version)s::integer IS NULL OR version = %(version)s) ORDER BY version DESC LIMIT 1;

-- name: count_executions
SELECT queue, status, count(*) FROM dray.execution GROUP BY 1, 2 ORDER BY 1, 2;

-- name: oldest_queued
-- Seconds that the longest waiting queued execution of each queue has waited.
SELECT queue, extract(epoch FROM clock_timestamp() - min(run_at))::float8 FROM dray.execution WHERE status = 'queued' GROUP BY 1;

-- name: list_drivers
SELECT id::text, host, pid, started_at, extract(epoch FROM lease_until - clock_timestamp())::float8,
    (SELECT count(*) FROM dray.execution e WHERE e.owner = d.id), info
FROM dray.driver d ORDER BY started_at;
