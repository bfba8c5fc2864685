-- name: blockers
-- Who keeps this process of the server waiting: its number, program, role, since when, and whether it does anything.
SELECT a.pid, a.application_name, a.usename::text, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS TZ'), a.state
FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids(%(pid)s)) ORDER BY a.xact_start;
