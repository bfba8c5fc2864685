-- name: prune
-- completed, failed, cancelled -> (nothing), at most :most; see the function.
SELECT deleted, last::text FROM dray.prune(clock_timestamp() - %(age)s * interval '1 second', %(statuses)s::text[], %(most)s, %(behind)s::uuid);

-- name: count_prunable
SELECT count(*) FROM dray.prunable(clock_timestamp() - %(age)s * interval '1 second', %(statuses)s::text[], NULL, NULL);
