-- name: register_driver
-- (nothing) -> a live lease. Once more changes nothing, for a repetition after a lost answer.
INSERT INTO dray.driver (id, lease_until, pid, host, info)
VALUES (%(driver)s::uuid, clock_timestamp() + %(ttl)s * interval '1 second', %(pid)s, %(host)s, %(info)s::jsonb)
ON CONFLICT (id) DO NOTHING;

-- name: renew_lease_if_live
-- Live -> live for another ttl. No row: the lease ran out or was reaped, and stays lost.
-- Touches no key column, so that a commit's KEY SHARE lock on the row does not make it wait.
UPDATE dray.driver SET lease_until = clock_timestamp() + %(ttl)s * interval '1 second'
WHERE id = %(driver)s::uuid AND lease_until > clock_timestamp() RETURNING 1;

-- name: set_listening
-- Idle drivers say so, and only then does submit send a NOTIFY.
UPDATE dray.driver SET listening = %(listening)s WHERE id = %(driver)s::uuid AND listening <> %(listening)s;

-- name: reap
-- running -> queued, for incarnations whose lease ran out; see the function.
SELECT driver::text, host, pid, requeued FROM dray.reap();

-- name: release
-- running -> queued for all that this incarnation holds, and its end; NULL if it was reaped before.
SELECT dray.release(%(driver)s::uuid);

-- name: register_runner
INSERT INTO dray.runner (driver, node_id, host, pid, name)
VALUES (%(driver)s::uuid, %(node_id)s, %(host)s, %(pid)s, %(name)s) RETURNING id;

-- name: end_runner
UPDATE dray.runner SET ended_at = now(), ended = %(reason)s WHERE id = %(id)s AND ended_at IS NULL;
