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

-- name: signal
-- waiting -> queued, or the mark `wake`. False: over, or unknown.
SELECT dray.signal(%(id)s::uuid, %(name)s::text, %(payload)s::jsonb, %(node)s::text, %(dedupe)s::text);

-- name: list_approvals
-- Nodes that wait for a person, the newest executions first: a wait whose state has options, and of which nothing else is recorded since.
SELECT c.execution_id::text, w.name, c.node_key, c.attempt, c.outcome -> 'state' ->> 'message', c.outcome -> 'state' -> 'options',
    (SELECT min(f.at) FROM dray.checkpoint f WHERE f.execution_id = c.execution_id AND f.node_key = c.node_key AND f.kind = 'g'), c.wake_at
FROM dray.checkpoint c
JOIN dray.execution e ON e.id = c.execution_id AND e.finished_at IS NULL
JOIN dray.workflow w ON w.id = e.workflow_id
WHERE c.kind = 'g' AND c.outcome ->> 'signal' = 'human_input' AND (%(id)s::uuid IS NULL OR c.execution_id = %(id)s::uuid)
    AND NOT EXISTS (SELECT FROM dray.checkpoint l
        WHERE l.execution_id = c.execution_id AND l.node_key = c.node_key AND l.attempt > c.attempt AND l.kind IN ('c', 'w', 'f', 'g', 'd'))
ORDER BY c.execution_id DESC, c.node_key LIMIT %(limit)s;
