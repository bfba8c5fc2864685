-- What an execution may wait for besides time: a signal, or the end of an execution that it started (a child).

-- The few waits among the many outcomes; for the list of open approvals.
CREATE INDEX checkpoint_wait_idx ON dray.checkpoint (execution_id, node_key, attempt) WHERE kind = 'g';

-- Of a child: who started it, how many are above it (NULL = none), and whether that one waits for it (detached: no).
-- NULL in almost every row, where they cost nothing: the row had a bitmap of NULLs before.
ALTER TABLE dray.execution ADD COLUMN parent_id uuid, ADD COLUMN depth smallint, ADD COLUMN detached boolean;
CREATE INDEX execution_parent_idx ON dray.execution (parent_id) WHERE parent_id IS NOT NULL;

-- wake of a running execution: true = news that its driver has not read, NULL = read, but it may come too late for a park that was decided
-- before: a park with any mark is queued. So no wake-up is lost, and none is read for ever.
ALTER TABLE dray.execution ALTER COLUMN wake DROP NOT NULL;

-- node: the id or key of the one that it is for, NULL = whichever waits for that name. dedupe: of several with the same key the first counts.
ALTER TABLE dray.signal
    ADD COLUMN node        text,
    ADD COLUMN dedupe      text,
    ADD COLUMN consumed_at timestamptz,
    ADD COLUMN consumed_by text;
CREATE UNIQUE INDEX signal_dedupe_key ON dray.signal (execution_id, dedupe) WHERE dedupe IS NOT NULL;
CREATE INDEX signal_unread_idx ON dray.signal (execution_id) WHERE consumed_at IS NULL;

-- Marks for rows that somebody else had locked, or that nobody should wait for: wake or cancel. Drivers put them on their rows every second.
-- So whoever ends an execution locks no row but its own for longer than a look, and still its parent and its children surely hear of it.
CREATE TABLE dray.pending_mark (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id uuid NOT NULL,
    mark         text NOT NULL,
    CONSTRAINT pending_mark_check CHECK (mark IN ('wake', 'cancel'))
);
ALTER TABLE dray.pending_mark SET (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

-- Keeps the signal, and wakes its execution: waiting -> queued, or the mark `wake` that its driver reads and a park of this moment will see.
-- One that waits for its run_at goes on waiting. False: the execution is over or unknown. The row is locked first: so the signals of one
-- execution are numbered in the order of their commits, and a driver that reads after that lock sees them.
CREATE FUNCTION dray.signal(id uuid, name text, payload jsonb DEFAULT NULL, node text DEFAULT NULL, dedupe text DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM dray.execution e WHERE e.id = signal.id AND e.status IN ('queued', 'waiting', 'paused', 'running') FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO dray.signal AS s (execution_id, name, payload, node, dedupe)
    VALUES (signal.id, signal.name, signal.payload, signal.node, signal.dedupe) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        UPDATE dray.execution e SET
            status = CASE WHEN e.status = 'waiting' AND e.claim_count > 0 THEN 'queued' ELSE e.status END,
            wake_at = CASE WHEN e.status = 'waiting' AND e.claim_count > 0 THEN NULL ELSE e.wake_at END,
            wake = (e.status <> 'waiting')
        WHERE e.id = signal.id;
        PERFORM dray.wake_drivers();
    END IF;
    RETURN true;
END $$;

-- waiting -> queued, or the mark `wake`, for those of these executions that have not ended. Waits for nobody: a row that is locked gets its
-- mark from place_marks.
CREATE FUNCTION dray.wake_executions(ids uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    free uuid[] := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) FOR NO KEY UPDATE SKIP LOCKED);
    to_claim boolean;
BEGIN
    WITH woken AS (
        UPDATE dray.execution e SET
            status = CASE WHEN e.status = 'waiting' THEN 'queued' ELSE e.status END,
            wake_at = CASE WHEN e.status = 'waiting' THEN NULL ELSE e.wake_at END,
            wake = (e.status <> 'waiting')
        WHERE e.id = ANY (free) AND e.finished_at IS NULL AND e.claim_count > 0 AND (e.status = 'waiting' OR e.wake IS NOT TRUE)
        RETURNING e.status
    )
    SELECT bool_or(w.status = 'queued') INTO to_claim FROM woken w;
    INSERT INTO dray.pending_mark (execution_id, mark)
    SELECT DISTINCT u.id, 'wake' FROM unnest(ids) AS u (id) WHERE u.id <> ALL (free);
    IF to_claim THEN
        PERFORM dray.wake_drivers();
    END IF;
END $$;

-- What follows from the end of executions, or from the wish to cancel them: the children that they wait for are to be cancelled, and
-- `parents` (of those that ended) woken. Locks nothing: a driver does it within a second (place_marks).
CREATE FUNCTION dray.mark_family(ids uuid[], parents uuid[]) RETURNS void LANGUAGE sql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    INSERT INTO dray.pending_mark (execution_id, mark)
    SELECT e.id, 'cancel' FROM dray.execution e WHERE e.parent_id = ANY (ids) AND e.finished_at IS NULL AND e.detached IS NOT TRUE
    UNION ALL
    SELECT DISTINCT u.id, 'wake' FROM unnest(parents) AS u (id)
$$;

-- For dray.cancel, after it has changed the row: what must follow in its family.
CREATE FUNCTION dray.cancel_children(parent uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT dray.mark_family(ARRAY[cancel_children.parent], ARRAY(SELECT e.parent_id FROM dray.execution e
        WHERE e.id = cancel_children.parent AND e.parent_id IS NOT NULL AND e.finished_at IS NOT NULL AND e.detached IS NOT TRUE))
$$;

-- Puts marks on their rows, at most `wanted`: as wake_executions, and queued, waiting, paused -> cancelled or the mark that cancels what runs.
-- A row that is still locked keeps its mark for the next turn. Returns how many marks are done with.
CREATE FUNCTION dray.place_marks(wanted integer) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    marks bigint[] := ARRAY(SELECT m.id FROM dray.pending_mark m ORDER BY m.id LIMIT wanted FOR UPDATE SKIP LOCKED);
    free uuid[];
    woken uuid[];
    cancelled uuid[];
    total integer;
BEGIN
    IF cardinality(marks) = 0 THEN
        RETURN 0;
    END IF;
    free := ARRAY(SELECT e.id FROM dray.execution e
        WHERE e.id = ANY (ARRAY(SELECT m.execution_id FROM dray.pending_mark m WHERE m.id = ANY (marks))) FOR NO KEY UPDATE SKIP LOCKED);
    WITH done AS (
        DELETE FROM dray.pending_mark m WHERE m.id = ANY (marks) AND (m.execution_id = ANY (free)
            OR (SELECT e.id FROM dray.execution e WHERE e.id = m.execution_id) IS NULL)
        RETURNING m.execution_id, m.mark
    )
    SELECT count(*), array_agg(d.execution_id) FILTER (WHERE d.mark = 'wake'), array_agg(d.execution_id) FILTER (WHERE d.mark = 'cancel')
    INTO total, woken, cancelled FROM done d;
    IF woken IS NOT NULL THEN
        PERFORM dray.wake_executions(woken);
    END IF;
    IF cancelled IS NOT NULL THEN
        WITH hit AS (
            UPDATE dray.execution e SET
                status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
                control = CASE WHEN e.status = 'running' THEN 'cancel' END,
                finished_at = CASE WHEN e.status = 'running' THEN NULL ELSE clock_timestamp() END,
                wake_at = NULL
            WHERE e.id = ANY (cancelled) AND e.finished_at IS NULL
            RETURNING e.id, e.finished_at, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END AS parent
        )
        SELECT array_agg(h.id), array_agg(h.parent) FILTER (WHERE h.parent IS NOT NULL) INTO cancelled, woken FROM hit h WHERE h.finished_at IS NOT NULL;
        PERFORM dray.mark_family(cancelled, woken);
    END IF;
    RETURN total;
END $$;
