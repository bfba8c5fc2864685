-- Queues, priorities that age, limits, turns of tenants: the tables, and submit. What the claim does with them: 0003_queues_claim.sql.

-- What a person says of a queue. A queue without a row has no limits; a row is made by the functions below, or for a queue with tenants.
CREATE TABLE dray.queue (
    name        text PRIMARY KEY,
    paused      boolean NOT NULL DEFAULT false,
    concurrency integer,
    rate        integer,
    per         double precision,
    ageing      double precision NOT NULL DEFAULT 60,
    CONSTRAINT queue_concurrency_check CHECK (concurrency > 0),
    CONSTRAINT queue_rate_check CHECK (rate > 0 AND per > 0 AND per <= 2678400),
    CONSTRAINT queue_rate_per_check CHECK ((rate IS NULL) = (per IS NULL)),
    CONSTRAINT queue_ageing_check CHECK (ageing >= 0 AND ageing <= 86400)
);

-- First starts in a queue with a rate, one row per claim. Those older than the queue's `per` are deleted by its next claim.
CREATE TABLE dray.queue_start (
    queue text NOT NULL,
    at    timestamptz NOT NULL,
    count integer NOT NULL
);
CREATE INDEX queue_start_idx ON dray.queue_start (queue, at);

-- The round of a queue's tenants: who has something to claim, the one whose turn was longest ago first. '' stands for all executions
-- without a tenant. Only a claim writes here, under the lock of the queue's row.
CREATE TABLE dray.tenant (
    queue text NOT NULL,
    name  text NOT NULL,
    turn  timestamptz NOT NULL,
    PRIMARY KEY (queue, name)
);
CREATE INDEX tenant_turn_idx ON dray.tenant (queue, turn);

-- Notes for the next claim: look at this tenant, at this gate, again. Whoever submits, wakes, ends or cancels adds one and so locks nothing
-- that others need; the claim takes them away. They say only where to look: what is free is counted from the executions.
CREATE TABLE dray.tenant_change (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL,
    name  text NOT NULL
);
CREATE INDEX tenant_change_queue_idx ON dray.tenant_change (queue);
CREATE TABLE dray.gate_change (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    gate            text NOT NULL,
    concurrency_key text,
    rate_key        text
);
CREATE INDEX gate_change_at_idx ON dray.gate_change (at);
CREATE INDEX gate_change_later_idx ON dray.gate_change (gate, at);
ALTER TABLE dray.tenant_change SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE dray.gate_change SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- limits: the part of the graph, apart from it, so that nobody reads a graph to know that there are none.
ALTER TABLE dray.workflow ADD COLUMN limits jsonb GENERATED ALWAYS AS (graph -> 'limits') STORED;

-- rank: the order of the claim; see dray.rank. The rest is NULL where nothing limits the execution, and costs it nothing:
-- gate: the workflow whose limits hold for it. concurrency_key, rate_key: of those limits that have a key; rate_key '' = the whole workflow.
-- stage: how far it has come through the gates: k waits for a place of its key, r for its rate, w for a place of its workflow, p passed.
-- lane: the line in which it stands and is not yet to be claimed by rank alone: at a gate, or in its tenant's line. NULL: in none.
ALTER TABLE dray.execution
    ADD COLUMN rank timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN stage text,
    ADD COLUMN tenant text,
    ADD COLUMN gate text,
    ADD COLUMN concurrency_key text,
    ADD COLUMN rate_key text,
    ADD COLUMN lane text COLLATE "C",
    ADD CONSTRAINT execution_stage_check CHECK (stage IN ('k', 'r', 'w', 'p'));
UPDATE dray.execution e SET rank = e.run_at - e.priority * interval '60 s' WHERE e.status NOT IN ('completed', 'failed', 'cancelled');

CREATE INDEX execution_claim_idx ON dray.execution (queue, rank) WHERE status = 'queued' AND lane IS NULL;
CREATE INDEX execution_lane_idx ON dray.execution (lane, rank) WHERE lane IS NOT NULL AND status = 'queued';
-- What has passed a gate and is not over: the places that are taken.
CREATE INDEX execution_place_idx ON dray.execution (gate, stage, concurrency_key)
    WHERE stage IN ('r', 'w', 'p') AND status IN ('queued', 'running');
-- What has started, and what may start: what a rate counts.
CREATE INDEX execution_rate_idx ON dray.execution (gate, rate_key, started_at)
    WHERE rate_key IS NOT NULL AND (started_at IS NOT NULL OR (status = 'queued' AND stage IN ('w', 'p')));

-- Executions are claimed in the order of their ranks: run_at, less `ageing` seconds of the queue for each point of priority. So CRITICAL (20)
-- goes ahead of all NORMAL (5) that were submitted up to 15 minutes earlier, and of none that has waited longer: nothing starves, and no
-- row is ever ranked again. With ageing 0 priorities do nothing.
CREATE FUNCTION dray.rank(queue text, priority integer, run_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT $3 - $2 * interval '1 second' * coalesce((SELECT q.ageing FROM dray.queue q WHERE q.name = $1), 60)
$$;

-- LOW, NORMAL, HIGH, CRITICAL in any case, or a number; NULL: it is none of these.
CREATE FUNCTION dray.priority(name text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE upper(btrim($1)) WHEN 'LOW' THEN 1 WHEN 'NORMAL' THEN 5 WHEN 'HIGH' THEN 10 WHEN 'CRITICAL' THEN 20
        ELSE CASE WHEN btrim($1) ~ '^[-+]?[0-9]{1,4}$' THEN btrim($1)::integer END END
$$;

CREATE FUNCTION dray.lane(kind text, first text, second text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT $1 || E'\x1f' || $2 || E'\x1f' || $3
$$;

-- The gate after `stage` (NULL: before the first) that such an execution has to pass. The key's comes first, so that what waits for a
-- place of its key keeps no place of its workflow; and the workflow's last, so that what waits for its rate keeps none either.
CREATE FUNCTION dray.next_stage(limits jsonb, stage text, concurrency_key text, rate_key text, started boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $2 IS NULL AND $3 IS NOT NULL AND $1 ? 'key_limit' THEN 'k'
        WHEN ($2 IS NULL OR $2 = 'k') AND $4 IS NOT NULL AND $1 ? 'rate' AND NOT $5 THEN 'r'
        WHEN ($2 IS NULL OR $2 IN ('k', 'r')) AND $1 ? 'concurrency' THEN 'w' ELSE 'p' END
$$;

CREATE FUNCTION dray.lane_of(stage text, gate text, concurrency_key text, rate_key text, queue text, tenant text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE $1 WHEN 'k' THEN dray.lane('k', $2, $3) WHEN 'r' THEN dray.lane('r', $2, $4) WHEN 'w' THEN dray.lane('w', $2, '')
        ELSE dray.lane('t', $5, $6) END
$$;

-- A key or tenant of an input: the value there as text. Long ones by their hash, because they go into indexes; NULL and '' are no key.
CREATE FUNCTION dray.key_of(given text, input jsonb, path jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(k.value) > 200 THEN 'sha256:' || encode(sha256(convert_to(k.value, 'UTF8')), 'hex') ELSE nullif(k.value, '') END
    FROM (SELECT coalesce($1, CASE WHEN jsonb_typeof($3) = 'array' THEN $2 #>> ARRAY(SELECT jsonb_array_elements_text($3)) END)) k (value)
$$;

-- Where an execution begins that something limits: the columns of its row.
CREATE FUNCTION dray.place(workflow text, limits jsonb, queue text, input jsonb, INOUT tenant text, INOUT concurrency_key text,
    OUT gate text, OUT rate_key text, OUT stage text, OUT lane text) LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    tenant := dray.key_of(tenant, input, limits -> 'tenant');
    IF limits ?| ARRAY['concurrency', 'key_limit', 'rate'] THEN
        gate := workflow;
        concurrency_key := CASE WHEN limits ? 'key_limit' THEN dray.key_of(concurrency_key, input, limits -> 'key') END;
        rate_key := CASE WHEN limits #> '{rate,key}' IS NOT NULL THEN dray.key_of(NULL, input, limits #> '{rate,key}') WHEN limits ? 'rate' THEN '' END;
        stage := dray.next_stage(limits, NULL, concurrency_key, rate_key, false);
    ELSE
        concurrency_key := NULL;
    END IF;
    lane := dray.lane_of(coalesce(stage, 'p'), gate, concurrency_key, rate_key, queue, tenant);
END $$;

-- Notes for the claim, of executions that have just become queued.
CREATE FUNCTION dray.note_queued(ids uuid[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO dray.gate_change (gate, concurrency_key, rate_key)
    SELECT DISTINCT e.gate, e.concurrency_key, e.rate_key FROM dray.execution e
    WHERE e.id = ANY ($1) AND e.status = 'queued' AND e.stage <> 'p';
    INSERT INTO dray.tenant_change (queue, name)
    SELECT DISTINCT e.queue, e.tenant FROM dray.execution e
    WHERE e.id = ANY ($1) AND e.status = 'queued' AND e.tenant IS NOT NULL AND coalesce(e.stage, 'p') = 'p'
$$;

-- Puts new executions in their lanes, as their workflow's limits say. For whoever inserts executions, in the same transaction; it does
-- nothing to those that nothing limits. A call of its own, so that inserting the others stays as cheap as it was.
CREATE FUNCTION dray.limit_executions(ids uuid[], tenant text DEFAULT NULL, concurrency_key text DEFAULT NULL) RETURNS void LANGUAGE sql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    UPDATE dray.execution e SET
        tenant = p.tenant, gate = p.gate, concurrency_key = p.concurrency_key, rate_key = p.rate_key, stage = p.stage, lane = p.lane
    FROM dray.execution n
    JOIN dray.workflow w ON w.id = n.workflow_id
    JOIN dray.execution_input i ON i.execution_id = n.id
    CROSS JOIN LATERAL dray.place(w.name, w.limits, n.queue, i.input, $2, $3) p
    WHERE n.id = ANY ($1) AND e.id = n.id AND n.status IN ('queued', 'waiting') AND (w.limits IS NOT NULL OR $2 IS NOT NULL);
    SELECT dray.note_queued($1)
$$;

-- A word that a caller wrote and nobody knows is an error; one in an input is not.
CREATE FUNCTION dray.known_priority(name text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF name IS NOT NULL AND dray.priority(name) IS NULL THEN
        RAISE EXCEPTION 'priority "%" is unknown', name USING ERRCODE = 'invalid_parameter_value',
            HINT = 'give LOW, NORMAL, HIGH, CRITICAL, or a number of at most four digits';
    END IF;
    RETURN dray.priority(name);
END $$;

-- The execution that was submitted with this key within `keep` before now (NULL: ever), else NULL, and the key is new_id's. Of two at once
-- one waits until the other has committed or rolled back. A key that is in use is only read, so that many may submit it again and again.
CREATE FUNCTION dray.take_idempotency_key(workflow text, key text, new_id uuid, keep interval) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE earlier uuid;
BEGIN
    SELECT k.execution_id INTO earlier FROM dray.idempotency k WHERE k.workflow = $1 AND k.key = $2 AND (k.created_at <= now() - keep) IS NOT TRUE;
    IF earlier IS NULL THEN
        -- The update looks again at the row for which it waited.
        INSERT INTO dray.idempotency AS k (workflow, key, execution_id) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT idempotency_pkey DO UPDATE SET execution_id = $3, created_at = now() WHERE k.created_at <= now() - keep;
        IF NOT FOUND THEN
            SELECT k.execution_id INTO earlier FROM dray.idempotency k WHERE k.workflow = $1 AND k.key = $2;
        END IF;
    END IF;
    RETURN earlier;
END $$;

-- The same with the priority's name, or a number as text. Without a default for it, so that a call without a priority means one function.
CREATE FUNCTION dray.submit(workflow text, input jsonb, priority text, queue text DEFAULT 'default', run_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL, labels jsonb DEFAULT NULL, tenant text DEFAULT NULL, concurrency_key text DEFAULT NULL,
    idempotency_window interval DEFAULT '24 hours') RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN dray.submit($1, $2, dray.known_priority($3), $4, $5, $6, $7, $8, $9, $10);
END $$;

CREATE FUNCTION dray.submit_many(workflow text, inputs jsonb[], priority text, queue text DEFAULT 'default', labels jsonb DEFAULT NULL,
    tenant text DEFAULT NULL, concurrency_key text DEFAULT NULL) RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY SELECT dray.submit_many($1, $2, dray.known_priority($3), $4, $5, $6, $7);
END $$;

-- (nothing) -> queued, or -> waiting when run_at lies ahead. Returns the id; with an idempotency key that was used within the window before now
-- (NULL: ever), the id of then.
-- priority NULL: that of the input, else 5. tenant, concurrency_key NULL: as the workflow's limits say.
CREATE FUNCTION dray.submit(workflow text, input jsonb DEFAULT '{}', priority integer DEFAULT NULL, queue text DEFAULT 'default',
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
    IF NOT isfinite(submit.run_at) THEN
        -- Before version 17 no statement can subtract it, so that one such row would stop wake_due for everybody.
        RAISE EXCEPTION 'run_at is %', submit.run_at USING ERRCODE = 'datetime_field_overflow', HINT = 'give a time, or NULL for now';
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
CREATE FUNCTION dray.submit_many(workflow text, inputs jsonb[], priority integer DEFAULT NULL, queue text DEFAULT 'default',
    labels jsonb DEFAULT NULL, tenant text DEFAULT NULL, concurrency_key text DEFAULT NULL) RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    graph_id integer := dray.latest_workflow(workflow);
    limited boolean := (SELECT w.limits IS NOT NULL FROM dray.workflow w WHERE w.id = graph_id);
    step interval := now() - dray.rank(submit_many.queue, 1, now());
    ids uuid[];
BEGIN
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

-- What a person does to a queue, also before anything is in it.
CREATE FUNCTION dray.pause_queue(queue text) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO dray.queue (name, paused) VALUES ($1, true) ON CONFLICT (name) DO UPDATE SET paused = true
$$;

-- False: it was not paused.
CREATE FUNCTION dray.resume_queue(queue text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE dray.queue q SET paused = false WHERE q.name = queue AND q.paused;
    IF FOUND THEN
        PERFORM dray.wake_drivers();
    END IF;
    RETURN FOUND;
END $$;

-- All limits of a queue at once: NULL is none. ageing holds for what is submitted from then on.
CREATE FUNCTION dray.limit_queue(queue text, concurrency integer DEFAULT NULL, rate integer DEFAULT NULL, per double precision DEFAULT NULL,
    ageing double precision DEFAULT 60) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO dray.queue AS q (name, concurrency, rate, per, ageing) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, rate = excluded.rate, per = excluded.per, ageing = excluded.ageing;
    SELECT dray.wake_drivers()
$$;
