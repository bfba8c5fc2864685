-- How limits, turns and pauses come into the claim. What is held back stands in lanes, apart from what the claim reads, so that 100,000
-- executions of a key without a free place cost it nothing; a gate_change says which lane to look at when a place may be free.

CREATE FUNCTION dray.latest_limits(workflow text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT w.limits FROM dray.workflow w WHERE w.name = $1 ORDER BY w.version DESC LIMIT 1
$$;

-- Have a later claim look at this lane again, at that time. Only under the gate's lock, so that there is one such note and not one per look.
CREATE FUNCTION dray.look_later(in_gate text, in_key text, in_rate_key text, due timestamptz) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO dray.gate_change (at, gate, concurrency_key, rate_key)
    SELECT $4, $1, $2, $3 WHERE NOT EXISTS (
        SELECT 1 FROM dray.gate_change c WHERE c.gate = $1 AND c.at > clock_timestamp() AND c.at <= $4
            AND c.concurrency_key IS NOT DISTINCT FROM $2 AND c.rate_key IS NOT DISTINCT FROM $3)
$$;

-- The first `room` executions of a lane go on to the next gate, or to where they are claimed. Gives the rate keys of those that stand at
-- their rate now. room NULL: no limit (any more), so all may pass, by the thousand.
CREATE FUNCTION dray.pass(from_lane text, room integer, limits jsonb) RETURNS text[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    most integer := least(coalesce(room, 1000), 1000);
    moved uuid[];
    rates text[];
    next dray.execution;
BEGIN
    IF most > 0 THEN
        moved := ARRAY(SELECT e.id FROM dray.execution e WHERE e.lane = from_lane AND e.status = 'queued'
            ORDER BY e.rank LIMIT most FOR NO KEY UPDATE SKIP LOCKED);
        WITH gone AS (
            UPDATE dray.execution e SET
                stage = dray.next_stage(limits, e.stage, e.concurrency_key, e.rate_key, e.started_at IS NOT NULL),
                lane = dray.lane_of(dray.next_stage(limits, e.stage, e.concurrency_key, e.rate_key, e.started_at IS NOT NULL),
                    e.gate, e.concurrency_key, e.rate_key, e.queue, e.tenant)
            WHERE e.id = ANY (moved) RETURNING e.stage, e.rate_key, e.queue, e.tenant
        ), ready AS (
            INSERT INTO dray.tenant_change (queue, name)
            SELECT DISTINCT g.queue, g.tenant FROM gone g WHERE g.stage = 'p' AND g.tenant IS NOT NULL
        )
        SELECT array_agg(DISTINCT g.rate_key) FILTER (WHERE g.stage = 'r') INTO rates FROM gone g;
        IF room IS NULL OR cardinality(moved) < room THEN
            -- There are more than a thousand, or somebody keeps one locked and may give it back without a note.
            SELECT e.* INTO next FROM dray.execution e WHERE e.lane = from_lane AND e.status = 'queued' ORDER BY e.rank LIMIT 1;
            IF next.id IS NOT NULL THEN
                PERFORM dray.look_later(next.gate, next.concurrency_key, next.rate_key,
                    clock_timestamp() + CASE WHEN cardinality(moved) = most THEN interval '0' ELSE interval '1 second' END);
            END IF;
        END IF;
    END IF;
    RETURN rates;
END $$;

-- How many more may start now at a rate: those that started within its `per` seconds count, and those that have passed and may start any
-- moment. opens: when the first of these starts is that long ago.
CREATE FUNCTION dray.rate_room(of_gate text, of_key text, rate jsonb, OUT room integer, OUT opens timestamptz) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    most integer := (rate ->> 'limit')::integer;
    per interval := (rate ->> 'per')::double precision * interval '1 second';
    since timestamptz := clock_timestamp() - per;
BEGIN
    -- In one statement, so that one that starts at this moment is not missed by both counts.
    SELECT most - count(*), coalesce(min(s.started_at), clock_timestamp()) + per INTO room, opens FROM (
        (SELECT e.started_at FROM dray.execution e WHERE e.gate = of_gate AND e.rate_key = of_key AND e.started_at > since
        ORDER BY e.started_at DESC LIMIT most)
        UNION ALL
        (SELECT e.started_at FROM dray.execution e
        WHERE e.gate = of_gate AND e.rate_key = of_key AND e.started_at IS NULL AND e.status = 'queued' AND e.stage IN ('w', 'p') LIMIT most)) s;
END $$;

-- Places of a gate that are free, counted from the executions that have passed it and are queued or running. One that waits (for a timer, a
-- signal, a retry) has given its place back. of_key NULL: those of the whole workflow.
CREATE FUNCTION dray.places(of_gate text, of_key text, most integer) RETURNS integer LANGUAGE sql VOLATILE
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
    SELECT CASE WHEN $3 IS NULL THEN NULL WHEN $2 IS NULL THEN $3 - (SELECT count(*)::integer FROM (
        SELECT 1 FROM dray.execution e WHERE e.gate = $1 AND e.stage = 'p' AND e.status IN ('queued', 'running') LIMIT $3) s)
    ELSE $3 - (SELECT count(*)::integer FROM (
        SELECT 1 FROM dray.execution e WHERE e.gate = $1 AND e.stage IN ('r', 'w', 'p') AND e.concurrency_key = $2
            AND e.status IN ('queued', 'running') LIMIT $3) s) END
$$;

-- Lets through what may start of one workflow: these keys first, then these rates, then the workflow's own places. The lock, until the claim
-- commits, is what keeps two claims from counting the same free place twice: whoever comes next counts after that commit.
CREATE FUNCTION dray.open_gate(name text, keys text[], rate_keys text[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    limits jsonb;
    each text;
    rates text[] := rate_keys;
    free record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('dray.gate'), hashtext(name));
    limits := coalesce(dray.latest_limits(name), '{}');
    FOREACH each IN ARRAY keys LOOP
        rates := rates || dray.pass(dray.lane('k', name, each), dray.places(name, each, (limits ->> 'key_limit')::integer), limits);
    END LOOP;
    FOR each IN SELECT DISTINCT r FROM unnest(rates) r WHERE r IS NOT NULL LOOP
        IF limits ? 'rate' THEN
            SELECT * INTO free FROM dray.rate_room(name, each, limits -> 'rate');
            PERFORM dray.pass(dray.lane('r', name, each), free.room, limits);
            PERFORM dray.look_later(name, NULL, each, free.opens)
            WHERE (SELECT e.id FROM dray.execution e WHERE e.lane = dray.lane('r', name, each) AND e.status = 'queued' LIMIT 1) IS NOT NULL;
        ELSE
            PERFORM dray.pass(dray.lane('r', name, each), NULL, limits);
        END IF;
    END LOOP;
    PERFORM dray.pass(dray.lane('w', name, ''), dray.places(name, NULL, (limits ->> 'concurrency')::integer), limits);
END $$;

-- Follows the notes that are due, at most a thousand; gives how many there were. Workflows in the order of their locks.
CREATE FUNCTION dray.open_gates() RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    gates text[];
    keys jsonb[];
    rate_keys jsonb[];
    notes integer;
BEGIN
    WITH due AS MATERIALIZED (
        SELECT c.id FROM dray.gate_change c WHERE c.at <= (SELECT clock_timestamp()) ORDER BY c.at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM dray.gate_change c WHERE c.id = ANY (ARRAY(SELECT d.id FROM due d)) RETURNING c.gate, c.concurrency_key, c.rate_key
    ), per_gate AS (
        SELECT g.gate, jsonb_agg(DISTINCT g.concurrency_key) FILTER (WHERE g.concurrency_key IS NOT NULL) AS keys,
            jsonb_agg(DISTINCT g.rate_key) FILTER (WHERE g.rate_key IS NOT NULL) AS rate_keys, count(*) AS notes
        FROM gone g GROUP BY g.gate
    )
    SELECT array_agg(p.gate ORDER BY hashtext(p.gate), p.gate), array_agg(p.keys ORDER BY hashtext(p.gate), p.gate),
        array_agg(p.rate_keys ORDER BY hashtext(p.gate), p.gate), coalesce(sum(p.notes), 0)
    INTO gates, keys, rate_keys, notes FROM per_gate p;
    FOR n IN 1 .. coalesce(cardinality(gates), 0) LOOP
        PERFORM dray.open_gate(gates[n], ARRAY(SELECT jsonb_array_elements_text(keys[n])), ARRAY(SELECT jsonb_array_elements_text(rate_keys[n])));
    END LOOP;
    RETURN notes;
END $$;

-- After an execution with limits or a tenant changed its status. Woken, resumed or retried, it has to pass the gates anew; else whoever
-- waits at them may find a place now.
CREATE FUNCTION dray.execution_moved() RETURNS trigger LANGUAGE plpgsql
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
BEGIN
    IF NEW.status = 'queued' AND OLD.status <> 'running' AND NEW.gate IS NOT NULL THEN
        UPDATE dray.execution e SET stage = n.stage,
            lane = dray.lane_of(n.stage, NEW.gate, NEW.concurrency_key, NEW.rate_key, NEW.queue, NEW.tenant)
        FROM (SELECT dray.next_stage(coalesce(dray.latest_limits(NEW.gate), '{}'), NULL, NEW.concurrency_key, NEW.rate_key,
            NEW.started_at IS NOT NULL)) n (stage)
        WHERE e.id = NEW.id;
    END IF;
    IF NEW.status = 'queued' THEN
        PERFORM dray.note_queued(ARRAY[NEW.id]);
    ELSIF NEW.gate IS NOT NULL THEN
        INSERT INTO dray.gate_change (gate, concurrency_key, rate_key) VALUES (NEW.gate, NEW.concurrency_key, NEW.rate_key);
        PERFORM dray.wake_drivers();
    END IF;
    RETURN NULL;
END $$;
-- AFTER, because a BEFORE trigger locks each row once more, also those without limits. The claim itself is not of interest here.
CREATE TRIGGER execution_moved AFTER UPDATE OF status ON dray.execution FOR EACH ROW
WHEN ((OLD.gate IS NOT NULL OR OLD.tenant IS NOT NULL) AND OLD.status <> NEW.status AND NEW.status <> 'running')
EXECUTE FUNCTION dray.execution_moved();

-- After a new version: its limits hold from now on, also for what waits at the gates of the earlier one. A gate that is no more lets
-- everybody through. Reads one entry of the index for each key that somebody waits for.
CREATE FUNCTION dray.limits_changed() RETURNS trigger LANGUAGE plpgsql
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    head text;
    this text;
BEGIN
    INSERT INTO dray.gate_change (gate, rate_key) VALUES (NEW.name, '');
    FOREACH head IN ARRAY ARRAY[dray.lane('k', NEW.name, ''), dray.lane('r', NEW.name, '')] LOOP
        this := head;
        LOOP
            -- All lanes that begin so: the next character after the separator is the end of the range.
            SELECT e.lane INTO this FROM dray.execution e WHERE e.status = 'queued' AND e.lane > this
                AND e.lane < left(head, -1) || E'\x20' ORDER BY e.lane LIMIT 1;
            EXIT WHEN this IS NULL;
            INSERT INTO dray.gate_change (gate, concurrency_key, rate_key) VALUES (NEW.name,
                CASE WHEN left(head, 1) = 'k' THEN substr(this, length(head) + 1) END, CASE WHEN left(head, 1) = 'r' THEN substr(this, length(head) + 1) END);
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER limits_changed AFTER INSERT ON dray.workflow FOR EACH ROW WHEN (NEW.version > 1) EXECUTE FUNCTION dray.limits_changed();

-- How many executions a claim may take from one queue; locks its row where anything is counted. tenants: whether its tenants take turns.
CREATE FUNCTION dray.queue_room(of_queue text, wanted integer, OUT room integer, OUT tenants boolean, OUT limited boolean, OUT rated boolean)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off SET lock_timeout = '500ms' AS $$
DECLARE said dray.queue;
BEGIN
    room := wanted;
    tenants := (SELECT c.id FROM dray.tenant_change c WHERE c.queue = of_queue LIMIT 1) IS NOT NULL;
    IF tenants THEN
        INSERT INTO dray.queue AS q (name) VALUES (of_queue) ON CONFLICT DO NOTHING;
    END IF;
    SELECT q.* INTO said FROM dray.queue q WHERE q.name = of_queue;
    tenants := tenants OR (SELECT t.name FROM dray.tenant t WHERE t.queue = of_queue LIMIT 1) IS NOT NULL;
    limited := coalesce(said.paused, false) OR said.concurrency IS NOT NULL OR said.rate IS NOT NULL;
    rated := said.rate IS NOT NULL;
    IF NOT (tenants OR limited) THEN
        RETURN;
    END IF;
    BEGIN
        SELECT q.* INTO said FROM dray.queue q WHERE q.name = of_queue FOR NO KEY UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        -- Somebody is changing it and has not committed: the other queues must not wait for that.
        said.paused := true;
    END;
    IF said.paused THEN
        room := 0;
        RETURN;
    END IF;
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

-- At most `room` executions of one queue, from its tenants in turn: whose turn was longest ago comes first and then goes to the end; those
-- without a tenant are one of them. Each gets the same share of the room, and what one does not use goes round again.
CREATE FUNCTION dray.take_turns(of_queue text, room integer, picked uuid[]) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    names text[];
    short text[] := '{}';
    share integer;
    got uuid[];
    this text;
BEGIN
    IF room <= 0 THEN
        RETURN picked;
    END IF;
    WHILE room > 0 LOOP
        names := ARRAY(SELECT t.name FROM dray.tenant t WHERE t.queue = of_queue AND t.name <> ALL (short) ORDER BY t.turn LIMIT room);
        EXIT WHEN names = '{}';
        share := greatest(1, room / cardinality(names));
        FOREACH this IN ARRAY names LOOP
            IF this = '' THEN
                got := ARRAY(SELECT e.id FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NULL AND e.queue = of_queue
                    AND e.id <> ALL (picked) ORDER BY e.rank LIMIT share FOR NO KEY UPDATE SKIP LOCKED);
            ELSE
                got := ARRAY(SELECT e.id FROM dray.execution e WHERE e.status = 'queued' AND e.lane = dray.lane('t', of_queue, this)
                    AND e.id <> ALL (picked) ORDER BY e.rank LIMIT share FOR NO KEY UPDATE SKIP LOCKED);
            END IF;
            picked := picked || got;
            room := room - cardinality(got);
            UPDATE dray.tenant t SET turn = clock_timestamp() WHERE t.queue = of_queue AND t.name = this;
            IF cardinality(got) < share THEN
                short := short || this;
            END IF;
        END LOOP;
    END LOOP;
    -- Out of the round goes who has nothing left. Not who has something that somebody keeps locked: nobody would tell when that is given back.
    DELETE FROM dray.tenant t WHERE t.queue = of_queue AND t.name = ANY (short) AND t.name <> '' AND (
        SELECT e.id FROM dray.execution e WHERE e.status = 'queued' AND e.lane = dray.lane('t', of_queue, t.name) AND e.id <> ALL (picked)
        ORDER BY e.rank LIMIT 1) IS NULL;
    DELETE FROM dray.tenant t WHERE t.queue = of_queue AND t.name = '' AND NOT EXISTS (
        SELECT 1 FROM dray.tenant o WHERE o.queue = of_queue AND o.name <> '');
    RETURN picked;
END $$;

-- The first queued executions of these queues by rank, at most rooms[n] of names[n]. Locks them, skips what others have locked.
CREATE FUNCTION dray.first_of(names text[], rooms integer[], wanted integer) RETURNS uuid[] LANGUAGE sql VOLATILE
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
    SELECT ARRAY(
        -- One index range per queue, so that each is read in index order.
        SELECT c.id FROM unnest($1, $2) AS q (name, room), LATERAL (
            SELECT e.id, e.rank FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NULL AND e.queue = q.name
            ORDER BY e.rank LIMIT q.room FOR NO KEY UPDATE SKIP LOCKED
        ) AS c
        ORDER BY c.rank LIMIT $3)
$$;

-- What a claim takes where anything is limited. limited: limits hold here. more: there are notes left to follow. rated: the queues whose starts are counted.
CREATE FUNCTION dray.pick_limited(queues text[], wanted integer, OUT picked uuid[], OUT limited boolean, OUT more boolean, OUT rated text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    name text;
    here record;
    names text[] := '{}';
    rooms integer[] := '{}';
    turning text[] := '{}';
    turning_rooms integer[] := '{}';
    before integer;
    notes integer := dray.open_gates();
BEGIN
    picked := '{}';
    rated := '{}';
    limited := notes > 0;
    more := notes = 1000;
    FOR name IN SELECT DISTINCT q FROM unnest(queues) q ORDER BY q LOOP  -- in the order of the locks
        SELECT * INTO here FROM dray.queue_room(name, wanted);
        limited := limited OR here.limited;
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

-- queued -> running, at most `wanted`, in the order of the ranks; skips rows that another claim is taking.
-- One row with fenced = false: the lease is lost and nothing was taken. No row: nothing is queued. A row without an id: limits hold here, so
-- that the end of an execution is a reason to look again; with claim_count 1: there is more to look at now.
CREATE FUNCTION dray.claim_if_fenced(incarnation uuid, queues text[], wanted integer)
RETURNS TABLE (fenced boolean, id uuid, workflow_id integer, claim_count integer, crash_count smallint, age double precision, input jsonb)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
-- Without these a queue that seems short is read whole and sorted (200,000 queued: 11,600 pages for a claim of 500, in index order 6,400).
SET jit = off SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    began timestamptz := clock_timestamp();
    names text[] := queues;
    special record;
BEGIN
    PERFORM 1 FROM dray.driver d WHERE d.id = incarnation AND d.lease_until > clock_timestamp() FOR KEY SHARE;
    fenced := FOUND;
    IF NOT fenced THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- Three looks into tables that are empty where nobody uses limits.
    IF (SELECT c.id FROM dray.gate_change c WHERE c.at <= began LIMIT 1) IS NOT NULL
        OR (SELECT q.name FROM dray.queue q WHERE q.name = ANY (queues) LIMIT 1) IS NOT NULL
        OR (SELECT c.id FROM dray.tenant_change c WHERE c.queue = ANY (queues) LIMIT 1) IS NOT NULL THEN
        SELECT * INTO special FROM dray.pick_limited(queues, wanted);
        names := '{}';
        IF special.limited THEN
            claim_count := special.more::integer;
            RETURN NEXT;
        END IF;
    ELSE
        SELECT '{}'::uuid[] AS picked, '{}'::text[] AS rated INTO special;
    END IF;
    RETURN QUERY
    WITH candidate AS MATERIALIZED (
        -- One index range per queue, so that each is read in index order.
        SELECT c.id FROM unnest(names) AS q (name), LATERAL (
            SELECT e.id, e.rank FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NULL AND e.queue = q.name
            ORDER BY e.rank LIMIT wanted FOR NO KEY UPDATE SKIP LOCKED
        ) AS c
        ORDER BY c.rank LIMIT wanted
    ), claimed AS (
        UPDATE dray.execution e SET
            status = 'running',
            owner = incarnation,
            claim_count = e.claim_count + 1,
            wake = false,
            started_at = coalesce(e.started_at, clock_timestamp())
        WHERE e.id = ANY (ARRAY(SELECT c.id FROM candidate c) || special.picked)
        RETURNING e.id, e.workflow_id, e.claim_count, e.crash_count, e.started_at
    )
    SELECT true, c.id, c.workflow_id, c.claim_count, c.crash_count,
        extract(epoch FROM clock_timestamp() - c.started_at)::double precision,
        (SELECT i.input FROM dray.execution_input i WHERE i.execution_id = c.id)
    FROM claimed c;
    IF special.rated <> '{}' THEN
        INSERT INTO dray.queue_start (queue, at, count)
        SELECT e.queue, clock_timestamp(), count(*) FROM dray.execution e
        WHERE e.owner = incarnation AND e.queue = ANY (special.rated) AND e.started_at >= began GROUP BY e.queue;
    END IF;
END $$;
