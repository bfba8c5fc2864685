-- What monitoring reads: how many executions are open in each queue, and how many it ended lately, without reading the history.

-- The index for those that no other index lists. Costs nothing for an execution that never parks. Not for timers: wake_due has its own.
CREATE INDEX execution_parked_idx ON dray.execution (queue, status) WHERE status = 'paused' OR (status = 'waiting' AND wake_at IS NULL);

-- For the rate. Costs 78 bytes of WAL when an execution ends: one of one node logs 1,317 bytes, without it 1,239. No other index tells when one ended.
CREATE INDEX execution_finished_idx ON dray.execution (queue, finished_at) WHERE finished_at IS NOT NULL;

-- A line for each queue with open executions, or with some that ended in the last five minutes. Reads as many rows as those, each branch by an
-- index of its own; of what has ended only the latest entry of each queue, and the five minutes where somebody asks for the rate.
-- oldest_seconds: how long the longest waiting of the queued ones has waited; 0 = none is queued. finished_per_minute: over those minutes.
-- now(), which is the same for all rows: so the index is a range, and a query that leaves the rate out does not count for it.
CREATE VIEW dray.queue_stats AS
WITH RECURSIVE ended (queue) AS (
    (SELECT e.queue FROM dray.execution e WHERE e.finished_at IS NOT NULL ORDER BY e.queue LIMIT 1)
    UNION ALL
    SELECT (SELECT e.queue FROM dray.execution e WHERE e.finished_at IS NOT NULL AND e.queue > n.queue ORDER BY e.queue LIMIT 1)
    FROM ended n WHERE n.queue IS NOT NULL
)
SELECT s.queue, s.queued, s.running, s.waiting, s.paused, s.oldest_seconds,
    (SELECT count(*) FROM dray.execution e WHERE e.queue = s.queue AND e.finished_at > now() - interval '5 minutes')::float8 / 5
        AS finished_per_minute
FROM (
    SELECT queue,
        count(*) FILTER (WHERE status = 'queued') AS queued,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'waiting') AS waiting,
        count(*) FILTER (WHERE status = 'paused') AS paused,
        coalesce(greatest(0, extract(epoch FROM clock_timestamp() - min(run_at) FILTER (WHERE status = 'queued'))), 0)::float8 AS oldest_seconds
    FROM (
        SELECT queue, status, run_at FROM dray.execution WHERE status = 'queued' AND lane IS NULL
        UNION ALL SELECT queue, status, run_at FROM dray.execution WHERE status = 'queued' AND lane IS NOT NULL
        UNION ALL SELECT queue, status, run_at FROM dray.execution WHERE status = 'running' AND owner IS NOT NULL
        UNION ALL SELECT queue, status, run_at FROM dray.execution WHERE status = 'waiting' AND wake_at IS NOT NULL
        UNION ALL SELECT queue, status, run_at FROM dray.execution WHERE status = 'paused' OR (status = 'waiting' AND wake_at IS NULL)
        UNION ALL SELECT n.queue, NULL, NULL FROM ended n
            WHERE (SELECT max(e.finished_at) FROM dray.execution e WHERE e.queue = n.queue AND e.finished_at IS NOT NULL)
                > now() - interval '5 minutes'
    ) known
    GROUP BY queue
) s;
