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

-- name: limit_inputs
-- Of this database, from now on. No row: that was so already.
INSERT INTO dray.setting AS s (name, value) VALUES ('max_input_bytes', %(most)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE s.value <> excluded.value RETURNING 1;

-- name: set_listening
-- Idle drivers say so, and only then does submit send a NOTIFY.
UPDATE dray.driver SET listening = %(listening)s WHERE id = %(driver)s::uuid AND listening <> %(listening)s;

-- name: reap_next
-- running -> queued, for the next incarnation that has ended; see the function. No row: there is none besides those in :done.
SELECT driver::text, host, pid, requeued, planned, has_left FROM dray.reap_next(%(done)s::uuid[], %(most)s);

-- name: release
-- running -> queued for what this incarnation holds, and its end; see the function. moved NULL: it was reaped before.
SELECT moved, has_left FROM dray.release(%(driver)s::uuid, %(most)s);

-- name: outlived
-- Its process lives: its end was no crash; see the function.
SELECT dray.outlived(%(driver)s::uuid);

-- name: stand_apart
-- Executions that this incarnation holds and has not begun: more of them, and one less.
UPDATE dray.driver SET apart = array_remove(apart || %(more)s::uuid[], %(less)s::uuid) WHERE id = %(driver)s::uuid;

-- name: register_runner
INSERT INTO dray.runner (driver, node_id, host, pid, name)
VALUES (%(driver)s::uuid, %(node_id)s, %(host)s, %(pid)s, %(name)s) RETURNING id;

-- name: end_runner
UPDATE dray.runner SET ended_at = now(), ended = %(reason)s WHERE id = %(id)s AND ended_at IS NULL;
