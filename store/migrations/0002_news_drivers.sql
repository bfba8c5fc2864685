-- The drivers' side of 0002_news.sql: the commit starts children, takes signals and wakes parents; pause holds what is given back.

-- (nothing) -> queued: children, of the priority and queue of their parents. Refuses the whole commit where a workflow is not there or the
-- children are nested too deeply; the driver then finds the one that it was by halves. A child that is there already is left as it is.
-- workflow: a name, else the number of a stored version.
CREATE FUNCTION dray.start_children(ids uuid[], parents uuid[], workflows text[], versions integer[], inputs jsonb[], detached boolean[])
RETURNS void LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    most CONSTANT integer := 10;
    child record;
    graph_id integer;
    parent dray.execution;
BEGIN
    FOR child IN SELECT u.* FROM unnest(ids, parents, workflows, versions, inputs, detached)
        AS u (id, parent, workflow, version, input, detached) ORDER BY u.id
    LOOP
        SELECT w.id INTO graph_id FROM dray.workflow w
        WHERE w.name = child.workflow AND (child.version IS NULL OR w.version = child.version) ORDER BY w.version DESC LIMIT 1;
        IF graph_id IS NULL AND child.version IS NULL AND child.workflow ~ '^[0-9]{1,9}$' THEN
            SELECT w.id INTO graph_id FROM dray.workflow w WHERE w.id = child.workflow::integer;
        END IF;
        IF graph_id IS NULL THEN
            RAISE EXCEPTION 'no workflow named "%"%', child.workflow, coalesce(' with version ' || child.version, '')
                USING ERRCODE = 'invalid_parameter_value', HINT = 'store it first: dray workflow apply FILE';
        END IF;
        SELECT e.* INTO parent FROM dray.execution e WHERE e.id = child.parent;
        IF coalesce(parent.depth, 0) >= most THEN
            RAISE EXCEPTION 'workflow "%" would be an execution below % others, and % is the most', child.workflow, parent.depth + 1, most
                USING ERRCODE = 'invalid_parameter_value', HINT = 'does it start itself? make it a loop';
        END IF;
        INSERT INTO dray.execution (id, workflow_id, priority, queue, parent_id, depth, detached)
        VALUES (child.id, graph_id, parent.priority, parent.queue, child.parent, coalesce(parent.depth, 0) + 1, nullif(child.detached, false))
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO dray.execution_input (execution_id, input) VALUES (child.id, coalesce(child.input, '{}'));
        END IF;
    END LOOP;
    PERFORM dray.limit_executions(ids);
    PERFORM dray.wake_drivers();
END $$;

-- Of these nodes (an execution's id and a key each), those that record now that they wait for a signal which is there already, unread: their
-- executions. A claim reads signals only for executions that waited before it.
CREATE FUNCTION dray.early_signals(execution_ids uuid[], node_keys text[], kinds text[], outcomes jsonb[])
RETURNS uuid[] LANGUAGE sql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT array_agg(DISTINCT o.execution_id) FROM unnest(execution_ids, node_keys, kinds, outcomes) AS o (execution_id, node_key, kind, outcome)
    JOIN dray.signal s ON s.execution_id = o.execution_id AND s.consumed_at IS NULL AND s.name = o.outcome ->> 'signal'
        AND (s.node IS NULL OR s.node IN (o.node_key, regexp_replace(o.node_key, '^.*/', '')))
    WHERE o.kind = 'g'
$$;

-- The children that these nodes waited for, where they have not ended: nobody waits for the child of a node that failed or was dropped.
CREATE FUNCTION dray.awaited_children(execution_ids uuid[], node_keys text[], kinds text[])
RETURNS SETOF uuid LANGUAGE sql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT e.id FROM unnest(execution_ids, node_keys, kinds) AS o (execution_id, node_key, kind)
    JOIN dray.checkpoint c ON c.execution_id = o.execution_id AND c.node_key = o.node_key AND c.kind = 'g'
    JOIN dray.execution e ON e.id = (c.outcome ->> 'child')::uuid AND e.finished_at IS NULL
    WHERE o.kind IN ('f', 'd')
$$;

-- The two statements that run all the time are functions so that a connection plans them once, behind a pooler too, where nothing can be
-- prepared. Measured, CPU of the server in ms, against the same as a statement: a commit of one outcome 0.25 (0.60), of 1,000 outcomes and
-- 100 ends 5.5 .. 8 (9.2), a claim of one 0.2 (0.5), of 500 3.7 (7.4). A plan is kept however the tables grow, so each can only be one
-- that reads what it must: rows are named by arrays or found by subqueries that run for each row, and the settings leave no other way.

-- The group commit. Records outcomes, with the children that they start and the signals that they take, and settles executions: running ->
-- completed, failed, cancelled, waiting (queued at once where something woke it meanwhile), queued or paused. fenced = false: the lease is
-- lost and nothing was written.
-- settled: the executions that were ours to settle.
-- claims: which claim of it each settlement ends, by claim_count; NULL: whichever. A commit that is repeated after a lost answer must not
-- take away what its incarnation claimed anew in between.
CREATE FUNCTION dray.commit_if_fenced(incarnation uuid, again boolean,
    execution_ids uuid[], node_keys text[], attempts smallint[], kinds text[], branches text[], outcomes jsonb[], waits double precision[],
    runners integer[], durations integer[],
    settle_ids uuid[], statuses text[], wake_in double precision[], errors jsonb[], claims integer[],
    child_ids uuid[], child_parents uuid[], child_workflows text[], child_versions integer[], child_inputs jsonb[], child_detached boolean[],
    taken_ids bigint[], taken_by text[])
RETURNS TABLE (fenced boolean, settled uuid[])
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    held uuid[];
    woken uuid[];
    stopped uuid[];
    to_claim boolean;
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

-- running -> queued, paused or cancelled (where that was asked for), all of one incarnation, in id order. crashed: count it; false for a
-- planned stop.
-- crash_count counts the crashes in a row between which nothing was recorded: it grows for what kills its driver again and again, and
-- starts at 1 again for a long execution that lived through drivers' deaths of other causes. crashed_at, written here only, says since
-- when to look, so the claim writes nothing for it.
-- The settings and the array: as a plan of the first minute of a database it would read all executions for ever.
CREATE FUNCTION dray.give_back(incarnation uuid, crashed boolean) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    held uuid[] := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation);
    moved integer;
    cancelled uuid[];
    parents uuid[];
BEGIN
    PERFORM 1 FROM dray.execution e WHERE e.id = ANY (held) ORDER BY e.id FOR NO KEY UPDATE;
    WITH given AS (
        UPDATE dray.execution e SET
            owner = NULL,
            control = NULL,
            status = CASE e.control WHEN 'cancel' THEN 'cancelled' WHEN 'pause' THEN 'paused' ELSE 'queued' END,
            finished_at = CASE WHEN e.control = 'cancel' THEN now() END,
            crash_count = CASE
                WHEN NOT crashed THEN e.crash_count
                WHEN (SELECT c.at FROM dray.checkpoint c WHERE c.execution_id = e.id AND c.at > e.crashed_at LIMIT 1) IS NOT NULL THEN 1
                ELSE e.crash_count + 1 END,
            crashed_at = CASE WHEN crashed THEN clock_timestamp() ELSE e.crashed_at END
        WHERE e.id = ANY (held) AND (e.owner = incarnation) IS TRUE
        RETURNING e.id, e.status, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END AS parent
    )
    SELECT count(*), array_agg(g.id) FILTER (WHERE g.status = 'cancelled'),
        array_agg(g.parent) FILTER (WHERE g.status = 'cancelled' AND g.parent IS NOT NULL)
    INTO moved, cancelled, parents FROM given g;
    IF cancelled IS NOT NULL THEN
        PERFORM dray.mark_family(cancelled, parents);
    END IF;
    RETURN moved;
END $$;

-- The signals that no node has taken, and the ends of children that nodes wait for, of these executions. A node waits from its g on until
-- something else than a retry or a lost runner is recorded of it.
CREATE FUNCTION dray.news_of(ids uuid[])
RETURNS TABLE (execution_id uuid, signal_id bigint, name text, node text, payload jsonb, child_id uuid, status text, output jsonb, error jsonb)
LANGUAGE sql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT s.execution_id, s.id, s.name, s.node, s.payload, NULL::uuid, NULL::text, NULL::jsonb, NULL::jsonb
    FROM dray.signal s WHERE s.execution_id = ANY (ids) AND s.consumed_at IS NULL
    UNION ALL
    SELECT c.execution_id, NULL, NULL, NULL, NULL, e.id, e.status, dray.output(e.id), e.error
    FROM dray.checkpoint c JOIN dray.execution e ON e.id = CASE WHEN c.kind = 'g' THEN (c.outcome ->> 'child')::uuid END
    WHERE c.execution_id = ANY (ids) AND c.kind = 'g' AND e.finished_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM dray.checkpoint l WHERE l.execution_id = c.execution_id AND l.node_key = c.node_key AND l.attempt > c.attempt
            AND l.kind IN ('c', 'w', 'f', 'g', 'd'))
    ORDER BY 1, 2, 6
$$;

-- The news of what this incarnation holds, for executions with the mark `wake`. The mark becomes NULL, in the transaction that reads: what
-- comes later sets it again. again: also of those that were read before, because the answer to that was lost. Skips locked rows, for the next turn.
CREATE FUNCTION dray.news_of_driver(incarnation uuid, again boolean)
RETURNS TABLE (execution_id uuid, signal_id bigint, name text, node text, payload jsonb, child_id uuid, status text, output jsonb, error jsonb)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    marked uuid[];
BEGIN
    IF again THEN
        marked := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation AND e.wake IS NOT FALSE FOR NO KEY UPDATE SKIP LOCKED);
    ELSE
        marked := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation AND e.wake FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    IF cardinality(marked) > 0 THEN
        UPDATE dray.execution e SET wake = NULL WHERE e.id = ANY (marked) AND e.wake;
        RETURN QUERY SELECT n.* FROM dray.news_of(marked) n;
    END IF;
END $$;
