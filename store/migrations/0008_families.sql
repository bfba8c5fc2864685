-- A cancel takes all that is below an execution along in one transaction, and is kept with who asked and why.

-- Who asked for the cancel of an execution. Written once, by the first who asks; deleted with the execution.
CREATE TABLE dray.cancellation (
    execution_id uuid PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    role         text NOT NULL DEFAULT current_user,
    asked_by     text,
    reason       text,
    CONSTRAINT cancellation_length_check CHECK (length(asked_by) <= 200 AND length(reason) <= 2000)
);

-- begin: a child whose parent somebody had locked when it was started; it waits until it is known whether that one is cancelled.
ALTER TABLE dray.pending_mark DROP CONSTRAINT pending_mark_check, ADD CONSTRAINT pending_mark_check CHECK (mark IN ('wake', 'cancel', 'begin'));

-- Tells drivers that something was asked of what they hold; one that does not listen sees it within a second. Always, as people ask rarely.
CREATE FUNCTION dray.tell_drivers() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_notify('dray', 'control')
$$;

-- All below these that has not ended and is waited for, in the order of the ids.
CREATE FUNCTION dray.below(ids uuid[]) RETURNS uuid[] LANGUAGE sql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH RECURSIVE below (id) AS (
        SELECT e.id FROM dray.execution e WHERE e.parent_id = ANY ($1) AND e.finished_at IS NULL AND e.detached IS NOT TRUE
        UNION
        SELECT e.id FROM below b JOIN dray.execution e ON e.parent_id = b.id AND e.finished_at IS NULL AND e.detached IS NOT TRUE
    )
    SELECT coalesce(array_agg(b.id ORDER BY b.id), '{}') FROM below b
$$;

-- queued, waiting, paused -> cancelled, and the mark that cancels what runs: all that is below these, whose rows the caller has changed. Who
-- starts a child locks its parent, so once a row is ours nothing new comes below it: looked for until nothing is new.
-- patient: waits a moment for rows that others have locked, in the order of their ids. Whoever cannot be waited for is left a mark.
CREATE FUNCTION dray.cancel_below(ids uuid[], patient boolean) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '500ms' AS $$
DECLARE
    found uuid[] := dray.below(ids);
    fresh uuid[] := found;
    seen uuid[] := '{}';
    held uuid[] := '{}';
    waits boolean := patient;
    runs boolean;
BEGIN
    WHILE cardinality(fresh) > 0 LOOP
        IF waits THEN
            BEGIN
                PERFORM 1 FROM dray.execution e WHERE e.id = ANY (fresh) ORDER BY e.id FOR NO KEY UPDATE;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                waits := false;
            END;
        END IF;
        held := held || ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (fresh) FOR NO KEY UPDATE SKIP LOCKED);
        seen := seen || fresh;
        fresh := ARRAY(SELECT unnest(dray.below(ids)) EXCEPT SELECT unnest(seen));
    END LOOP;
    IF seen = '{}' THEN
        RETURN;
    END IF;
    INSERT INTO dray.pending_mark (execution_id, mark) SELECT u.id, 'cancel' FROM unnest(seen) u (id) WHERE u.id <> ALL (held);
    WITH hit AS (
        UPDATE dray.execution e SET
            status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
            control = CASE WHEN e.status = 'running' THEN 'cancel' END,
            finished_at = CASE WHEN e.status = 'running' THEN NULL ELSE clock_timestamp() END,
            wake_at = NULL
        WHERE e.id = ANY (held) AND e.status IN ('queued', 'waiting', 'paused', 'running')
        RETURNING e.status
    )
    SELECT bool_or(h.status = 'running') INTO runs FROM hit h;
    IF runs THEN
        PERFORM dray.tell_drivers();
    END IF;
END $$;

-- What follows from the end of executions, or from the wish to cancel them: all that is below them is cancelled, and `parents` (of those that
-- ended) are to be woken, within a second (place_marks). Waits for nobody.
CREATE OR REPLACE FUNCTION dray.mark_family(ids uuid[], parents uuid[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT dray.cancel_below(ids, false);
    INSERT INTO dray.pending_mark (execution_id, mark) SELECT DISTINCT u.id, 'wake' FROM unnest(parents) AS u (id)
$$;

DROP FUNCTION dray.bulk(text, jsonb, integer, uuid, boolean);
DROP FUNCTION dray.cancel(uuid);
DROP FUNCTION dray.cancel_children(uuid);

-- queued, waiting, paused -> cancelled at once; running -> marked, its driver cancels it: this one, and all below it that is waited for, so that
-- nothing of that begins after this transaction. Returns the status now, `cancelling` for the mark, NULL for no such id. Whoever waits for it hears
-- of its end within a second. patient: see cancel_below.
CREATE FUNCTION dray.cancel_one(id uuid, reason text, by text, patient boolean) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    hit dray.execution;
    answer text;
BEGIN
    UPDATE dray.execution e SET
        status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
        control = CASE WHEN e.status = 'running' THEN 'cancel' END,
        finished_at = CASE WHEN e.status = 'running' THEN NULL ELSE clock_timestamp() END,
        wake_at = NULL
    WHERE e.id = cancel_one.id AND e.status IN ('queued', 'waiting', 'paused', 'running')
    RETURNING e.* INTO hit;
    IF hit.id IS NULL THEN
        SELECT e.status INTO answer FROM dray.execution e WHERE e.id = cancel_one.id;
        RETURN answer;
    END IF;
    INSERT INTO dray.cancellation (execution_id, asked_by, reason) VALUES (hit.id, nullif(cancel_one.by, ''), nullif(cancel_one.reason, ''))
    ON CONFLICT DO NOTHING;
    PERFORM dray.cancel_below(ARRAY[hit.id], patient);
    IF hit.status = 'running' THEN
        PERFORM dray.tell_drivers();
        RETURN 'cancelling';
    END IF;
    IF hit.parent_id IS NOT NULL AND hit.detached IS NOT TRUE THEN
        INSERT INTO dray.pending_mark (execution_id, mark) VALUES (hit.parent_id, 'wake');
    END IF;
    PERFORM dray.wake_drivers();
    RETURN hit.status;
END $$;

-- reason, by: kept and shown, beside the database role. `by`: who asked, where one role speaks for many people.
CREATE FUNCTION dray.cancel(id uuid, reason text DEFAULT NULL, by text DEFAULT NULL) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT dray.cancel_one($1, $2, $3, true)
$$;

-- Who had this execution cancelled, or one above it that took it along: {"at", "role", "by", "reason", "execution": the one that was meant}.
CREATE FUNCTION dray.cancelled_by(id uuid) RETURNS jsonb LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH RECURSIVE up (id, parent_id, step) AS (
        SELECT e.id, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END, 0 FROM dray.execution e
        WHERE e.id = $1 AND (e.status = 'cancelled' OR e.control = 'cancel')
        UNION ALL
        SELECT e.id, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END, u.step + 1 FROM up u JOIN dray.execution e ON e.id = u.parent_id
        WHERE e.status = 'cancelled' OR e.control = 'cancel'
    )
    SELECT jsonb_build_object('at', c.at, 'role', c.role, 'by', c.asked_by, 'reason', c.reason, 'execution', c.execution_id)
    FROM up u JOIN dray.cancellation c ON c.execution_id = u.id ORDER BY u.step LIMIT 1
$$;

-- cancel, pause, resume or retry of the first `most` executions that a filter takes, in the order of their ids, beginning behind `behind`.
-- Those that somebody keeps locked are left out; for what is below them, as cancel_below, it waits two seconds in all. latest: retries in the
-- latest version, and leaves out what does not fit there. reason, by: of cancels. done: how many. last: the last that was looked at; NULL: that was all.
CREATE FUNCTION dray.bulk(action text, filter jsonb DEFAULT '{}', most integer DEFAULT 500, behind uuid DEFAULT NULL, latest boolean DEFAULT false,
    reason text DEFAULT NULL, by text DEFAULT NULL, OUT done integer, OUT last uuid) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    began timestamptz := clock_timestamp();
    ids uuid[] := ARRAY(SELECT b FROM dray.bulk_ids(bulk.action, bulk.filter, bulk.behind, bulk.most, NULL) b);
    this uuid;
    held uuid[];
BEGIN
    done := 0;
    last := ids[cardinality(ids)];
    held := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED);
    -- Anew, now that nobody else changes them: somebody may have been faster.
    FOREACH this IN ARRAY ARRAY(SELECT b FROM dray.bulk_ids(bulk.action, bulk.filter, NULL, NULL, held) b) LOOP
        IF latest AND bulk.action = 'retry' THEN
            BEGIN
                PERFORM dray.retry(this, true);
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                CONTINUE;
            END;
        ELSE
            PERFORM CASE bulk.action WHEN 'cancel' THEN dray.cancel_one(this, bulk.reason, bulk.by, clock_timestamp() < began + interval '2 s')
                WHEN 'pause' THEN dray.pause(this)
                WHEN 'resume' THEN dray.resume(this) ELSE dray.retry(this)::text END;
        END IF;
        done := done + 1;
    END LOOP;
END $$;

-- (nothing) -> queued: children, of the priority and queue of their parents. Refuses the whole commit where a workflow is not there or the
-- children are nested too deeply; the driver then finds the one that it was by halves. A child that is there already is left as it is.
-- workflow: a name, else the number of a stored version.
-- The parent is locked, so that a cancel of this moment either sees the child or is seen here: then none is started. (nothing) -> waiting where
-- somebody else has the parent locked: nobody waits for that, a mark lets the child begin once it is known whether it may.
CREATE OR REPLACE FUNCTION dray.start_children(ids uuid[], parents uuid[], workflows text[], versions integer[], inputs jsonb[], detached boolean[])
RETURNS void LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    most CONSTANT integer := 10;
    held uuid[] := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (parents) FOR NO KEY UPDATE SKIP LOCKED);
    child record;
    graph_id integer;
    parent dray.execution;
    waits boolean;
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
        waits := child.detached IS NOT TRUE AND child.parent <> ALL (held);
        CONTINUE WHEN child.detached IS NOT TRUE AND (parent.control = 'cancel' OR parent.finished_at IS NOT NULL);
        INSERT INTO dray.execution (id, workflow_id, priority, queue, parent_id, depth, detached, status)
        VALUES (child.id, graph_id, parent.priority, parent.queue, child.parent, coalesce(parent.depth, 0) + 1, nullif(child.detached, false),
            CASE WHEN waits THEN 'waiting' ELSE 'queued' END)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO dray.execution_input (execution_id, input) VALUES (child.id, coalesce(child.input, '{}'));
            INSERT INTO dray.pending_mark (execution_id, mark) SELECT child.id, 'begin' WHERE waits;
        END IF;
    END LOOP;
    PERFORM dray.limit_executions(ids);
    PERFORM dray.wake_drivers();
END $$;

-- For those of these children that still wait to begin: waiting -> queued, or -> cancelled where the parent is, or is gone. Gives those whose
-- parent somebody has locked: they have to wait on.
CREATE FUNCTION dray.begin_children(ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    parents uuid[] := ARRAY(SELECT DISTINCT e.parent_id FROM dray.execution e WHERE e.id = ANY (ids));
    gone uuid[] := ARRAY(SELECT unnest(parents) EXCEPT SELECT e.id FROM dray.execution e WHERE e.id = ANY (parents));
    held uuid[] := gone || ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (parents) FOR NO KEY UPDATE SKIP LOCKED);
    stopped uuid[] := gone || ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (held) AND (e.control = 'cancel' OR e.finished_at IS NOT NULL));
BEGIN
    UPDATE dray.execution e SET
        status = CASE WHEN e.parent_id = ANY (stopped) THEN 'cancelled' ELSE 'queued' END,
        finished_at = CASE WHEN e.parent_id = ANY (stopped) THEN clock_timestamp() END
    WHERE e.id = ANY (ids) AND e.parent_id = ANY (held) AND e.claim_count = 0
        AND (e.status = 'waiting' OR e.status = 'paused' AND e.parent_id = ANY (stopped));
    PERFORM dray.wake_drivers();
    RETURN ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) AND e.parent_id <> ALL (held));
END $$;

-- Puts marks on their rows, at most `wanted`: as wake_executions and begin_children, and queued, waiting, paused -> cancelled or the mark that
-- cancels what runs, with all below. A row that is still locked keeps its mark, and stands in nobody's way. Returns how many are done with.
CREATE OR REPLACE FUNCTION dray.place_marks(wanted integer) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    marks bigint[];
    woken uuid[];
    cancelled uuid[];
    begun uuid[];
    kept uuid[];
    running boolean;
    total integer;
BEGIN
    IF (SELECT m.id FROM dray.pending_mark m LIMIT 1) IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM dray.pending_mark m WHERE m.id = ANY (ARRAY(SELECT o.id FROM dray.pending_mark o
        WHERE (SELECT e.id FROM dray.execution e WHERE e.id = o.execution_id) IS NULL ORDER BY o.id LIMIT wanted FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS total = ROW_COUNT;
    -- Locked rows do not count for the limit.
    marks := ARRAY(SELECT m.id FROM dray.pending_mark m JOIN dray.execution e ON e.id = m.execution_id
        ORDER BY m.id LIMIT wanted FOR UPDATE OF m SKIP LOCKED FOR NO KEY UPDATE OF e SKIP LOCKED);
    IF marks = '{}' THEN
        RETURN total;
    END IF;
    SELECT array_agg(m.execution_id) FILTER (WHERE m.mark = 'wake'), array_agg(m.execution_id) FILTER (WHERE m.mark = 'cancel'),
        array_agg(m.execution_id) FILTER (WHERE m.mark = 'begin')
    INTO woken, cancelled, begun FROM dray.pending_mark m WHERE m.id = ANY (marks);
    IF begun IS NOT NULL THEN
        kept := dray.begin_children(begun);
    END IF;
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
        SELECT array_agg(h.id), array_agg(h.parent) FILTER (WHERE h.parent IS NOT NULL AND h.finished_at IS NOT NULL), bool_or(h.finished_at IS NULL)
        INTO cancelled, woken, running FROM hit h;
        PERFORM dray.mark_family(cancelled, woken);
        IF running THEN
            PERFORM dray.tell_drivers();
        END IF;
    END IF;
    DELETE FROM dray.pending_mark m WHERE m.id = ANY (marks) AND (m.mark <> 'begin' OR m.execution_id = ANY (kept) IS NOT TRUE);
    RETURN total + cardinality(marks) - coalesce(cardinality(kept), 0);
END $$;

-- queued, waiting -> paused at once; running -> marked: what runs of it is finished and recorded, nothing more is started, and its driver
-- gives it back as paused. Returns the status now, `pausing` for the mark, `cancelling` for one that is to be cancelled, which stays so, or how
-- it has ended; NULL for no such id. wake_at stays, so that resume knows what it waited for.
CREATE OR REPLACE FUNCTION dray.pause(id uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE answer text;
BEGIN
    UPDATE dray.execution e SET
        status = CASE WHEN e.status = 'running' THEN e.status ELSE 'paused' END,
        control = CASE WHEN e.status = 'running' THEN 'pause' END
    WHERE e.id = pause.id AND e.status IN ('queued', 'waiting', 'running') AND e.control IS DISTINCT FROM 'cancel'
    RETURNING CASE WHEN e.status = 'running' THEN 'pausing' ELSE e.status END INTO answer;
    IF answer = 'pausing' THEN
        PERFORM dray.tell_drivers();
    ELSIF answer IS NULL THEN
        SELECT CASE WHEN e.control = 'cancel' THEN 'cancelling' ELSE e.status END INTO answer FROM dray.execution e WHERE e.id = pause.id;
    END IF;
    RETURN answer;
END $$;
