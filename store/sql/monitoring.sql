-- name: queue_stats
SELECT queue, queued, running, waiting, paused, oldest_seconds FROM dray.queue_stats ORDER BY queue;

-- name: queue_rates
-- The same with executions that ended per minute: counts those of the last five.
SELECT queue, queued, running, waiting, paused, oldest_seconds, finished_per_minute FROM dray.queue_stats ORDER BY queue;

-- name: work_left
-- Whether a driver of these queues would have something to do within `soon` seconds: what it holds, what is queued or due, schedules, marks
-- to be placed, executions of a driver that died. Queues that are paused do not count.
SELECT EXISTS (SELECT FROM dray.execution WHERE owner IN (SELECT id FROM dray.driver WHERE id = %(driver)s::uuid OR lease_until < clock_timestamp()))
    OR EXISTS (SELECT FROM dray.execution e WHERE e.status = 'queued' AND e.queue = ANY (%(queues)s::text[])
        AND NOT EXISTS (SELECT FROM dray.queue q WHERE q.name = e.queue AND q.paused))
    OR EXISTS (SELECT FROM dray.execution e WHERE e.status = 'waiting' AND e.wake_at <= clock_timestamp() + make_interval(secs => %(soon)s)
        AND e.queue = ANY (%(queues)s::text[]))
    OR EXISTS (SELECT FROM dray.schedule WHERE status = 'active' AND look_at <= clock_timestamp() + make_interval(secs => %(soon)s))
    OR EXISTS (SELECT FROM dray.pending_mark);
