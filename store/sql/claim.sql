-- name: claim_if_fenced
-- queued -> running, at most :limit, highest priority first, then oldest. Skips rows that another claim is taking.
-- One row at least comes back: fenced = false says that the lease is lost; id = NULL says that nothing is queued.
WITH fence AS MATERIALIZED (
    SELECT id FROM dray.driver WHERE id = %(driver)s::uuid AND lease_until > clock_timestamp() FOR KEY SHARE
), candidate AS MATERIALIZED (
    -- The fence as an argument makes its lock the first one taken.
    SELECT c.id FROM fence, unnest(%(queues)s::text[]) AS q (name), LATERAL dray.queued(fence.id, q.name, %(limit)s) AS c
    ORDER BY c.priority DESC, c.run_at LIMIT %(limit)s
), claimed AS (
    -- By an array, so that the rows are found by the primary key whatever the planner thinks of their number.
    UPDATE dray.execution e
    SET status = 'running', owner = %(driver)s::uuid, claim_count = e.claim_count + 1, wake = false,
        started_at = coalesce(e.started_at, clock_timestamp())
    WHERE e.id = ANY (ARRAY(SELECT id FROM candidate))
    RETURNING e.id, e.workflow_id, e.claim_count, e.crash_count, e.started_at
)
SELECT EXISTS (SELECT 1 FROM fence) AS fenced, c.id::text, c.workflow_id, c.claim_count, c.crash_count,
    extract(epoch FROM clock_timestamp() - c.started_at)::float8 AS age, i.input::text
FROM (VALUES (1)) AS one (row) LEFT JOIN claimed c ON true LEFT JOIN dray.execution_input i ON i.execution_id = c.id;

-- name: claimed_unheard
-- What this incarnation holds and does not know of: a claim whose answer was lost took it. In the form of a claim's answer.
SELECT e.id::text, e.workflow_id, e.claim_count, e.crash_count,
    extract(epoch FROM clock_timestamp() - e.started_at)::float8 AS age, i.input::text
FROM dray.execution e LEFT JOIN dray.execution_input i ON i.execution_id = e.id
WHERE e.owner = %(driver)s::uuid AND e.id <> ALL (%(held)s::uuid[]) ORDER BY e.id LIMIT %(limit)s;

-- name: load_checkpoints
-- Everything recorded of these executions, in the order in which it was recorded for each node.
SELECT execution_id::text, node_key, attempt, kind::text, branch, outcome::text,
    extract(epoch FROM wake_at - clock_timestamp())::float8 AS wait
FROM dray.checkpoint WHERE execution_id = ANY (%(ids)s::uuid[]) ORDER BY execution_id, node_key, attempt;

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

-- name: controls_of_driver
-- What people asked of executions that this incarnation holds.
SELECT id::text, control FROM dray.execution WHERE owner = %(driver)s::uuid AND control IS NOT NULL;
