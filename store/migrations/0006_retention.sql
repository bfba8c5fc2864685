-- What is deleted in the end: executions that ended long ago, with all that is kept of them.

-- A submit's key goes with its execution.
CREATE INDEX idempotency_execution_idx ON dray.idempotency (execution_id);

-- Those that may go of the first `looked` executions behind `behind` (NULL: of all): ended before `until`, and not asked for any more by a parent
-- that goes on. Ids begin with the time of the submit, so what was submitted after `until` is not looked at.
CREATE FUNCTION dray.prunable(until timestamptz, statuses text[], behind uuid, looked bigint) RETURNS SETOF uuid LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT l.id FROM (
        SELECT e.id, e.finished_at, e.status, e.parent_id FROM dray.execution e
        WHERE e.id > coalesce($3, '00000000-0000-0000-0000-000000000000') AND e.id < dray.id_at($1) ORDER BY e.id LIMIT $4) l
    WHERE l.finished_at < $1 AND ($2 IS NULL OR l.status = ANY ($2))
        AND (l.parent_id IS NULL OR (SELECT p.id FROM dray.execution p WHERE p.id = l.parent_id AND p.finished_at IS NULL) IS NULL)
    ORDER BY l.id
$$;

-- completed, failed, cancelled -> (nothing), the oldest first, with input, checkpoints, signals and key. A call looks at no more than four times
-- `most` executions behind `behind`, and deletes no more than `most` of them and twenty times as many checkpoints: one with a million of them
-- takes many calls, and meanwhile has no input, so that nobody can repeat it. Executions that somebody has locked are left alone; a key that
-- somebody is taking over is waited for, but not for long.
-- deleted: how many. last: where to go on; NULL: that was all, and then runners of that age go too.
CREATE FUNCTION dray.prune(until timestamptz, statuses text[] DEFAULT NULL, most integer DEFAULT 500, behind uuid DEFAULT NULL,
    OUT deleted integer, OUT last uuid) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '2s' AS $$
DECLARE
    start uuid := coalesce(behind, '00000000-0000-0000-0000-000000000000');
    ids uuid[] := ARRAY(SELECT p FROM dray.prunable(until, statuses, start, 4 * most) p LIMIT most);
    gone integer;
    left_over uuid;
    oldest uuid;
BEGIN
    last := CASE WHEN cardinality(ids) = most THEN ids[most] ELSE (
        SELECT e.id FROM dray.execution e WHERE e.id > start AND e.id < dray.id_at(until) ORDER BY e.id OFFSET 4 * most - 1 LIMIT 1) END;
    -- IS TRUE: a plan kept from small tables would read all that ended before, by the index of finished_at.
    ids := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) AND (e.finished_at < until) IS TRUE ORDER BY e.id FOR UPDATE SKIP LOCKED);
    DELETE FROM dray.execution_input i WHERE i.execution_id = ANY (ids);
    DELETE FROM dray.checkpoint c WHERE c.ctid = ANY (ARRAY(
        SELECT d.ctid FROM dray.checkpoint d WHERE d.execution_id = ANY (ids) LIMIT 20 * most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = 20 * most THEN
        left_over := (SELECT i FROM unnest(ids) i
            WHERE (SELECT c.execution_id FROM dray.checkpoint c WHERE c.execution_id = i LIMIT 1) IS NOT NULL ORDER BY i LIMIT 1);
        IF left_over IS NOT NULL THEN
            ids := ARRAY(SELECT i FROM unnest(ids) i WHERE i < left_over ORDER BY i);
            last := coalesce(ids[cardinality(ids)], start);
        END IF;
    END IF;
    DELETE FROM dray.idempotency k WHERE k.execution_id = ANY (ids);
    DELETE FROM dray.signal s WHERE s.execution_id = ANY (ids);
    DELETE FROM dray.execution e WHERE e.id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF last IS NULL AND statuses IS NULL THEN
        -- What was submitted after a runner's end cannot name it, unless it repeats an earlier one. One row per process: the table is short.
        oldest := least((SELECT e.id FROM dray.execution e ORDER BY e.id LIMIT 1),
            (SELECT i.source_id FROM dray.execution_input i WHERE i.source_id IS NOT NULL ORDER BY i.source_id LIMIT 1));
        DELETE FROM dray.runner r WHERE r.ended_at < until AND (oldest IS NULL OR dray.id_at(r.ended_at) <= oldest);
    END IF;
END $$;
