-- What a claim takes is bounded in bytes, and so is an input.

-- What a person says of the whole database. max_input_bytes: of one input as JSON; no row: 4 MiB, as for an output.
CREATE TABLE dray.setting (
    name  text PRIMARY KEY,
    value bigint NOT NULL,
    CONSTRAINT setting_name_check CHECK (name = 'max_input_bytes' AND value >= 1024)
);

-- input_size: bytes of the input as JSON, for the claim; NULL: at most 8 KiB, which so many have that their sum is of no interest. Costs nothing there.
ALTER TABLE dray.execution ADD COLUMN input_size integer;
DO $$
DECLARE open uuid;
BEGIN
    FOR open IN SELECT e.id FROM dray.execution e WHERE e.finished_at IS NULL LOOP
        BEGIN
            UPDATE dray.execution e SET input_size = octet_length(i.input::text) FROM dray.execution_input i
            WHERE e.id = open AND i.execution_id = open AND octet_length(i.input::text) > 8192;
        EXCEPTION WHEN program_limit_exceeded OR out_of_memory OR internal_error THEN
            -- A number of a few characters may have 131,072 digits as text: larger than a value can be.
            UPDATE dray.execution e SET input_size = 2147483647 WHERE e.id = open;
        END;
    END LOOP;
END $$;

-- Refuses an input that is too large, whoever writes it, and notes how large it is.
CREATE FUNCTION dray.input_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    size integer := octet_length(NEW.input::text);
    most bigint := coalesce((SELECT s.value FROM dray.setting s WHERE s.name = 'max_input_bytes'), 4194304);
BEGIN
    -- What is repeated may be from before the limit.
    IF size > most AND (SELECT s.input FROM dray.execution_input s WHERE s.execution_id = NEW.source_id) IS DISTINCT FROM NEW.input THEN
        RAISE EXCEPTION 'the input has % bytes as JSON, and % is the most', size, most USING ERRCODE = 'program_limit_exceeded',
            HINT = 'put what is large where handlers can read it, and its address into the input; or raise DRAY_MAX_INPUT_BYTES';
    END IF;
    IF size > 8192 THEN
        UPDATE dray.execution e SET input_size = size WHERE e.id = NEW.execution_id;
    END IF;
    RETURN NULL;
END $$;
-- Not a CHECK, which may not read the setting, and not in each function that submits. Below the least limit it costs the condition.
CREATE TRIGGER input_written AFTER INSERT OR UPDATE OF input ON dray.execution_input FOR EACH ROW
WHEN (octet_length(NEW.input::text) > 1024) EXECUTE FUNCTION dray.input_written();

-- Those of `ids`, in their order, whose inputs fit into `room`; the others are noted, so that a later claim looks at them again.
CREATE FUNCTION dray.fitting(ids uuid[], budget bigint, room bigint, crash_limit integer) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
DECLARE
    found uuid[] := ARRAY(SELECT f.id FROM (
        SELECT u.id, u.n, sum(CASE WHEN e.input_size > budget OR e.crash_count > crash_limit THEN 0 ELSE e.input_size END) OVER (ORDER BY u.n) AS filled
        FROM unnest(ids) WITH ORDINALITY AS u (id, n) JOIN dray.execution e ON e.id = u.id) f
        WHERE f.filled <= room OR f.filled IS NULL ORDER BY f.n);
BEGIN
    PERFORM dray.note_queued(ARRAY(SELECT u FROM unnest(ids) u WHERE u <> ALL (found)));
    RETURN found;
END $$;

DROP FUNCTION dray.claim_if_fenced(uuid, text[], integer);
-- queued -> running, at most `wanted`, in the order of the ranks, as far as their inputs fit into `room` bytes; skips rows that another claim is
-- taking. An input that is larger than `budget` counts for nothing and is not given, and so is that of one with more than `crash_limit` crashes:
-- what becomes of these is decided without it. The first that does not fit keeps the others waiting: it would never come to its turn.
-- One row with fenced = false: the lease is lost and nothing was taken. No row: nothing is queued. A row without an id: limits hold here, or the room is full, so
-- that the end of an execution is a reason to look again; with claim_count 1: there is more to look at now.
-- Refused in a stricter isolation: what a claim counts, after it has waited for a lock, it would count as before the one that it waited for.
CREATE FUNCTION dray.claim_if_fenced(incarnation uuid, queues text[], wanted integer, budget bigint, room bigint, crash_limit integer)
RETURNS TABLE (fenced boolean, id uuid, workflow_id integer, claim_count integer, crash_count smallint, age double precision, input jsonb, input_size integer)
LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan
-- Without these a queue that seems short is read whole and sorted (200,000 queued: 11,600 pages for a claim of 500, in index order 6,400).
SET jit = off SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    live_until timestamptz;
    began timestamptz := clock_timestamp();
    names text[] := queues;
    special record;
    picked uuid[] := '{}';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a claim must be READ COMMITTED, and this transaction is %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'serialization_failure', HINT = 'it is the default of the role or the database: default_transaction_isolation';
    END IF;
    -- The clock is read once the lock is there: a reaper that had it may have left the row.
    SELECT d.lease_until INTO live_until FROM dray.driver d WHERE d.id = incarnation AND NOT d.stopped FOR KEY SHARE;
    fenced := coalesce(live_until > clock_timestamp(), false);
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
        picked := special.picked;
        IF (SELECT e.id FROM dray.execution e WHERE e.id = ANY (picked) AND e.input_size IS NOT NULL LIMIT 1) IS NOT NULL THEN
            picked := dray.fitting(picked, budget, room, crash_limit);
        END IF;
        IF special.limited OR cardinality(picked) < cardinality(special.picked) THEN
            claim_count := special.more::integer;
            RETURN NEXT;
        END IF;
    ELSE
        SELECT '{}'::uuid[] AS picked, '{}'::text[] AS rated INTO special;
    END IF;
    RETURN QUERY
    WITH candidate AS MATERIALIZED (
        -- One index range per queue, so that each is read in index order.
        SELECT c.id, sum(c.size) OVER (ORDER BY c.rank ROWS UNBOUNDED PRECEDING) AS filled FROM unnest(names) AS q (name), LATERAL (
            SELECT e.id, e.rank, CASE WHEN e.input_size > budget OR e.crash_count > crash_limit THEN 0 ELSE e.input_size END AS size
            FROM dray.execution e WHERE e.status = 'queued' AND e.lane IS NULL AND e.queue = q.name
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
        WHERE e.id = ANY (ARRAY(SELECT c.id FROM candidate c WHERE c.filled <= room OR c.filled IS NULL) || picked)
        RETURNING e.id, e.workflow_id, e.claim_count, e.crash_count, e.started_at, e.input_size
    )
    SELECT true, c.id, c.workflow_id, c.claim_count, c.crash_count,
        extract(epoch FROM clock_timestamp() - c.started_at)::double precision,
        CASE WHEN c.input_size > budget OR c.crash_count > crash_limit THEN NULL
            ELSE (SELECT i.input FROM dray.execution_input i WHERE i.execution_id = c.id) END,
        c.input_size
    FROM claimed c
    UNION ALL
    (SELECT true, NULL, NULL, 0, NULL, NULL, NULL, NULL FROM candidate c WHERE c.filled > room LIMIT 1);
    IF special.rated <> '{}' THEN
        INSERT INTO dray.queue_start (queue, at, count)
        SELECT e.queue, clock_timestamp(), count(*) FROM dray.execution e
        WHERE e.owner = incarnation AND e.queue = ANY (special.rated) AND e.started_at >= began GROUP BY e.queue;
    END IF;
END $$;

-- running -> running, by a new claim: what this incarnation holds and does not know of, because the answer to the claim that took it was lost.
-- As the claim is new, whatever was decided under the earlier one is refused. fenced, and a row without an id where there is more of it
-- (somebody has it locked): as claim_if_fenced.
CREATE FUNCTION dray.claim_unheard(incarnation uuid, held uuid[], wanted integer, budget bigint, crash_limit integer)
RETURNS TABLE (fenced boolean, id uuid, workflow_id integer, claim_count integer, crash_count smallint, age double precision, input jsonb, input_size integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    live_until timestamptz;
    unheard uuid[];
BEGIN
    SELECT d.lease_until INTO live_until FROM dray.driver d WHERE d.id = incarnation AND NOT d.stopped FOR KEY SHARE;
    fenced := coalesce(live_until > clock_timestamp(), false);
    IF NOT fenced THEN
        RETURN NEXT;
        RETURN;
    END IF;
    unheard := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation AND e.id <> ALL (held)
        LIMIT wanted FOR NO KEY UPDATE SKIP LOCKED);
    RETURN QUERY WITH claimed AS (
        UPDATE dray.execution e SET claim_count = e.claim_count + 1 WHERE e.id = ANY (unheard)
        RETURNING e.id, e.workflow_id, e.claim_count, e.crash_count, e.started_at, e.input_size
    )
    SELECT true, c.id, c.workflow_id, c.claim_count, c.crash_count, extract(epoch FROM clock_timestamp() - c.started_at)::double precision,
        CASE WHEN c.input_size > budget OR c.crash_count > crash_limit THEN NULL
            ELSE (SELECT i.input FROM dray.execution_input i WHERE i.execution_id = c.id) END,
        c.input_size
    FROM claimed c ORDER BY c.id;
    IF (SELECT e.id FROM dray.execution e WHERE e.owner = incarnation AND e.id <> ALL (held) AND e.id <> ALL (unheard) LIMIT 1) IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END $$;
