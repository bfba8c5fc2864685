-- name: news_of
-- Signals that no node has taken and ends of children that nodes wait for; see the function.
SELECT execution_id::text, signal_id, name, node, payload::text, child_id::text, status, output::text, error::text FROM dray.news_of(%(ids)s::uuid[]);

-- name: news_of_driver
-- The same for what this incarnation holds and somebody marked with `wake`; see the function.
SELECT execution_id::text, signal_id, name, node, payload::text, child_id::text, status, output::text, error::text
FROM dray.news_of_driver(%(driver)s::uuid, %(again)s);

-- name: place_marks
-- waiting -> queued; queued, waiting, paused -> cancelled; see the function. Needs no fence: it is true whoever does it, and twice is once.
SELECT dray.place_marks(%(limit)s);
