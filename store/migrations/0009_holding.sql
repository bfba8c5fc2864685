-- A driver writes only to what it holds: by its lease, by its name in the row, and by the claim that put it there.

DROP FUNCTION dray.commit_if_fenced(uuid, boolean, uuid[], text[], smallint[], text[], text[], jsonb[], double precision[], integer[], integer[], uuid[], text[], double precision[], jsonb[], integer[],
    uuid[], uuid[], text[], integer[], jsonb[], boolean[], bigint[], text[]);
-- The group commit. Records outcomes, with the children that they start and the signals that they take, and settles executions: running ->
-- completed, failed, cancelled, waiting (queued at once where something woke it meanwhile), queued or paused. fenced = false: the lease is
-- lost and nothing was written.
-- held_ids, held_claims: the executions that any of it is about, each once, and the claim_count of the claim that it is about; NULL: whichever.
-- refused: those of them that this incarnation does not hold by that claim (any more). Then nothing was written, and the driver sends the rest.
-- So neither a driver that has lost count of what it holds, nor a commit that is repeated after a lost answer, writes to what is another's.
-- settled: the executions that were settled; those that are neither here nor in refused somebody else keeps locked.
-- claims: which claim of it each settlement ends, as held_claims.
CREATE FUNCTION dray.commit_if_fenced(incarnation uuid, again boolean,
    execution_ids uuid[], node_keys text[], attempts smallint[], kinds text[], branches text[], outcomes jsonb[], waits double precision[],
    runners integer[], durations integer[],
    settle_ids uuid[], statuses text[], wake_in double precision[], errors jsonb[], claims integer[],
    child_ids uuid[], child_parents uuid[], child_workflows text[], child_versions integer[], child_inputs jsonb[], child_detached boolean[],
    taken_ids bigint[], taken_by text[], held_ids uuid[], held_claims integer[])
RETURNS TABLE (fenced boolean, settled uuid[], refused uuid[])
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    live_until timestamptz;
    held uuid[];
    woken uuid[];
    stopped uuid[];
    to_claim boolean;
BEGIN
    -- The clock is read once the lock is there: a reaper that had it may have left the row.
    SELECT d.lease_until INTO live_until FROM dray.driver d WHERE d.id = incarnation FOR KEY SHARE;
    fenced := coalesce(live_until > clock_timestamp(), false);
    IF NOT fenced THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT array_agg(h.id) INTO refused FROM unnest(held_ids, held_claims) AS h (id, claim)
    WHERE (SELECT e.owner FROM dray.execution e WHERE e.id = h.id AND e.claim_count = coalesce(h.claim, e.claim_count)) IS DISTINCT FROM incarnation;
    IF refused IS NOT NULL THEN
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
    IF cardinality(child_ids) > 0 THEN
        PERFORM dray.start_children(child_ids, child_parents, child_workflows, child_versions, child_inputs, child_detached);
    END IF;
    IF cardinality(taken_ids) > 0 THEN
        UPDATE dray.signal s SET consumed_at = clock_timestamp(), consumed_by = t.node_key
        FROM unnest(taken_ids, taken_by) AS t (id, node_key) WHERE s.id = t.id AND s.id = ANY (taken_ids) AND s.consumed_at IS NULL;
    END IF;
    IF 'g' = ANY (kinds) THEN
        woken := dray.early_signals(execution_ids, node_keys, kinds, outcomes);
    END IF;
    IF kinds && '{f,d}' THEN
        INSERT INTO dray.pending_mark (execution_id, mark) SELECT c.id, 'cancel' FROM dray.awaited_children(execution_ids, node_keys, kinds) AS c (id);
    END IF;
    -- A row that somebody keeps locked (a transaction that called cancel or signal and is still open) is left out, and sent again by the
    -- driver: all its other executions must not wait for that one.
    held := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (settle_ids) AND (e.owner = incarnation) IS TRUE FOR NO KEY UPDATE SKIP LOCKED);
    WITH ended AS (
        UPDATE dray.execution e SET
            owner = NULL,
            control = NULL,
            wake = false,
            status = CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN s.status
                WHEN e.control = 'cancel' THEN 'cancelled'
                WHEN e.control = 'pause' THEN 'paused'
                -- Resumed before it came to the pause, or woken while it parked.
                WHEN s.status = 'paused' OR s.status = 'waiting' AND e.wake IS NOT FALSE THEN 'queued'
                ELSE s.status END,
            finished_at = CASE WHEN s.status IN ('completed', 'failed', 'cancelled') OR e.control = 'cancel' THEN clock_timestamp() END,
            wake_at = CASE WHEN s.status = 'waiting' AND e.control IS NULL AND e.wake IS FALSE THEN clock_timestamp() + s.wake_in * interval '1 second' END,
            error = s.error
        FROM unnest(settle_ids, statuses, wake_in, errors, claims) AS s (id, status, wake_in, error, claim)
        WHERE e.id = s.id AND e.id = ANY (held) AND e.claim_count = coalesce(s.claim, e.claim_count)
        RETURNING e.id, e.status, e.parent_id, s.status IN ('waiting', 'paused') AND e.status = 'queued' AS to_claim,
            e.finished_at IS NOT NULL AND e.parent_id IS NOT NULL AND e.detached IS NOT TRUE AS is_news
    )
    SELECT array_agg(n.id), woken || array_agg(n.parent_id) FILTER (WHERE n.is_news),
        array_agg(n.id) FILTER (WHERE n.status IN ('failed', 'cancelled')), bool_or(n.to_claim)
    INTO settled, woken, stopped, to_claim FROM ended n;
    IF stopped IS NOT NULL THEN
        PERFORM dray.mark_family(stopped, NULL);
    END IF;
    IF woken IS NOT NULL THEN
        PERFORM dray.wake_executions(woken);
    END IF;
    IF to_claim THEN
        PERFORM dray.wake_drivers();
    END IF;
    RETURN NEXT;
END $$;
