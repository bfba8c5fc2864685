-- What a person does to executions: cancel, pause and resume, one or many by a filter; and what many are found by.

-- The first id that an execution submitted at this moment can have: ids of version 7 begin with milliseconds, so a range of time is a range
-- of ids. Immutable, although extract() is only stable: epoch is the one part of a time that no time zone changes.
CREATE FUNCTION dray.id_at(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (encode(substring(int8send(floor(extract(epoch FROM $1) * 1000)::bigint) FROM 3), 'hex') || repeat('0', 20))::uuid
$$;

-- Of what has no labels there is nothing in it, so that it costs those nothing.
CREATE INDEX execution_labels_idx ON dray.execution_input USING gin (labels jsonb_path_ops) WHERE labels IS NOT NULL;

-- queued, waiting, paused -> cancelled at once; running -> marked, its driver cancels it. Returns the status now, `cancelling` for the mark,
-- NULL for no such id. Within a second the children that it waits for are cancelled too, and whoever waits for it hears of its end.
CREATE FUNCTION dray.cancel(id uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE answer text;
BEGIN
    UPDATE dray.execution e SET
        status = CASE WHEN e.status = 'running' THEN e.status ELSE 'cancelled' END,
        control = CASE WHEN e.status = 'running' THEN 'cancel' END,
        finished_at = CASE WHEN e.status = 'running' THEN NULL ELSE now() END,
        wake_at = NULL
    WHERE e.id = cancel.id AND e.status IN ('queued', 'waiting', 'paused', 'running')
    RETURNING CASE WHEN e.status = 'running' THEN 'cancelling' ELSE e.status END INTO answer;
    IF FOUND THEN
        PERFORM dray.cancel_children(cancel.id);
        PERFORM dray.wake_drivers();
        RETURN answer;
    END IF;
    SELECT e.status INTO answer FROM dray.execution e WHERE e.id = cancel.id;
    RETURN answer;
END $$;

-- queued, waiting -> paused at once; running -> marked: what runs of it is finished and recorded, nothing more is started, and its driver
-- gives it back as paused. Returns the status now, `pausing` for the mark, `cancelling` for one that is to be cancelled, which stays so, or how
-- it has ended; NULL for no such id. wake_at stays, so that resume knows what it waited for.
CREATE FUNCTION dray.pause(id uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE answer text;
BEGIN
    UPDATE dray.execution e SET
        status = CASE WHEN e.status = 'running' THEN e.status ELSE 'paused' END,
        control = CASE WHEN e.status = 'running' THEN 'pause' END
    WHERE e.id = pause.id AND e.status IN ('queued', 'waiting', 'running') AND e.control IS DISTINCT FROM 'cancel'
    RETURNING CASE WHEN e.status = 'running' THEN 'pausing' ELSE e.status END INTO answer;
    IF NOT FOUND THEN
        SELECT CASE WHEN e.control = 'cancel' THEN 'cancelling' ELSE e.status END INTO answer FROM dray.execution e WHERE e.id = pause.id;
    END IF;
    RETURN answer;
END $$;

-- paused -> waiting where its run_at or a timer lies ahead and no signal came meanwhile, else -> queued; running -> the mark is taken back.
-- Returns the status now, which is how it was where there was nothing to resume; NULL for no such id.
CREATE FUNCTION dray.resume(id uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held dray.execution;
    answer text;
BEGIN
    SELECT e.* INTO held FROM dray.execution e
    WHERE e.id = resume.id AND (e.status = 'paused' OR e.status = 'running' AND e.control = 'pause') FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        SELECT CASE WHEN e.control = 'cancel' THEN 'cancelling' ELSE e.status END INTO answer FROM dray.execution e WHERE e.id = resume.id;
        RETURN answer;
    END IF;
    answer := CASE WHEN held.status = 'running' THEN held.status
        WHEN held.wake_at > clock_timestamp() AND (held.claim_count = 0 OR held.wake IS FALSE) THEN 'waiting' ELSE 'queued' END;
    UPDATE dray.execution e SET
        status = answer,
        control = NULL,
        wake_at = CASE WHEN answer = 'waiting' THEN e.wake_at END,
        wake = CASE WHEN answer = 'waiting' THEN false ELSE e.wake END
    WHERE e.id = held.id;
    PERFORM dray.wake_drivers();
    RETURN answer;
END $$;
