-- The two ways in which an incarnation ends: its lease runs out, or it is stopped. An execution that somebody keeps locked is never waited for:
-- the others are given back, and it is as soon as it is free. Until it holds nothing its row stays, and says how it ended.

-- stopped: the planned end. What it still holds is given back without counting a crash, by whoever comes by.
ALTER TABLE dray.driver ADD COLUMN stopped boolean NOT NULL DEFAULT false;

DROP FUNCTION dray.give_back(uuid, boolean);

-- Gives back at most `most` of what this incarnation holds, whose row the caller has locked, and ends it where that was all: its row goes, so
-- it can never write again. has_left: it holds something still, or somebody has one of its runners locked.
CREATE FUNCTION dray.end_driver(incarnation uuid, crashed boolean, most integer, OUT moved integer, OUT has_left boolean) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    moved := dray.give_back(incarnation, crashed, most);
    IF moved > 0 THEN
        PERFORM dray.wake_drivers();
    END IF;
    has_left := (SELECT e.id FROM dray.execution e WHERE e.owner = incarnation LIMIT 1) IS NOT NULL;
    IF NOT has_left THEN
        UPDATE dray.runner r SET ended_at = clock_timestamp(), ended = CASE WHEN crashed THEN 'driver lost' ELSE 'driver stopped' END
        WHERE r.id = ANY (ARRAY(SELECT o.id FROM dray.runner o WHERE o.driver = incarnation AND o.ended_at IS NULL FOR NO KEY UPDATE SKIP LOCKED));
        has_left := (SELECT r.id FROM dray.runner r WHERE r.driver = incarnation AND r.ended_at IS NULL LIMIT 1) IS NOT NULL;
    END IF;
    IF NOT has_left THEN
        DELETE FROM dray.driver d WHERE d.id = incarnation;
    END IF;
END $$;

-- running -> queued (or paused or cancelled, where that was asked for), of the next incarnation that has ended and is not in `done`: one call is
-- one transaction for one of them, so that what holds up one holds up no other. No row: there is no other one.
-- A function because each of its statements must see what committed before the row lock was granted: in one statement the update would
-- use a snapshot from before the lock, and miss what the dying driver claimed in between. A locked row is left to the next turn.
-- After those it is the turn of incarnations that have no row (somebody deleted it): nobody else would ever look at what they held. One index
-- entry is read for each owner.
DROP FUNCTION dray.reap();
CREATE FUNCTION dray.reap_next(done uuid[], most integer)
RETURNS TABLE (driver uuid, host text, pid integer, requeued integer, planned boolean, has_left boolean) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    SELECT d.id, d.host, d.pid, d.stopped INTO reap_next.driver, reap_next.host, reap_next.pid, reap_next.planned
    FROM dray.driver d WHERE (d.lease_until < clock_timestamp() OR d.stopped) AND d.id <> ALL (done) ORDER BY d.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        WITH RECURSIVE holding (owner) AS (
            (SELECT e.owner FROM dray.execution e WHERE e.owner IS NOT NULL ORDER BY e.owner LIMIT 1)
            UNION ALL
            SELECT (SELECT e.owner FROM dray.execution e WHERE e.owner > h.owner ORDER BY e.owner LIMIT 1) FROM holding h WHERE h.owner IS NOT NULL
        )
        SELECT h.owner, 'unknown', 0, false INTO reap_next.driver, reap_next.host, reap_next.pid, reap_next.planned FROM holding h
        WHERE h.owner IS NOT NULL AND h.owner <> ALL (done) AND (SELECT d.id FROM dray.driver d WHERE d.id = h.owner) IS NULL LIMIT 1;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    SELECT e.moved, e.has_left INTO reap_next.requeued, reap_next.has_left FROM dray.end_driver(reap_next.driver, NOT planned, most) e;
    RETURN NEXT;
END $$;

-- The planned end of an incarnation: from then on it claims nothing, and nothing that it holds counts a crash. Gives back at most `most`; moved
-- NULL: it has no row. has_left: it holds more, or its commit of this moment does not let go of its row.
DROP FUNCTION dray.release(uuid);
CREATE FUNCTION dray.release(incarnation uuid, most integer, OUT moved integer, OUT has_left boolean) LANGUAGE plpgsql VOLATILE SET lock_timeout = '2s' AS $$
BEGIN
    UPDATE dray.driver d SET stopped = true WHERE d.id = incarnation AND NOT d.stopped; -- waits for no commit
    BEGIN
        PERFORM 1 FROM dray.driver d WHERE d.id = incarnation FOR UPDATE;
        IF FOUND THEN
            SELECT e.moved, e.has_left INTO release.moved, release.has_left FROM dray.end_driver(incarnation, false, most) e;
        END IF;
    EXCEPTION WHEN lock_not_available THEN
        moved := 0;
        has_left := true;
    END;
END $$;
