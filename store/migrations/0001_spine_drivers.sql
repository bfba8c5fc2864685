-- What drivers call: claim and commit, and the two ways in which an incarnation ends.

-- The two statements that run all the time are functions so that a connection plans them once, behind a pooler too, where nothing can be
-- prepared. Measured, CPU of the server in ms, against the same as a statement: a commit of one outcome 0.25 (0.60), of 1,000 outcomes and
-- 100 ends 5.5 .. 8 (9.2), a claim of one 0.2 (0.5), of 500 3.7 (7.4). A plan is kept however the tables grow, so each can only be one
-- that reads what it must: rows are named by arrays or found by subqueries that run for each row, and the settings leave no other way.

-- queued -> running, at most `wanted`, highest priority first, then oldest; skips rows that another claim is taking.
-- One row with fenced = false: the lease is lost and nothing was taken. No row: nothing is queued.
CREATE FUNCTION dray.claim_if_fenced(incarnation uuid, queues text[], wanted integer)
RETURNS TABLE (fenced boolean, id uuid, workflow_id integer, claim_count integer, crash_count smallint, age double precision, input jsonb)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
-- Without these a queue that seems short is read whole and sorted (200,000 queued: 11,600 pages for a claim of 500, in index order 6,400).
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM dray.driver d WHERE d.id = incarnation AND d.lease_until > clock_timestamp() FOR KEY SHARE;
    fenced := FOUND;
    IF NOT fenced THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    WITH candidate AS MATERIALIZED (
        -- One index range per queue, so that each is read in index order.
        SELECT c.id FROM unnest(queues) AS q (name), LATERAL (
            SELECT e.id, e.priority, e.run_at FROM dray.execution e WHERE e.status = 'queued' AND e.queue = q.name
            ORDER BY e.priority DESC, e.run_at LIMIT wanted FOR NO KEY UPDATE SKIP LOCKED
        ) AS c
        ORDER BY c.priority DESC, c.run_at LIMIT wanted
    ), claimed AS (
        UPDATE dray.execution e SET
            status = 'running',
            owner = incarnation,
            claim_count = e.claim_count + 1,
            wake = false,
            started_at = coalesce(e.started_at, clock_timestamp())
        WHERE e.id = ANY (ARRAY(SELECT c.id FROM candidate c))
        RETURNING e.id, e.workflow_id, e.claim_count, e.crash_count, e.started_at
    )
    SELECT true, c.id, c.workflow_id, c.claim_count, c.crash_count,
        extract(epoch FROM clock_timestamp() - c.started_at)::double precision,
        (SELECT i.input FROM dray.execution_input i WHERE i.execution_id = c.id)
    FROM claimed c;
END $$;

-- The group commit. Records outcomes, and settles executions: running -> completed, failed, cancelled, waiting (queued at once where
-- something woke it meanwhile) or queued. fenced = false: the lease is lost and nothing was written.
-- settled: the executions that were ours to settle.
-- claims: which claim of it each settlement ends, by claim_count; NULL: whichever. A commit that is repeated after a lost answer must not
-- take away what its incarnation claimed anew in between.
CREATE FUNCTION dray.commit_if_fenced(incarnation uuid, again boolean,
    execution_ids uuid[], node_keys text[], attempts smallint[], kinds text[], branches text[], outcomes jsonb[], waits double precision[],
    runners integer[], durations integer[],
    settle_ids uuid[], statuses text[], wake_in double precision[], errors jsonb[], claims integer[])
RETURNS TABLE (fenced boolean, settled uuid[])
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE held uuid[];
BEGIN
    PERFORM 1 FROM dray.driver d WHERE d.id = incarnation AND d.lease_until > clock_timestamp() FOR KEY SHARE;
    fenced := FOUND;
    IF NOT fenced THEN
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO dray.checkpoint (execution_id, at, runner, duration_ms, attempt, kind, node_key, branch, wake_at, outcome)
    SELECT o.execution_id, clock_timestamp(), o.runner, o.duration_ms, o.attempt, o.kind::"char", o.node_key, o.branch,
        clock_timestamp() + o.wait * interval '1 second', o.outcome
    FROM unnest(execution_ids, node_keys, attempts, kinds, branches, outcomes, waits, runners, durations)
        AS o (execution_id, node_key, attempt, kind, branch, outcome, wait, runner, duration_ms)
    -- No ON CONFLICT: its speculative insert logs 48 bytes more per outcome (361 against 313). Only a commit that is repeated after a
    -- lost answer meets rows of its own; it fails on the primary key, and is sent again with again = true to leave those out.
    WHERE NOT again OR (SELECT c.kind FROM dray.checkpoint c
        WHERE c.execution_id = o.execution_id AND c.node_key = o.node_key AND c.attempt = o.attempt) IS NULL;
    -- A row that somebody keeps locked (a transaction that called cancel or signal and is still open) is left out, and sent again by the
    -- driver: all its other executions must not wait for that one.
    held := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (settle_ids) AND (e.owner = incarnation) IS TRUE FOR NO KEY UPDATE SKIP LOCKED);
    WITH ended AS (
        UPDATE dray.execution e SET
            owner = NULL,
            control = NULL,
            wake = false,
            status = CASE WHEN s.status NOT IN ('waiting', 'queued') THEN s.status WHEN e.control = 'cancel' THEN 'cancelled'
                WHEN e.wake THEN 'queued' ELSE s.status END,
            finished_at = CASE WHEN s.status NOT IN ('waiting', 'queued') OR e.control = 'cancel' THEN clock_timestamp() END,
            wake_at = CASE WHEN s.status = 'waiting' AND e.control IS DISTINCT FROM 'cancel' AND NOT e.wake THEN clock_timestamp() + s.wake_in * interval '1 second' END,
            error = s.error
        FROM unnest(settle_ids, statuses, wake_in, errors, claims) AS s (id, status, wake_in, error, claim)
        WHERE e.id = s.id AND e.id = ANY (held) AND e.claim_count = coalesce(s.claim, e.claim_count)
        RETURNING e.id
    )
    SELECT array_agg(ended.id) INTO settled FROM ended;
    RETURN NEXT;
END $$;

-- running -> queued (or cancelled, where that was asked for), for every incarnation whose lease ran out; its row goes, so it can never write again.
-- A function because each of its statements must see what committed before the row lock was granted: in one statement the update would
-- use a snapshot from before the lock, and miss what the dying driver claimed in between. A locked row is left to the next turn.
-- An execution that somebody keeps locked is waited for, but not for long: the next turn tries again.
-- Afterwards the same for incarnations that have no row (somebody deleted it, or the server's default isolation is not READ COMMITTED, so
-- that a claim was missed as said above): nobody else would ever look at what they held. One index entry is read for each owner.
CREATE FUNCTION dray.reap() RETURNS TABLE (driver uuid, host text, pid integer, requeued integer) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '2s' AS $$
DECLARE total integer := 0;
BEGIN
    FOR reap.driver, reap.host, reap.pid IN
        SELECT d.id, d.host, d.pid FROM dray.driver d WHERE d.lease_until < clock_timestamp() ORDER BY d.id FOR UPDATE SKIP LOCKED
    LOOP
        reap.requeued := dray.give_back(reap.driver, true);
        total := total + reap.requeued;
        DELETE FROM dray.driver d WHERE d.id = reap.driver;
        UPDATE dray.runner r SET ended_at = now(), ended = 'driver lost' WHERE r.driver = reap.driver AND r.ended_at IS NULL;
        RETURN NEXT;
    END LOOP;
    FOR reap.driver, reap.host, reap.pid IN
        WITH RECURSIVE holding (owner) AS (
            (SELECT e.owner FROM dray.execution e WHERE e.owner IS NOT NULL ORDER BY e.owner LIMIT 1)
            UNION ALL
            SELECT (SELECT e.owner FROM dray.execution e WHERE e.owner > h.owner ORDER BY e.owner LIMIT 1) FROM holding h WHERE h.owner IS NOT NULL
        )
        SELECT h.owner, 'unknown', 0 FROM holding h
        WHERE h.owner IS NOT NULL AND (SELECT d.id FROM dray.driver d WHERE d.id = h.owner) IS NULL
    LOOP
        reap.requeued := dray.give_back(reap.driver, true);
        total := total + reap.requeued;
        RETURN NEXT;
    END LOOP;
    IF total > 0 THEN
        PERFORM dray.wake_drivers();
    END IF;
END $$;

-- running -> queued or cancelled, all of one incarnation, in id order. crashed: count it; false for a planned stop.
-- crash_count counts the crashes in a row between which nothing was recorded: it grows for what kills its driver again and again, and
-- starts at 1 again for a long execution that lived through drivers' deaths of other causes. crashed_at, written here only, says since
-- when to look, so the claim writes nothing for it.
-- The settings and the array: as a plan of the first minute of a database it would read all executions for ever.
CREATE FUNCTION dray.give_back(incarnation uuid, crashed boolean) RETURNS integer LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    held uuid[] := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation);
    moved integer;
BEGIN
    PERFORM 1 FROM dray.execution e WHERE e.id = ANY (held) ORDER BY e.id FOR NO KEY UPDATE;
    UPDATE dray.execution e SET
        owner = NULL,
        control = NULL,
        status = CASE WHEN e.control = 'cancel' THEN 'cancelled' ELSE 'queued' END,
        finished_at = CASE WHEN e.control = 'cancel' THEN now() END,
        crash_count = CASE
            WHEN NOT crashed THEN e.crash_count
            WHEN (SELECT c.at FROM dray.checkpoint c WHERE c.execution_id = e.id AND c.at > e.crashed_at LIMIT 1) IS NOT NULL THEN 1
            ELSE e.crash_count + 1 END,
        crashed_at = CASE WHEN crashed THEN clock_timestamp() ELSE e.crashed_at END
    WHERE e.id = ANY (held) AND (e.owner = incarnation) IS TRUE;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END $$;

-- The planned end of an incarnation: gives everything back without counting a crash. NULL: it had been reaped already.
CREATE FUNCTION dray.release(incarnation uuid) RETURNS integer LANGUAGE plpgsql VOLATILE SET lock_timeout = '5s' AS $$
DECLARE moved integer;
BEGIN
    PERFORM 1 FROM dray.driver d WHERE d.id = incarnation FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    moved := dray.give_back(incarnation, false);
    DELETE FROM dray.driver d WHERE d.id = incarnation;
    UPDATE dray.runner r SET ended_at = now(), ended = 'driver stopped' WHERE r.driver = incarnation AND r.ended_at IS NULL;
    IF moved > 0 THEN
        PERFORM dray.wake_drivers();
    END IF;
    RETURN moved;
END $$;
