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

-- name: held_by
-- What a queued execution waits for besides its turn by rank; no row: it is not queued. For people, one execution at a time: the counts
-- end at their limits, and read what is held by drivers that live.
SELECT left(e.lane, 1), e.gate, e.concurrency_key, e.rate_key, e.tenant, dray.latest_limits(e.gate), e.queue, coalesce(q.paused, false),
    CASE WHEN q.concurrency <= (SELECT count(*) FROM (
        SELECT 1 FROM dray.driver d CROSS JOIN LATERAL (
            SELECT 1 FROM dray.execution o WHERE o.owner = d.id AND o.queue = e.queue LIMIT q.concurrency) o
        LIMIT q.concurrency) s) THEN q.concurrency END,
    CASE WHEN q.rate <= (SELECT sum(s.count) FROM dray.queue_start s
        WHERE s.queue = e.queue AND s.at > clock_timestamp() - q.per * interval '1 second') THEN q.rate END, q.per,
    EXISTS (SELECT 1 FROM dray.driver d WHERE d.lease_until > clock_timestamp() AND coalesce(d.info -> 'queues' ? e.queue, true))
FROM dray.execution e LEFT JOIN dray.queue q ON q.name = e.queue WHERE e.id = %(id)s::uuid AND e.status = 'queued';
