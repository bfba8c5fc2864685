-- name: commit_if_fenced
-- The group commit. Records outcomes, and settles executions: running -> completed, failed, cancelled, waiting (queued at once where
-- something woke it meanwhile) or queued. fenced = false: the lease is lost and nothing was written.
-- settled holds the executions that were ours to settle; saved counts the outcomes that were not recorded before.
WITH fence AS MATERIALIZED (
    SELECT id FROM dray.driver WHERE id = %(driver)s::uuid AND lease_until > clock_timestamp() FOR KEY SHARE
), settle AS MATERIALIZED (
    SELECT * FROM unnest(%(settle_ids)s::uuid[], %(statuses)s::text[], %(wake_in)s::float8[], %(errors)s::jsonb[]) AS s (id, status, wake_in, error)
), held AS MATERIALIZED (
    -- By an array and IS TRUE: the primary key finds the rows, whatever the planner thinks of their number or of the owner's index.
    -- In id order, after the fence: two commits, a reaper and a bulk cancel can then wait for each other but never in a circle.
    SELECT e.id FROM fence, dray.execution e
    WHERE e.id = ANY (ARRAY(SELECT id FROM settle)) AND (e.owner = fence.id) IS TRUE ORDER BY e.id FOR NO KEY UPDATE OF e
), saved AS (
    INSERT INTO dray.checkpoint (execution_id, at, runner, duration_ms, attempt, kind, node_key, branch, wake_at, outcome)
    SELECT o.execution_id, clock_timestamp(), o.runner, o.duration_ms, o.attempt, o.kind::"char", o.node_key, o.branch,
        clock_timestamp() + o.wake_in * interval '1 second', o.outcome
    FROM fence, unnest(%(execution_ids)s::uuid[], %(node_keys)s::text[], %(attempts)s::smallint[], %(kinds)s::text[], %(branches)s::text[],
        %(outcomes)s::jsonb[], %(waits)s::float8[], %(runners)s::integer[], %(durations)s::integer[])
        AS o (execution_id, node_key, attempt, kind, branch, outcome, wake_in, runner, duration_ms)
    -- No ON CONFLICT: its speculative insert logs 48 bytes more per outcome (361 against 313). Only a commit that is repeated after a
    -- lost answer meets rows of its own; it fails on the primary key, and is sent again with again = true to leave those out.
    WHERE NOT %(again)s OR (SELECT c.kind FROM dray.checkpoint c
        WHERE c.execution_id = o.execution_id AND c.node_key = o.node_key AND c.attempt = o.attempt) IS NULL
    RETURNING 1
), settled AS (
    UPDATE dray.execution e SET
        owner = NULL,
        control = NULL,
        wake = false,
        status = CASE WHEN s.status NOT IN ('waiting', 'queued') THEN s.status WHEN e.control = 'cancel' THEN 'cancelled'
            WHEN e.wake THEN 'queued' ELSE s.status END,
        finished_at = CASE WHEN s.status NOT IN ('waiting', 'queued') OR e.control = 'cancel' THEN clock_timestamp() END,
        wake_at = CASE WHEN s.status = 'waiting' AND e.control IS DISTINCT FROM 'cancel' AND NOT e.wake THEN clock_timestamp() + s.wake_in * interval '1 second' END,
        error = s.error
    FROM settle s WHERE e.id = s.id AND e.id = ANY (ARRAY(SELECT id FROM held)) RETURNING e.id
)
SELECT EXISTS (SELECT 1 FROM fence) AS fenced, (SELECT count(*) FROM saved) AS saved, ARRAY(SELECT id::text FROM settled) AS settled;
