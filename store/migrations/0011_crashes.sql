-- Only what died with its driver counts against an execution: not what that driver held and had not begun, and nothing where the process lives.

-- Of executions of which a crash was counted: by the end of which incarnation. It may turn out that it lives. Rows go after a day.
CREATE TABLE dray.crash (
    driver       uuid NOT NULL,
    execution_id uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (driver, execution_id)
);

-- apart: executions that it holds and has not begun, because they are to be run alone.
ALTER TABLE dray.driver ADD COLUMN apart uuid[] NOT NULL DEFAULT '{}';

-- running -> queued, paused or cancelled (where that was asked for), at most `most` of one incarnation; those that somebody keeps locked are
-- left out, for the next turn. crashed: count it, but for what stood apart; false for a planned stop.
-- crash_count counts the crashes in a row between which nothing was recorded: it grows for what kills its driver again and again, and
-- starts at 1 again for a long execution that lived through drivers' deaths of other causes. crashed_at, written here only, says since
-- when to look, so the claim writes nothing for it.
-- The settings and the array: as a plan of the first minute of a database it would read all executions for ever.
CREATE FUNCTION dray.give_back(incarnation uuid, crashed boolean, most integer) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    held uuid[] := ARRAY(SELECT e.id FROM dray.execution e WHERE e.owner = incarnation LIMIT most FOR NO KEY UPDATE SKIP LOCKED);
    -- Those that died with it.
    dead uuid[] := CASE WHEN crashed THEN ARRAY(SELECT h FROM unnest(held) h
        EXCEPT SELECT a FROM dray.driver d, unnest(d.apart) a WHERE d.id = incarnation) ELSE '{}' END;
    moved integer;
    cancelled uuid[];
    parents uuid[];
BEGIN
    WITH given AS (
        UPDATE dray.execution e SET
            owner = NULL,
            control = NULL,
            status = CASE e.control WHEN 'cancel' THEN 'cancelled' WHEN 'pause' THEN 'paused' ELSE 'queued' END,
            finished_at = CASE WHEN e.control = 'cancel' THEN clock_timestamp() END,
            crash_count = CASE
                WHEN e.id <> ALL (dead) THEN e.crash_count
                WHEN (SELECT c.at FROM dray.checkpoint c WHERE c.execution_id = e.id AND c.at > e.crashed_at LIMIT 1) IS NOT NULL THEN 1
                ELSE e.crash_count + 1 END,
            crashed_at = CASE WHEN e.id = ANY (dead) THEN clock_timestamp() ELSE e.crashed_at END
        WHERE e.id = ANY (held) AND (e.owner = incarnation) IS TRUE
        RETURNING e.id, e.status, CASE WHEN e.detached IS NOT TRUE THEN e.parent_id END AS parent
    )
    SELECT count(*), array_agg(g.id) FILTER (WHERE g.status = 'cancelled'),
        array_agg(g.parent) FILTER (WHERE g.status = 'cancelled' AND g.parent IS NOT NULL)
    INTO moved, cancelled, parents FROM given g;
    IF dead <> '{}' THEN
        INSERT INTO dray.crash (driver, execution_id) SELECT incarnation, d FROM unnest(dead) d ON CONFLICT DO NOTHING;
        DELETE FROM dray.crash c WHERE c.at < clock_timestamp() - interval '1 day';
    END IF;
    IF cancelled IS NOT NULL THEN
        PERFORM dray.mark_family(cancelled, parents);
    END IF;
    RETURN moved;
END $$;

-- The process of an incarnation that lost its lease lives: its end was no crash. What it holds still is given back as at a planned end, by
-- whoever comes by; what others gave back already has a crash less. Skips what somebody keeps locked. Once more changes nothing.
CREATE FUNCTION dray.outlived(incarnation uuid) RETURNS void LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    counted uuid[];
BEGIN
    UPDATE dray.driver d SET stopped = true WHERE d.id = incarnation AND NOT d.stopped;
    counted := ARRAY(SELECT e.id FROM dray.execution e
        WHERE e.id = ANY (ARRAY(SELECT c.execution_id FROM dray.crash c WHERE c.driver = incarnation)) ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED);
    UPDATE dray.execution e SET crash_count = greatest(0, e.crash_count - 1) WHERE e.id = ANY (counted) AND e.finished_at IS NULL;
    DELETE FROM dray.crash c WHERE c.driver = incarnation AND c.execution_id = ANY (counted);
END $$;
