-- name: commit_if_fenced
-- running -> completed, failed, cancelled, waiting, queued or paused; see the function. fenced = false: the lease is lost and nothing was written.
-- refused: what this incarnation does not hold by that claim; then nothing was written either.
SELECT fenced, settled::text[], refused::text[] FROM dray.commit_if_fenced(%(driver)s::uuid, %(again)s,
    %(execution_ids)s::uuid[], %(node_keys)s::text[], %(attempts)s::integer[], %(kinds)s::text[], %(branches)s::text[], %(outcomes)s::jsonb[],
    %(waits)s::float8[], %(runners)s::integer[], %(durations)s::integer[],
    %(settle_ids)s::uuid[], %(statuses)s::text[], %(wake_in)s::float8[], %(errors)s::jsonb[], %(claims)s::integer[],
    %(child_ids)s::uuid[], %(child_parents)s::uuid[], %(child_workflows)s::text[], %(child_versions)s::integer[], %(child_inputs)s::jsonb[],
    %(child_detached)s::boolean[], %(taken_ids)s::bigint[], %(taken_by)s::text[], %(held_ids)s::uuid[], %(held_claims)s::integer[]);
