-- What people's open transactions may lock, what they answer, and what they store. A driver waits for none of them longer than a moment.

-- The start of a transaction may lie before what it records follows from: the clock does not.
ALTER TABLE dray.signal ALTER COLUMN sent_at SET DEFAULT clock_timestamp();
ALTER TABLE dray.workflow ALTER COLUMN created_at SET DEFAULT clock_timestamp();
ALTER TABLE dray.schedule ALTER COLUMN created_at SET DEFAULT clock_timestamp();
ALTER TABLE dray.idempotency ALTER COLUMN created_at SET DEFAULT clock_timestamp();

-- The execution that was submitted with this key within `keep` before now (NULL: ever), else NULL, and the key is new_id's. Of two at once
-- one waits until the other has committed or rolled back. A key that is in use is only read, so that many may submit it again and again.
CREATE OR REPLACE FUNCTION dray.take_idempotency_key(workflow text, key text, new_id uuid, keep interval) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE earlier uuid;
BEGIN
    SELECT k.execution_id INTO earlier FROM dray.idempotency k WHERE k.workflow = $1 AND k.key = $2 AND (k.created_at <= clock_timestamp() - keep) IS NOT TRUE;
    IF earlier IS NULL THEN
        -- The update looks again at the row for which it waited.
        INSERT INTO dray.idempotency AS k (workflow, key, execution_id) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT idempotency_pkey DO UPDATE SET execution_id = $3, created_at = clock_timestamp()
        WHERE k.created_at <= clock_timestamp() - keep;
        IF NOT FOUND THEN
            SELECT k.execution_id INTO earlier FROM dray.idempotency k WHERE k.workflow = $1 AND k.key = $2;
        END IF;
    END IF;
    RETURN earlier;
END $$;

-- How many executions a claim may take from one queue; locks its row where anything is counted. tenants: whether its tenants take turns.
-- patience: how long to wait for somebody who has the row, or has made it and not committed: another claim ends at once, a person may not.
-- locked: it was not to be had, and nothing is taken from this queue.
DROP FUNCTION dray.queue_room(text, integer);
CREATE FUNCTION dray.queue_room(of_queue text, wanted integer, patience text,
    OUT room integer, OUT tenants boolean, OUT limited boolean, OUT rated boolean, OUT locked boolean)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off SET lock_timeout = '100ms' AS $$
DECLARE said dray.queue;
BEGIN
    room := wanted;
    locked := false;
    tenants := (SELECT c.id FROM dray.tenant_change c WHERE c.queue = of_queue LIMIT 1) IS NOT NULL;
    SELECT q.* INTO said FROM dray.queue q WHERE q.name = of_queue;
    limited := coalesce(said.paused, false) OR said.concurrency IS NOT NULL OR said.rate IS NOT NULL;
    rated := said.rate IS NOT NULL;
    tenants := tenants OR (SELECT t.name FROM dray.tenant t WHERE t.queue = of_queue LIMIT 1) IS NOT NULL;
    IF NOT (tenants OR limited) THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', patience, true); -- until this function ends
    BEGIN
        IF said.name IS NULL THEN
            INSERT INTO dray.queue AS q (name) VALUES (of_queue) ON CONFLICT DO NOTHING;
        END IF;
        SELECT q.* INTO said FROM dray.queue q WHERE q.name = of_queue FOR NO KEY UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        locked := true;
    END;
    IF locked OR said.paused THEN
        limited := true;
        rated := false;
        room := 0;
        RETURN;
    END IF;
    rated := said.rate IS NOT NULL;
    limited := said.concurrency IS NOT NULL OR rated;
    IF said.concurrency IS NOT NULL THEN
        room := least(room, said.concurrency - (SELECT count(*)::integer FROM (
            SELECT 1 FROM dray.driver d CROSS JOIN LATERAL (
                SELECT 1 FROM dray.execution e WHERE e.owner = d.id AND e.queue = of_queue LIMIT said.concurrency) e
            LIMIT said.concurrency) s));
    END IF;
    IF rated THEN
        DELETE FROM dray.queue_start s WHERE s.queue = of_queue AND s.at <= clock_timestamp() - said.per * interval '1 second';
        room := least(room, said.rate - (SELECT coalesce(sum(s.count), 0)::integer FROM dray.queue_start s WHERE s.queue = of_queue));
    END IF;
    room := greatest(0, room);
    IF tenants THEN
        WITH gone AS (
            DELETE FROM dray.tenant_change c WHERE c.id = ANY (ARRAY(
                SELECT t.id FROM dray.tenant_change t WHERE t.queue = of_queue LIMIT 10000 FOR UPDATE SKIP LOCKED))
            RETURNING c.name
        )
        INSERT INTO dray.tenant AS t (queue, name, turn)
        SELECT of_queue, n.name, clock_timestamp() FROM (SELECT g.name FROM gone g UNION SELECT '') n
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- What a claim takes where anything is limited. limited: limits hold here. more: there are notes left to follow. rated: the queues whose starts are counted.
CREATE OR REPLACE FUNCTION dray.pick_limited(queues text[], wanted integer, OUT picked uuid[], OUT limited boolean, OUT more boolean, OUT rated text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    name text;
    here record;
    names text[] := '{}';
    rooms integer[] := '{}';
    turning text[] := '{}';
    turning_rooms integer[] := '{}';
    before integer;
    patience text := '100ms';
    notes integer := dray.open_gates();
BEGIN
    picked := '{}';
    rated := '{}';
    limited := notes > 0;
    more := notes = 1000;
    FOR name IN SELECT DISTINCT q FROM unnest(queues) q ORDER BY q LOOP  -- in the order of the locks
        SELECT * INTO here FROM dray.queue_room(name, wanted, patience);
        limited := limited OR here.limited;
        IF here.locked THEN
            patience := '1ms'; -- once in a claim: a transaction may keep many queues
            CONTINUE;
        END IF;
        IF here.rated THEN
            rated := rated || name;
        END IF;
        IF here.tenants THEN
            turning := turning || name;
            turning_rooms := turning_rooms || here.room;
        ELSE
            names := names || name;
            rooms := rooms || here.room;
        END IF;
    END LOOP;
    -- Queues with turns get their share of the room first, then the others, then again those with turns. The odd one by lot.
    FOR n IN 1 .. cardinality(turning) LOOP
        before := cardinality(picked);
        picked := dray.take_turns(turning[n], least(turning_rooms[n], wanted - before,
            trunc(wanted::double precision / (cardinality(names) + cardinality(turning)) + random())::integer), picked);
        turning_rooms[n] := turning_rooms[n] - (cardinality(picked) - before);
    END LOOP;
    picked := picked || dray.first_of(names, rooms, wanted - cardinality(picked));
    FOR n IN 1 .. cardinality(turning) LOOP
        picked := dray.take_turns(turning[n], least(turning_rooms[n], wanted - cardinality(picked)), picked);
    END LOOP;
END $$;

-- Keeps the signal, and wakes its execution: waiting -> queued, or the mark `wake` that its driver reads and a park of this moment will see.
-- One that waits for its run_at goes on waiting. False: the execution is over or unknown. The row is locked first: so the signals of one
-- execution are numbered in the order of their commits, and a driver that reads after that lock sees them.
-- human_input is an answer (see dray.question): one that its question has already is dropped, so that it is nobody else's.
CREATE OR REPLACE FUNCTION dray.signal(id uuid, name text, payload jsonb DEFAULT NULL, node text DEFAULT NULL, dedupe text DEFAULT NULL)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    target text := signal.node;
    late boolean := false;
BEGIN
    PERFORM 1 FROM dray.execution e WHERE e.id = signal.id AND e.status IN ('queued', 'waiting', 'paused', 'running') FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF signal.name = 'human_input' THEN
        SELECT q.target, q.late INTO target, late FROM dray.question(signal.id, coalesce(signal.node, nullif(signal.payload ->> 'node_id', ''))) q;
    END IF;
    IF late THEN
        RETURN true;
    END IF;
    INSERT INTO dray.signal AS s (execution_id, name, payload, node, dedupe)
    VALUES (signal.id, signal.name, signal.payload, target, signal.dedupe) ON CONFLICT DO NOTHING;
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

-- Which question an answer is for. of_node: the id or key of the node that asks, where the answer says one; NULL: the one that is open.
-- target: the key of the one open question, so that no other takes the answer; else as of_node. late: the open ones have answers enough that
-- nobody has read, of their options, or what was asked is answered already: this is a repetition. An answer before the first question is kept for it.
CREATE FUNCTION dray.question(of_execution uuid, of_node text, OUT target text, OUT late boolean) LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    WITH asked AS MATERIALIZED (
        SELECT c.node_key, regexp_replace(c.node_key, '^.*/', '') AS node, c.outcome #> '{state,options}' AS options, NOT EXISTS (
            SELECT FROM dray.checkpoint l WHERE l.execution_id = c.execution_id AND l.node_key = c.node_key AND l.attempt > c.attempt
                AND l.kind IN ('c', 'w', 'f', 'g', 'd')) AS is_open
        FROM dray.checkpoint c
        WHERE c.execution_id = $1 AND c.kind = 'g' AND c.outcome ->> 'signal' = 'human_input'
    ), fitting AS (
        SELECT a.* FROM asked a WHERE $2 IS NULL OR $2 IN (a.node_key, a.node)
    ), unread AS (
        SELECT s.node, coalesce(s.payload ->> 'decision', s.payload #>> '{}') AS decision FROM dray.signal s
        WHERE s.execution_id = $1 AND s.consumed_at IS NULL AND s.name = 'human_input'
    ), counted AS (
        SELECT (SELECT count(*) FROM fitting f WHERE f.is_open) AS open, (SELECT min(f.node_key) FROM fitting f WHERE f.is_open) AS key,
            (SELECT count(*) FROM unread u WHERE EXISTS (SELECT FROM fitting f
                WHERE f.is_open AND (u.node IS NULL OR u.node IN (f.node_key, f.node)) AND coalesce(f.options ? u.decision, true))) AS answers,
            EXISTS (SELECT FROM fitting) AS was_asked, EXISTS (SELECT FROM unread u WHERE u.node = $2) AS was_answered
    )
    SELECT CASE WHEN c.open = 1 THEN c.key ELSE $2 END, CASE WHEN c.open > 0 THEN c.answers >= c.open ELSE c.was_asked OR c.was_answered END
    FROM counted c
$$;

-- (nothing) -> the next version of a workflow, or its latest one where that has the same graph. Two at once wait for each other.
-- graph: canonical, as dray.canonical_graph() of Python and `dray workflow validate --json` make it; what they have not made is refused, as
-- every execution of it would fail. ends: the nodes that no edge leaves (of a loop: none but into its body) and that are in no loop, whose outputs
-- are the execution's. Versions that are stored already keep the ends that they have, and so their executions the shape of their outputs.
CREATE OR REPLACE FUNCTION dray.apply_workflow(name text, graph jsonb) RETURNS TABLE (id integer, version integer, created boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE latest dray.workflow;
BEGIN
    IF (jsonb_typeof(apply_workflow.graph -> 'format'), jsonb_typeof(apply_workflow.graph -> 'nodes'), jsonb_typeof(apply_workflow.graph -> 'edges'))
        IS DISTINCT FROM ('number', 'array', 'array') THEN
        RAISE EXCEPTION 'the graph of workflow "%" is not in the form that is stored: nobody has checked it', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'store it with dray workflow apply, or Client.apply_workflow';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('dray.workflow'), hashtext(apply_workflow.name));
    SELECT w.* INTO latest FROM dray.workflow w WHERE w.name = apply_workflow.name ORDER BY w.version DESC LIMIT 1;
    IF latest.graph = apply_workflow.graph THEN
        RETURN QUERY SELECT latest.id, latest.version, false;
    ELSE
        RETURN QUERY INSERT INTO dray.workflow AS w (name, version, graph, ends)
        SELECT apply_workflow.name, coalesce(latest.version, 0) + 1, apply_workflow.graph, ARRAY(
            SELECT n ->> 'id' FROM jsonb_array_elements(apply_workflow.graph -> 'nodes') n WHERE coalesce(n ->> 'type', '') NOT IN ('break', 'continue')
            EXCEPT SELECT e ->> 'from' FROM jsonb_array_elements(apply_workflow.graph -> 'edges') e WHERE e ->> 'role' IS DISTINCT FROM 'body'
            EXCEPT SELECT jsonb_array_elements_text(r -> 'nodes') FROM jsonb_array_elements(apply_workflow.graph -> 'regions') r)
        RETURNING w.id, w.version, true;
    END IF;
END $$;

-- timeout: the part of the graph, apart from it, for end_overdue.
ALTER TABLE dray.workflow ADD COLUMN timeout double precision GENERATED ALWAYS AS (
    CASE WHEN jsonb_typeof(graph -> 'timeout') = 'number' THEN (graph ->> 'timeout')::double precision END) STORED;

-- queued -> failed, for those that have started, are over their time, and that no driver may claim to find that out: in a queue that is paused,
-- in the line before a limit. Of these queues; fallback: seconds, where a workflow does not say. Reads all that is queued there.
CREATE FUNCTION dray.end_overdue(queues text[], fallback double precision, most integer) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    name text;
    late uuid[];
    ended uuid[];
    parents uuid[];
BEGIN
    -- Subqueries for each row, as a join might begin with all that is queued anywhere.
    late := ARRAY(SELECT e.id FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NOT NULL AND e.queue = ANY (queues)
        AND e.started_at + coalesce((SELECT w.timeout FROM dray.workflow w WHERE w.id = e.workflow_id), fallback) * interval '1 second'
            <= (SELECT clock_timestamp()) LIMIT most);
    FOR name IN SELECT q.name FROM dray.queue q WHERE q.paused AND q.name = ANY (queues) LOOP
        late := late || ARRAY(SELECT e.id FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NULL AND e.queue = name
            AND e.started_at + coalesce((SELECT w.timeout FROM dray.workflow w WHERE w.id = e.workflow_id), fallback) * interval '1 second'
                <= (SELECT clock_timestamp()) LIMIT most);
    END LOOP;
    IF late = '{}' THEN
        RETURN 0;
    END IF;
    late := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (late) ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED);
    WITH over AS (
        UPDATE dray.execution e SET
            status = 'failed',
            wake = false,
            finished_at = clock_timestamp(),
            error = jsonb_build_object('type', 'timeout', 'message', format('the execution took longer than its %s s: raise its timeout, or the setting',
                coalesce((SELECT w.timeout FROM dray.workflow w WHERE w.id = e.workflow_id), fallback)))
        WHERE e.id = ANY (late) AND (e.status = 'queued') IS TRUE
        RETURNING e.id, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END AS parent
    )
    SELECT array_agg(o.id), array_agg(o.parent) FILTER (WHERE o.parent IS NOT NULL) INTO ended, parents FROM over o;
    IF ended IS NOT NULL THEN
        PERFORM dray.mark_family(ended, parents);
    END IF;
    RETURN coalesce(cardinality(ended), 0);
END $$;

-- completed, failed, cancelled -> (nothing), the oldest first, with input, checkpoints, signals and key. A call looks at no more than four times
-- `most` executions behind `behind`, and deletes no more than `most` of them and twenty times as many checkpoints: one with a million of them
-- takes many calls, and meanwhile has no input, so that nobody can repeat it. Left alone are executions that somebody has locked, and those
-- whose key somebody is taking over.
-- deleted: how many. last: where to go on; NULL: that was all, and then runners of that age go too.
CREATE OR REPLACE FUNCTION dray.prune(until timestamptz, statuses text[] DEFAULT NULL, most integer DEFAULT 500, behind uuid DEFAULT NULL,
    OUT deleted integer, OUT last uuid) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '2s' AS $$
DECLARE
    start uuid := coalesce(behind, '00000000-0000-0000-0000-000000000000');
    ids uuid[] := ARRAY(SELECT p FROM dray.prunable(until, statuses, start, 4 * most) p LIMIT most);
    keys uuid[];
    gone integer;
    left_over uuid;
    oldest uuid;
BEGIN
    last := CASE WHEN cardinality(ids) = most THEN ids[most] ELSE (
        SELECT e.id FROM dray.execution e WHERE e.id > start AND e.id < dray.id_at(until) ORDER BY e.id OFFSET 4 * most - 1 LIMIT 1) END;
    -- IS TRUE: a plan kept from small tables would read all that ended before, by the index of finished_at.
    ids := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) AND (e.finished_at < until) IS TRUE ORDER BY e.id FOR UPDATE SKIP LOCKED);
    keys := ARRAY(SELECT k.execution_id FROM dray.idempotency k WHERE k.execution_id = ANY (ids) FOR UPDATE SKIP LOCKED);
    ids := ARRAY(SELECT i FROM unnest(ids) i WHERE i = ANY (keys)
        OR (SELECT k.key FROM dray.idempotency k WHERE k.execution_id = i LIMIT 1) IS NULL ORDER BY i);
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
    DELETE FROM dray.cancellation c WHERE c.execution_id = ANY (ids);
    DELETE FROM dray.execution e WHERE e.id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF last IS NULL AND statuses IS NULL THEN
        -- What was submitted after a runner's end cannot name it, unless it repeats an earlier one. One row per process: the table is short.
        oldest := least((SELECT e.id FROM dray.execution e ORDER BY e.id LIMIT 1),
            (SELECT i.source_id FROM dray.execution_input i WHERE i.source_id IS NOT NULL ORDER BY i.source_id LIMIT 1));
        DELETE FROM dray.runner r WHERE r.ended_at < until AND (oldest IS NULL OR dray.id_at(r.ended_at) <= oldest);
    END IF;
END $$;
