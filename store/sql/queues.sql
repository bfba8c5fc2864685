-- name: list_queues
-- For people: reads all that is queued or running.
SELECT n.name, coalesce(q.paused, false), q.concurrency, q.rate, q.per, coalesce(q.ageing, 60), coalesce(c.queued, 0), coalesce(c.held, 0),
    coalesce(c.running, 0), c.oldest
FROM (SELECT name FROM dray.queue UNION SELECT queue FROM dray.execution WHERE status IN ('queued', 'running')) n
LEFT JOIN dray.queue q ON q.name = n.name
LEFT JOIN (
    SELECT queue, count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'queued' AND lane IS NOT NULL) AS held,
        count(*) FILTER (WHERE status = 'running') AS running,
        extract(epoch FROM clock_timestamp() - min(run_at) FILTER (WHERE status = 'queued'))::float8 AS oldest
    FROM dray.execution WHERE status IN ('queued', 'running') GROUP BY queue
) c ON c.queue = n.name
ORDER BY n.name;

-- name: pause_queue
SELECT dray.pause_queue(%(queue)s::text);

-- name: resume_queue
-- False: it was not paused.
SELECT dray.resume_queue(%(queue)s::text);

-- name: limit_queue
SELECT dray.limit_queue(%(queue)s::text, %(concurrency)s::integer, %(rate)s::integer, %(per)s::float8, %(ageing)s::float8);
