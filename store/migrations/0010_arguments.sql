-- What callers may give: each refusal is one sentence that names the argument. Where nothing is wrong, it costs one look at each.

-- A line of 1 to `longest` characters, without control characters, which would reach terminals and logs.
CREATE FUNCTION dray.is_name(value text, longest integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(length($1) BETWEEN 1 AND $2 AND $1 !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]', false)
$$;

-- JSON that every reader can read: nested 200 deep at most, and no number beyond what a double holds, which has 309 digits. An expression
-- that takes the place of the call; most inputs pay for their length alone.
CREATE FUNCTION dray.is_input(value jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT $1 IS NULL OR length($1::text) < 300 OR NOT ($1 @? 'strict $.**{200 to last} ? (@.type() == "array" || @.type() == "object")'
        OR $1 @? 'strict $.** ? (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308)')
$$;

-- NULL is given, and well.
CREATE FUNCTION dray.check_name(argument text, value text, longest integer) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF value IS NOT NULL AND NOT dray.is_name(value, longest) THEN
        RAISE EXCEPTION '%', CASE WHEN value = '' THEN format('%s is empty: give a text, or leave it out', argument)
            WHEN length(value) > longest THEN format('%s has %s characters: at most %s', argument, length(value), longest)
            ELSE format('%s has a control character: give a text on one line', argument) END USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

CREATE FUNCTION dray.check_labels(labels jsonb) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE wrong text;
BEGIN
    IF labels IS NULL THEN
        RETURN;
    ELSIF jsonb_typeof(labels) <> 'object' THEN
        RAISE EXCEPTION 'labels is a JSON %: give an object such as {"team": "blue"}', jsonb_typeof(labels) USING ERRCODE = 'invalid_parameter_value';
    ELSIF length(labels::text) > 10000 THEN
        RAISE EXCEPTION 'labels has % characters as JSON: at most 10000', length(labels::text) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM dray.check_input('labels', labels);
    SELECT CASE WHEN dray.is_name(l.key, 200) THEN format('labels.%s has a control character: give a text on one line', l.key)
        ELSE 'a key of labels is empty, has a control character or more than 200 characters: give another one' END INTO wrong
    FROM jsonb_each_text(labels) l
    WHERE NOT dray.is_name(l.key, 200) OR l.value ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

CREATE FUNCTION dray.check_submit(queue text, priority integer, labels jsonb, tenant text, concurrency_key text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM dray.check_name('queue', coalesce(queue, ''), 200);
    IF priority NOT BETWEEN -32768 AND 32767 THEN
        RAISE EXCEPTION 'priority is %: give a number from -32768 to 32767', priority USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM dray.check_labels(labels);
    PERFORM dray.check_name('tenant', nullif(tenant, ''), 10000);
    PERFORM dray.check_name('concurrency_key', nullif(concurrency_key, ''), 10000);
END $$;

-- Before version 17 no statement can subtract an infinite time, so that one such row would stop wake_due for everybody; and what no calendar
-- of a client can show would stop every list that holds it.
CREATE FUNCTION dray.check_times(run_at timestamptz, idempotency_window interval) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF NOT isfinite(run_at) THEN
        RAISE EXCEPTION 'run_at is %', run_at USING ERRCODE = 'datetime_field_overflow', HINT = 'give a time, or NULL for now';
    ELSIF run_at < '0001-01-01 00:00:00+00' OR run_at >= '10000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'run_at is %', run_at USING ERRCODE = 'datetime_field_overflow', HINT = 'give a time of the years 1 to 9999, or NULL for now';
    ELSIF idempotency_window NOT BETWEEN interval '0' AND interval '1000 years' THEN
        RAISE EXCEPTION 'idempotency_window is %: give a span up to 1000 years, or NULL for ever', idempotency_window
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

CREATE FUNCTION dray.check_input(argument text, value jsonb) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    found text;
    is_deep boolean;
BEGIN
    IF dray.is_input(value) THEN
        RETURN;
    END IF;
    WITH RECURSIVE part (place, value, depth) AS (
        SELECT argument, check_input.value, 1
        UNION ALL SELECT p.place || c.step, c.value, p.depth + 1 FROM part p, LATERAL (
            SELECT '[' || (e.number - 1) || ']', e.value
            FROM jsonb_array_elements(CASE jsonb_typeof(p.value) WHEN 'array' THEN p.value ELSE '[]' END) WITH ORDINALITY e (value, number)
            UNION ALL SELECT '.' || left(e.key, 60), e.value
            FROM jsonb_each(CASE jsonb_typeof(p.value) WHEN 'object' THEN p.value ELSE '{}' END) e
        ) c (step, value) WHERE p.depth <= 200
    )
    SELECT p.place, p.depth > 200 INTO found, is_deep FROM part p
    WHERE CASE jsonb_typeof(p.value) WHEN 'number' THEN abs((p.value #>> '{}')::numeric) > 1.7976931348623157e308
        WHEN 'array' THEN p.depth > 200 WHEN 'object' THEN p.depth > 200 END LIMIT 1;
    RAISE EXCEPTION '%', CASE WHEN length(found) > 80 THEN left(found, 40) || '...' || right(found, 30) ELSE coalesce(found, argument) END
        || CASE WHEN is_deep THEN ' is nested more than 200 deep: make it flatter' ELSE ' is a number beyond what a double holds: give it as a text' END
        USING ERRCODE = 'invalid_parameter_value';
END $$;

-- (nothing) -> queued, or -> waiting when run_at lies ahead. As before, with its arguments checked.
CREATE OR REPLACE FUNCTION dray.submit(workflow text, input jsonb DEFAULT '{}', priority integer DEFAULT NULL, queue text DEFAULT 'default',
    run_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, labels jsonb DEFAULT NULL, tenant text DEFAULT NULL,
    concurrency_key text DEFAULT NULL, idempotency_window interval DEFAULT '24 hours') RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    new_id uuid := dray.uuid7();
    graph_id integer := dray.latest_workflow(workflow);
    limited boolean := (SELECT w.limits IS NOT NULL FROM dray.workflow w WHERE w.id = graph_id);
    level integer := coalesce(submit.priority, dray.priority(submit.input ->> 'priority'), 5);
    first_run timestamptz := coalesce(submit.run_at, now());
    earlier uuid;
BEGIN
    IF NOT (dray.is_name(submit.queue, 200) AND dray.is_input(submit.input) AND level BETWEEN -32768 AND 32767
            AND num_nulls(submit.run_at, idempotency_key, submit.labels, submit.tenant, submit.concurrency_key) = 5) THEN
        PERFORM dray.check_submit(submit.queue, level, submit.labels, submit.tenant, submit.concurrency_key);
        PERFORM dray.check_times(submit.run_at, idempotency_window);
        PERFORM dray.check_name('idempotency_key', idempotency_key, 500);
        PERFORM dray.check_input('input', submit.input);
    END IF;
    IF idempotency_key IS NOT NULL THEN
        earlier := dray.take_idempotency_key(submit.workflow, idempotency_key, new_id, idempotency_window);
        IF earlier IS NOT NULL THEN
            RETURN earlier;
        END IF;
    END IF;
    INSERT INTO dray.execution (id, workflow_id, priority, queue, run_at, rank, wake_at, status)
    VALUES (new_id, graph_id, level, submit.queue, first_run, dray.rank(submit.queue, level, first_run),
        CASE WHEN submit.run_at > now() THEN submit.run_at END, CASE WHEN submit.run_at > now() THEN 'waiting' ELSE 'queued' END);
    INSERT INTO dray.execution_input (execution_id, input, labels) VALUES (new_id, coalesce(submit.input, '{}'), submit.labels);
    IF limited OR submit.tenant IS NOT NULL THEN
        PERFORM dray.limit_executions(ARRAY[new_id], submit.tenant, submit.concurrency_key);
    END IF;
    PERFORM dray.wake_drivers();
    RETURN new_id;
END $$;

-- (nothing) -> queued, thousands in one call: one execution per element of `inputs`, ids in the same order.
CREATE OR REPLACE FUNCTION dray.submit_many(workflow text, inputs jsonb[], priority integer DEFAULT NULL, queue text DEFAULT 'default',
    labels jsonb DEFAULT NULL, tenant text DEFAULT NULL, concurrency_key text DEFAULT NULL) RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    graph_id integer := dray.latest_workflow(workflow);
    limited boolean := (SELECT w.limits IS NOT NULL FROM dray.workflow w WHERE w.id = graph_id);
    step interval := now() - dray.rank(submit_many.queue, 1, now());
    ids uuid[];
BEGIN
    PERFORM dray.check_submit(submit_many.queue, coalesce(submit_many.priority, 0), submit_many.labels, submit_many.tenant,
        submit_many.concurrency_key);
    IF EXISTS (SELECT FROM unnest(inputs) u (input) WHERE NOT dray.is_input(u.input)) THEN
        PERFORM dray.check_input(format('inputs[%s]', u.number - 1), u.input) FROM unnest(inputs) WITH ORDINALITY u (input, number)
        WHERE NOT dray.is_input(u.input) LIMIT 1;
    END IF;
    -- Sorted, so that the n-th input has the n-th smallest id: ids of one millisecond are random among themselves.
    SELECT array_agg(u.id ORDER BY u.id) INTO ids FROM (SELECT dray.uuid7() AS id FROM generate_series(1, cardinality(inputs))) u;
    INSERT INTO dray.execution (id, workflow_id, priority, queue, rank)
    SELECT u.id, graph_id, u.level, submit_many.queue, now() - u.level * step
    FROM (SELECT g.id, coalesce(submit_many.priority, dray.priority(g.input ->> 'priority'), 5) AS level FROM unnest(ids, inputs) g (id, input)) u;
    INSERT INTO dray.execution_input (execution_id, input, labels)
    SELECT u.id, coalesce(u.input, '{}'), submit_many.labels FROM unnest(ids, inputs) u(id, input);
    IF limited OR submit_many.tenant IS NOT NULL THEN
        PERFORM dray.limit_executions(ids, submit_many.tenant, submit_many.concurrency_key);
    END IF;
    PERFORM dray.wake_drivers();
    RETURN QUERY SELECT unnest(ids);
END $$;

-- What other functions, and people, write into these tables.
CREATE FUNCTION dray.check_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'queue' THEN
        PERFORM dray.check_name('queue', NEW.name, 200);
    ELSIF TG_TABLE_NAME = 'workflow' THEN
        PERFORM dray.check_name('the name of a workflow', NEW.name, 254);
    ELSE
        IF NOT (dray.is_name(NEW.name, 254) AND num_nulls(NEW.node, NEW.dedupe, NEW.payload) = 3) THEN
            PERFORM dray.check_name('name', NEW.name, 254);
            PERFORM dray.check_name('node', NEW.node, 5000);
            PERFORM dray.check_name('dedupe', NEW.dedupe, 500);
            PERFORM dray.check_input('payload', NEW.payload);
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_row BEFORE INSERT ON dray.queue FOR EACH ROW EXECUTE FUNCTION dray.check_row();
CREATE TRIGGER check_row BEFORE INSERT ON dray.workflow FOR EACH ROW EXECUTE FUNCTION dray.check_row();
CREATE TRIGGER check_row BEFORE INSERT ON dray.signal FOR EACH ROW EXECUTE FUNCTION dray.check_row();

-- What becomes of a schedule's slots for which no driver was there: skip, latest (the newest is run, once), or all, up to missed_limit
-- (NULL: as the setting of the driver). catch_up says the same to drivers of earlier versions.
ALTER TABLE dray.schedule ADD COLUMN missed text NOT NULL DEFAULT 'latest', ADD COLUMN missed_limit integer,
    ADD CONSTRAINT schedule_missed_check CHECK (missed IN ('skip', 'latest', 'all'));
UPDATE dray.schedule SET missed = 'all' WHERE catch_up;

DROP FUNCTION dray.set_schedule(text, text, text, text, text, jsonb, integer, text, jsonb, text, boolean, boolean, boolean);
-- (nothing) -> active or paused; or changed: the same timing keeps its slots, another one starts anew. paused NULL: as it was.
-- Whoever calls it has checked the timing (cluster/schedules.py); an unsound one is marked by the first driver that looks at it.
CREATE FUNCTION dray.set_schedule(name text, workflow text, kind text, expression text, zone text DEFAULT 'UTC', input jsonb DEFAULT '{}',
    priority integer DEFAULT 5, queue text DEFAULT 'default', labels jsonb DEFAULT '{}', overlap text DEFAULT 'skip',
    catch_up boolean DEFAULT NULL, paused boolean DEFAULT NULL, from_graph boolean DEFAULT false, missed text DEFAULT NULL,
    missed_limit integer DEFAULT NULL) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_variable
DECLARE
    old dray.schedule;
    made uuid;
    fresh boolean;
    policy text := coalesce(missed, CASE WHEN catch_up THEN 'all' WHEN NOT catch_up THEN 'skip' ELSE 'latest' END);
BEGIN
    PERFORM dray.check_name('name', coalesce(name, ''), 254);
    PERFORM dray.check_name('expression', coalesce(expression, ''), 1000);
    PERFORM dray.check_name('zone', coalesce(zone, ''), 100);
    PERFORM dray.check_submit(queue, priority, coalesce(labels, '{}'), NULL, NULL);
    PERFORM dray.check_input('input', input);
    IF policy NOT IN ('skip', 'latest', 'all') THEN
        RAISE EXCEPTION 'missed is "%": give skip, latest or all', left(policy, 80) USING ERRCODE = 'invalid_parameter_value';
    ELSIF missed_limit IS NOT NULL AND (policy <> 'all' OR missed_limit NOT BETWEEN 1 AND 10000) THEN
        RAISE EXCEPTION 'missed_limit is % with missed "%": give a number from 1 to 10000, and all', missed_limit, policy
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM dray.latest_workflow(workflow);
    LOOP
        -- Waits for a concurrent call with the same name.
        INSERT INTO dray.schedule AS s (id, name, workflow, kind, expression, zone, input, priority, queue, labels, overlap, catch_up, from_graph,
            missed, missed_limit, status, since, look_at)
        VALUES (dray.uuid7(), name, workflow, kind, expression, zone, coalesce(input, '{}'), priority, queue, coalesce(labels, '{}'), overlap,
            policy = 'all', from_graph, policy, missed_limit, CASE WHEN paused THEN 'paused' ELSE 'active' END, clock_timestamp(), clock_timestamp())
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
        labels = coalesce(set_schedule.labels, '{}'), overlap = set_schedule.overlap, catch_up = (policy = 'all'),
        missed = policy, missed_limit = set_schedule.missed_limit,
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

CREATE OR REPLACE FUNCTION dray.schedule_by_graph(workflow text, graph jsonb) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE given jsonb := graph -> 'schedule';
BEGIN
    IF given IS NULL THEN
        DELETE FROM dray.schedule s WHERE s.name = schedule_by_graph.workflow AND s.from_graph;
        RETURN;
    END IF;
    PERFORM dray.set_schedule(workflow, workflow, given ->> 'kind', given ->> 'expression', given ->> 'zone',
        input => given -> 'input', priority => coalesce((given ->> 'priority')::integer, 5), queue => coalesce(given ->> 'queue', 'default'),
        overlap => coalesce(given ->> 'overlap', 'skip'), catch_up => (given ->> 'catch_up')::boolean,
        missed => given ->> 'missed', missed_limit => (given ->> 'missed_limit')::integer,
        paused => CASE WHEN EXISTS (SELECT FROM dray.schedule s WHERE s.name = schedule_by_graph.workflow) THEN NULL
            ELSE (given ->> 'paused')::boolean END,
        from_graph => true);
END $$;
