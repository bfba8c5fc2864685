-- Schedules: workflows that run by themselves. What a slot is and what becomes of it: cluster/schedules.py, docs/schedules.md.

-- One row per schedule. since: slots after it count. next_at: the next slot; NULL: a driver has not worked it out yet, or there is none.
-- look_at: when a driver looks at the row, at next_at or later (after a failure) or sooner (while queued_at waits). queued_at: the slot that
-- waits until last_execution has ended. last_at: the last slot that was run. revision: grows with each change, so that of two drivers that
-- have looked at the same state only one acts. from_graph: made by the trigger of its workflow's graph, and gone with it.
CREATE TABLE dray.schedule (
    id             uuid PRIMARY KEY,
    name           text NOT NULL,
    workflow       text NOT NULL,
    kind           text NOT NULL,
    expression     text NOT NULL,
    zone           text NOT NULL DEFAULT 'UTC',
    overlap        text NOT NULL DEFAULT 'skip',
    catch_up       boolean NOT NULL DEFAULT false,
    from_graph     boolean NOT NULL DEFAULT false,
    priority       smallint NOT NULL DEFAULT 5,
    queue          text NOT NULL DEFAULT 'default',
    input          jsonb NOT NULL DEFAULT '{}',
    labels         jsonb NOT NULL DEFAULT '{}',
    status         text NOT NULL DEFAULT 'active',
    created_at     timestamptz NOT NULL DEFAULT now(),
    since          timestamptz NOT NULL DEFAULT now(),
    look_at        timestamptz NOT NULL DEFAULT now(),
    next_at        timestamptz,
    queued_at      timestamptz,
    last_at        timestamptz,
    last_execution uuid,
    revision       bigint NOT NULL DEFAULT 0,
    failures       integer NOT NULL DEFAULT 0,
    error          text,
    CONSTRAINT schedule_name_key UNIQUE (name),
    CONSTRAINT schedule_kind_check CHECK (kind IN ('cron', 'interval', 'once')),
    CONSTRAINT schedule_overlap_check CHECK (overlap IN ('skip', 'queue', 'allow')),
    CONSTRAINT schedule_status_check CHECK (status IN ('active', 'paused', 'ended')),
    CONSTRAINT schedule_object_check CHECK (jsonb_typeof(input) = 'object' AND jsonb_typeof(labels) = 'object')
);
-- A few rows, rewritten at each of their slots for ever: as with dray.driver, room in the page and an early vacuum.
ALTER TABLE dray.schedule SET (fillfactor = 50, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);

CREATE INDEX schedule_look_idx ON dray.schedule (look_at) WHERE status = 'active';

-- (nothing) -> active or paused; or changed: the same timing keeps its slots, another one starts anew. paused NULL: as it was.
-- Whoever calls it has checked the timing (cluster/schedules.py); an unsound one is marked by the first driver that looks at it.
CREATE FUNCTION dray.set_schedule(name text, workflow text, kind text, expression text, zone text DEFAULT 'UTC', input jsonb DEFAULT '{}',
    priority integer DEFAULT 5, queue text DEFAULT 'default', labels jsonb DEFAULT '{}', overlap text DEFAULT 'skip',
    catch_up boolean DEFAULT false, paused boolean DEFAULT NULL, from_graph boolean DEFAULT false) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
    old dray.schedule;
    made uuid;
    fresh boolean;
BEGIN
    PERFORM dray.latest_workflow(workflow);
    LOOP
        -- Waits for a concurrent call with the same name.
        INSERT INTO dray.schedule AS s (id, name, workflow, kind, expression, zone, input, priority, queue, labels, overlap, catch_up, from_graph,
            status, since, look_at)
        VALUES (dray.uuid7(), name, workflow, kind, expression, zone, coalesce(input, '{}'), priority, queue, coalesce(labels, '{}'), overlap,
            catch_up, from_graph, CASE WHEN paused THEN 'paused' ELSE 'active' END, clock_timestamp(), clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING s.id INTO made;
        IF made IS NOT NULL THEN
            RETURN made;
        END IF;
        SELECT s.* INTO old FROM dray.schedule s WHERE s.name = set_schedule.name FOR UPDATE;
        EXIT WHEN FOUND; -- else it was deleted in between
    END LOOP;
    IF from_graph <> old.from_graph THEN
        RAISE EXCEPTION 'a schedule named "%" is there already, made % workflow "%"', name,
            CASE WHEN from_graph THEN 'by hand for' ELSE 'by the trigger of' END, old.workflow
            USING ERRCODE = 'unique_violation', HINT = CASE WHEN from_graph THEN 'delete that one, or take the schedule out of the workflow'
                ELSE 'change it there, or choose another name' END;
    END IF;
    fresh := (old.kind, old.expression, old.zone) IS DISTINCT FROM (kind, expression, zone) OR (old.status = 'paused' AND paused IS FALSE);
    UPDATE dray.schedule s SET
        workflow = set_schedule.workflow, kind = set_schedule.kind, expression = set_schedule.expression, zone = set_schedule.zone,
        input = coalesce(set_schedule.input, '{}'), priority = set_schedule.priority, queue = set_schedule.queue,
        labels = coalesce(set_schedule.labels, '{}'), overlap = set_schedule.overlap, catch_up = set_schedule.catch_up,
        status = CASE WHEN paused THEN 'paused' WHEN old.status = 'paused' AND paused IS NULL THEN 'paused'
            WHEN old.status = 'ended' AND NOT fresh THEN 'ended' ELSE 'active' END,
        since = CASE WHEN fresh THEN clock_timestamp() ELSE old.since END,
        next_at = CASE WHEN NOT fresh THEN old.next_at END,
        queued_at = CASE WHEN NOT fresh AND paused IS NOT TRUE THEN old.queued_at END,
        look_at = clock_timestamp(),
        revision = old.revision + 1,
        failures = 0,
        error = NULL
    WHERE s.id = old.id;
    RETURN old.id;
END $$;

-- active -> paused: nothing of it is started, and no slot counts, until it is resumed. Returns the status now, NULL for no such schedule.
CREATE FUNCTION dray.pause_schedule(name text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE answer text;
BEGIN
    UPDATE dray.schedule s SET status = 'paused', queued_at = NULL, revision = s.revision + 1
    WHERE s.name = pause_schedule.name AND s.status = 'active';
    SELECT s.status INTO answer FROM dray.schedule s WHERE s.name = pause_schedule.name;
    RETURN answer;
END $$;

-- paused -> active, from now on: slots of the pause are neither run nor missed. Returns the status now, NULL for no such schedule.
CREATE FUNCTION dray.resume_schedule(name text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE answer text;
BEGIN
    UPDATE dray.schedule s SET status = 'active', since = clock_timestamp(), look_at = clock_timestamp(), next_at = NULL, failures = 0,
        error = NULL, revision = s.revision + 1
    WHERE s.name = resume_schedule.name AND s.status = 'paused';
    SELECT s.status INTO answer FROM dray.schedule s WHERE s.name = resume_schedule.name;
    RETURN answer;
END $$;

-- Gone; its executions stay. False: no such schedule. One that a workflow's trigger makes would come back with its next apply.
CREATE FUNCTION dray.delete_schedule(name text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF EXISTS (SELECT FROM dray.schedule s WHERE s.name = delete_schedule.name AND s.from_graph) THEN
        RAISE EXCEPTION 'schedule "%" is made by the trigger of its workflow', name
            USING ERRCODE = 'restrict_violation', HINT = 'take it out there and apply that, or pause it';
    END IF;
    DELETE FROM dray.schedule s WHERE s.name = delete_schedule.name;
    RETURN FOUND;
END $$;

-- What an execution of this schedule is submitted with, and submits it.
CREATE FUNCTION dray.submit_scheduled(s dray.schedule, scheduled_at text, idempotency_key text) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT dray.submit(s.workflow, s.input || jsonb_build_object('trigger_type', 'schedule', 'schedule_id', s.id,
            'cron_expression', CASE WHEN s.kind = 'cron' THEN s.expression END, 'scheduled_at', scheduled_at),
        priority => s.priority, queue => s.queue, idempotency_key => idempotency_key,
        labels => s.labels || jsonb_build_object('schedule', s.name))
$$;

-- (nothing) -> queued, by hand, paused or not: no slot, and nothing of the schedule changes. NULL: no such schedule.
CREATE FUNCTION dray.run_schedule(name text) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE found dray.schedule;
BEGIN
    SELECT s.* INTO found FROM dray.schedule s WHERE s.name = run_schedule.name;
    RETURN CASE WHEN found.id IS NOT NULL THEN
        dray.submit_scheduled(found, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), NULL) END;
END $$;

-- A schedule's slot and what follows, in one: (nothing) -> queued for the slot, if one is given, and the next one set. False: somebody else
-- was here since the driver looked (`seen`) or is here now, and nothing was done. The key is a second lock on the same door.
CREATE FUNCTION dray.turn_schedule(schedule uuid, seen bigint, slot timestamptz, scheduled_at text, queued timestamptz,
    following timestamptz, look timestamptz) RETURNS TABLE (done boolean, execution uuid) LANGUAGE plpgsql VOLATILE AS $$
DECLARE found dray.schedule;
BEGIN
    SELECT s.* INTO found FROM dray.schedule s WHERE s.id = schedule AND s.revision = seen AND s.status = 'active' FOR UPDATE SKIP LOCKED;
    done := found.id IS NOT NULL;
    IF done AND slot IS NOT NULL THEN
        execution := dray.submit_scheduled(found, scheduled_at, format('schedule/%s/%s', schedule, extract(epoch FROM slot)::bigint));
    END IF;
    UPDATE dray.schedule s SET
        next_at = following,
        queued_at = queued,
        look_at = coalesce(look, s.look_at),
        status = CASE WHEN look IS NULL THEN 'ended' ELSE s.status END,
        last_at = coalesce(slot, s.last_at),
        last_execution = coalesce(execution, s.last_execution),
        failures = CASE WHEN slot IS NULL THEN s.failures ELSE 0 END,
        error = CASE WHEN slot IS NULL THEN s.error END,
        revision = s.revision + 1
    WHERE s.id = found.id;
    RETURN NEXT;
END $$;

-- The schedule of a workflow's graph: made, changed, or gone where the graph has none. Called when the graph is stored, in that transaction.
CREATE FUNCTION dray.schedule_by_graph(workflow text, graph jsonb) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE given jsonb := graph -> 'schedule';
BEGIN
    IF given IS NULL THEN
        DELETE FROM dray.schedule s WHERE s.name = schedule_by_graph.workflow AND s.from_graph;
        RETURN;
    END IF;
    PERFORM dray.set_schedule(workflow, workflow, given ->> 'kind', given ->> 'expression', given ->> 'zone',
        input => given -> 'input', priority => coalesce((given ->> 'priority')::integer, 5), queue => coalesce(given ->> 'queue', 'default'),
        overlap => coalesce(given ->> 'overlap', 'skip'), catch_up => coalesce((given ->> 'catch_up')::boolean, false),
        paused => CASE WHEN EXISTS (SELECT FROM dray.schedule s WHERE s.name = schedule_by_graph.workflow) THEN NULL
            ELSE (given ->> 'paused')::boolean END,
        from_graph => true);
END $$;
