-- What is deleted in the end: executions that ended long ago, with all that is kept of them.

-- Keys by their age. A key is forgotten with the executions of its time, whatever its window.
CREATE INDEX idempotency_created_idx ON dray.idempotency (created_at);

-- The oldest executions that ended before `until`, at most `most`, behind `behind`; not those that a parent which goes on may still ask for.
-- Ids begin with the time of the submit, so what was submitted after `until` is not looked at.
CREATE FUNCTION dray.prunable(until timestamptz, statuses text[], most bigint, behind uuid) RETURNS SETOF uuid LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT e.id FROM dray.execution e
    WHERE e.id < dray.id_at($1) AND ($4 IS NULL OR e.id > $4) AND e.finished_at < $1 AND ($2 IS NULL OR e.status = ANY ($2))
        AND (SELECT p.id FROM dray.execution p WHERE p.id = e.parent_id AND p.finished_at IS NULL) IS NULL
    ORDER BY e.id LIMIT $3
$$;

-- completed, failed, cancelled -> (nothing), the oldest first, at most `most` behind `behind`, with inputs, checkpoints and signals. Waits for
-- nobody. deleted: how many. last: the last that was looked at; NULL: that was all, and then keys and runners of that age go too.
CREATE FUNCTION dray.prune(until timestamptz, statuses text[] DEFAULT NULL, most integer DEFAULT 500, behind uuid DEFAULT NULL,
    OUT deleted integer, OUT last uuid) LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    ids uuid[] := ARRAY(SELECT p FROM dray.prunable(until, statuses, most, behind) p);
BEGIN
    last := CASE WHEN cardinality(ids) = most THEN ids[most] END;
    ids := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) AND e.finished_at < until FOR UPDATE SKIP LOCKED);
    DELETE FROM dray.checkpoint c WHERE c.execution_id = ANY (ids);
    DELETE FROM dray.signal s WHERE s.execution_id = ANY (ids);
    DELETE FROM dray.execution_input i WHERE i.execution_id = ANY (ids);
    DELETE FROM dray.execution e WHERE e.id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF last IS NULL AND statuses IS NULL THEN
        DELETE FROM dray.idempotency k WHERE (k.workflow, k.key) IN (
            SELECT o.workflow, o.key FROM dray.idempotency o WHERE o.created_at < until ORDER BY o.created_at LIMIT 10000 FOR UPDATE SKIP LOCKED);
        -- One row per runner process, so the table is short.
        DELETE FROM dray.runner r WHERE r.ended_at < until;
    END IF;
END $$;
