-- What monitoring reads: how many executions are open in each queue, without reading those that have ended.

-- The index for those that no other index lists. Costs nothing for an execution that never parks. Not for timers: wake_due has its own.
CREATE INDEX execution_parked_idx ON dray.execution (queue, status) WHERE status = 'paused' OR (status = 'waiting' AND wake_at IS NULL);

-- A line for each queue with open executions. Reads as many rows as are open, each branch by an index of its own.
-- oldest_seconds: how long the longest waiting of the queued ones has waited; 0 = none is queued.
CREATE VIEW dray.queue_stats AS
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
) open
GROUP BY queue;
