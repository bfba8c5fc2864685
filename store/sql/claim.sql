-- name: claim_if_fenced
-- queued -> running, at most :limit; see the function. No row: nothing is queued. fenced = false: the lease is lost.
SELECT fenced, id::text, workflow_id, claim_count, crash_count, age, input::text, input_size
FROM dray.claim_if_fenced(%(driver)s::uuid, %(queues)s::text[], %(limit)s, %(budget)s, %(room)s, %(crash_limit)s);

-- name: claim_unheard
-- running -> running: a claim whose answer was lost took it, and this one takes it anew; see the function. A row without an id: there is more.
SELECT fenced, id::text, workflow_id, claim_count, crash_count, age, input::text, input_size
FROM dray.claim_unheard(%(driver)s::uuid, %(held)s::uuid[], %(limit)s, %(budget)s, %(crash_limit)s);

-- name: load_checkpoints
-- Everything recorded of these executions, in the order in which it was recorded for each node. But no outcome that takes more than 32 KiB where
-- it is stored, compressed: its size is known without reading it. Some 256 KiB of usual JSON take so much.
SELECT execution_id::text, node_key, attempt, kind::text, branch,
    CASE WHEN pg_column_size(outcome) > 32768 THEN NULL ELSE outcome::text END AS outcome,
    extract(epoch FROM wake_at - clock_timestamp())::float8 AS wait, coalesce(pg_column_size(outcome) > 32768, false) AS large,
    extract(epoch FROM clock_timestamp() - at)::float8 AS age
FROM dray.checkpoint WHERE execution_id = ANY (%(ids)s::uuid[]) ORDER BY execution_id, node_key, attempt;

-- name: load_outcomes
-- Those that load_checkpoints left out, in the order in which they are asked for. One look into the index for each, whatever the statistics.
SELECT (SELECT c.outcome::text FROM dray.checkpoint c WHERE c.execution_id = w.id AND c.node_key = w.key AND c.attempt = w.attempt)
FROM unnest(%(ids)s::uuid[], %(keys)s::text[], %(attempts)s::integer[]) WITH ORDINALITY AS w (id, key, attempt, n) ORDER BY w.n;

-- name: load_workflows
SELECT id, name, version, graph FROM dray.workflow WHERE id = ANY (%(ids)s);

-- name: wake_due
-- waiting -> queued, for timers that are due. Needs no fence: it is true whoever says it, and twice is once.
-- The clock is read in a subquery, once: compared with the bare function, which differs from row to row, the index would be read whole.
WITH due AS MATERIALIZED (
    SELECT id FROM dray.execution WHERE status = 'waiting' AND wake_at <= (SELECT clock_timestamp())
    ORDER BY wake_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), woken AS (
    UPDATE dray.execution e SET status = 'queued', wake_at = NULL
    WHERE e.id = ANY (ARRAY(SELECT id FROM due)) AND e.status = 'waiting' RETURNING 1
)
SELECT (SELECT count(*) FROM woken) AS woken,
    extract(epoch FROM (SELECT min(wake_at) FROM dray.execution WHERE status = 'waiting' AND wake_at > (SELECT clock_timestamp())) - clock_timestamp())::float8 AS next;

-- name: end_overdue
-- queued -> failed, for what is over its time and no driver may claim; see the function. Needs no fence, as wake_due.
SELECT dray.end_overdue(%(queues)s::text[], %(fallback)s::float8, %(limit)s);

-- name: controls_of_driver
-- What people asked of executions that this incarnation holds.
SELECT id::text, control FROM dray.execution WHERE owner = %(driver)s::uuid AND control IS NOT NULL;
