-- name: due_schedules
-- Those that a driver has to look at now or within :ahead seconds, the longest due first. idle: the last execution has ended, or is gone.
-- Not those that somebody else is looking at, or has changed and not committed: they would stand in the way of the others.
-- The clock is read in a subquery, once: compared with the bare function, which differs from row to row, the index would be read whole.
SELECT s.id::text, s.name, s.kind, s.expression, s.zone, s.overlap, s.missed, s.missed_limit, s.since, s.next_at, s.queued_at,
    coalesce(e.status IN ('completed', 'failed', 'cancelled'), true) AS idle, s.failures, s.revision, c.now,
    extract(epoch FROM s.look_at - c.now)::float8 AS look_in
FROM (SELECT clock_timestamp() AS now) c, LATERAL (
    SELECT * FROM dray.schedule d
    WHERE d.status = 'active' AND d.look_at <= (SELECT clock_timestamp()) + %(ahead)s * interval '1 second'
    ORDER BY d.look_at LIMIT %(limit)s FOR SHARE SKIP LOCKED
) s
LEFT JOIN dray.execution e ON e.id = s.last_execution
ORDER BY s.look_at;

-- name: turn_schedule
-- (nothing) -> queued for a slot, and the schedule's next one set; see the function. false: another driver or a person was faster.
SELECT done, execution::text FROM dray.turn_schedule(%(id)s::uuid, %(revision)s, %(slot)s::timestamptz, %(scheduled_at)s::text,
    %(queued)s::timestamptz, %(following)s::timestamptz, %(look_at)s::timestamptz);

-- name: fail_schedule_if_unchanged
-- Marks one that could not be run, and puts it off; its slot stays, and is a missed one when that takes too long.
UPDATE dray.schedule SET failures = failures + 1, error = %(error)s, look_at = clock_timestamp() + %(pause)s * interval '1 second',
    revision = revision + 1
WHERE id = (SELECT s.id FROM dray.schedule s WHERE s.id = %(id)s::uuid AND s.revision = %(revision)s AND s.status = 'active'
    FOR UPDATE SKIP LOCKED) RETURNING 1;

-- name: set_schedule
-- (nothing) -> active or paused, or changed; see the function.
SELECT dray.set_schedule(%(name)s::text, %(workflow)s::text, %(kind)s::text, %(expression)s::text, %(zone)s::text, %(input)s::jsonb,
    %(priority)s::integer, %(queue)s::text, %(labels)s::jsonb, %(overlap)s::text,
    paused => %(paused)s::boolean, missed => %(missed)s::text, missed_limit => %(missed_limit)s::integer)::text;

-- name: pause_schedule
-- active -> paused.
SELECT dray.pause_schedule(%(name)s::text);

-- name: resume_schedule
-- paused -> active.
SELECT dray.resume_schedule(%(name)s::text);

-- name: delete_schedule
SELECT dray.delete_schedule(%(name)s::text);

-- name: run_schedule
-- (nothing) -> queued, by hand; NULL: no such schedule.
SELECT dray.run_schedule(%(name)s::text)::text;

-- name: list_schedules
SELECT s.id::text, s.name, s.workflow, s.kind, s.expression, s.zone, s.status, s.overlap, s.missed, s.missed_limit, s.from_graph, s.priority, s.queue,
    s.input, s.labels, s.created_at, s.since, s.next_at, s.queued_at, s.last_at, s.last_execution::text, s.failures, s.error
FROM dray.schedule s
WHERE (%(name)s::text IS NULL OR s.name = %(name)s) AND (%(workflow)s::text IS NULL OR s.workflow = %(workflow)s)
ORDER BY s.name;
