-- What drivers call: the two ways in which an incarnation ends.

-- running -> queued (or cancelled, where that was asked for), for every incarnation whose lease ran out; its row goes, so it can never write again.
-- A function because each of its statements must see what committed before the row lock was granted: in one statement the update would
-- use a snapshot from before the lock, and miss what the dying driver claimed in between. A locked row is left to the next turn.
-- An execution that somebody keeps locked is waited for, but not for long: the next turn tries again.
-- Afterwards the same for incarnations that have no row (somebody deleted it, or the server's default isolation is not READ COMMITTED, so
-- that a claim was missed as said above): nobody else would ever look at what they held. One index entry is read for each owner.
CREATE FUNCTION dray.reap() RETURNS TABLE (driver uuid, host text, pid integer, requeued integer) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '2s' AS $$
DECLARE total integer := 0;
BEGIN
    FOR reap.driver, reap.host, reap.pid IN
        SELECT d.id, d.host, d.pid FROM dray.driver d WHERE d.lease_until < clock_timestamp() ORDER BY d.id FOR UPDATE SKIP LOCKED
    LOOP
        reap.requeued := dray.give_back(reap.driver, true);
        total := total + reap.requeued;
        DELETE FROM dray.driver d WHERE d.id = reap.driver;
        UPDATE dray.runner r SET ended_at = now(), ended = 'driver lost' WHERE r.driver = reap.driver AND r.ended_at IS NULL;
        RETURN NEXT;
    END LOOP;
    FOR reap.driver, reap.host, reap.pid IN
        WITH RECURSIVE holding (owner) AS (
            (SELECT e.owner FROM dray.execution e WHERE e.owner IS NOT NULL ORDER BY e.owner LIMIT 1)
            UNION ALL
            SELECT (SELECT e.owner FROM dray.execution e WHERE e.owner > h.owner ORDER BY e.owner LIMIT 1) FROM holding h WHERE h.owner IS NOT NULL
        )
        SELECT h.owner, 'unknown', 0 FROM holding h
        WHERE h.owner IS NOT NULL AND (SELECT d.id FROM dray.driver d WHERE d.id = h.owner) IS NULL
    LOOP
        reap.requeued := dray.give_back(reap.driver, true);
        total := total + reap.requeued;
        RETURN NEXT;
    END LOOP;
    IF total > 0 THEN
        PERFORM dray.wake_drivers();
    END IF;
END $$;

-- The planned end of an incarnation: gives everything back without counting a crash. NULL: it had been reaped already.
CREATE FUNCTION dray.release(incarnation uuid) RETURNS integer LANGUAGE plpgsql VOLATILE SET lock_timeout = '5s' AS $$
DECLARE moved integer;
BEGIN
    PERFORM 1 FROM dray.driver d WHERE d.id = incarnation FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    moved := dray.give_back(incarnation, false);
    DELETE FROM dray.driver d WHERE d.id = incarnation;
    UPDATE dray.runner r SET ended_at = now(), ended = 'driver stopped' WHERE r.driver = incarnation AND r.ended_at IS NULL;
    IF moved > 0 THEN
        PERFORM dray.wake_drivers();
    END IF;
    RETURN moved;
END $$;
