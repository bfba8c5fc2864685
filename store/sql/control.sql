-- name: pause
-- queued, waiting -> paused; running -> marked, its driver pauses it. NULL: no such execution.
SELECT dray.pause(%(id)s::uuid);

-- name: resume
-- paused -> waiting or queued; running -> the mark is taken back. NULL: no such execution.
SELECT dray.resume(%(id)s::uuid);

-- name: retry
-- (nothing) -> queued: a new execution that goes on from this one. NULL: no such execution.
SELECT dray.retry(%(id)s::uuid, %(latest)s)::text;

-- name: rerun
-- (nothing) -> queued: a new execution that begins this one's node anew. NULL: no such execution.
SELECT dray.rerun(%(id)s::uuid, %(from_node)s::text, %(input)s::jsonb, %(latest)s)::text;

-- name: bulk_count
SELECT count, at FROM dray.bulk_count(%(action)s::text, %(filter)s::jsonb);

-- name: bulk
-- As cancel, pause, resume, retry, for the first :most behind :behind.
SELECT done, last::text FROM dray.bulk(%(action)s::text, %(filter)s::jsonb, %(most)s, %(behind)s::uuid, %(latest)s, %(reason)s::text, %(by)s::text);
