-- The schema of the first day. docs/database.md tells each table's life; store/tables.py shows the same at a glance.

CREATE SCHEMA IF NOT EXISTS dray;

-- A version never changes once stored: executions point at the row, so they keep their graph.
CREATE TABLE dray.workflow (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    version    integer NOT NULL,
    graph      jsonb NOT NULL,
    ends       text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_name_version_key UNIQUE (name, version)
);

-- One row per life of a driver process: the lease, and the fence of every write it makes. A lease is made longer, or its row deleted, and
-- never made shorter: FOR KEY SHARE does not look again at a row that an UPDATE of other columns changed while it waited.
CREATE TABLE dray.driver (
    id          uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    listening   boolean NOT NULL DEFAULT false,
    pid         integer NOT NULL,
    host        text NOT NULL,
    info        jsonb NOT NULL DEFAULT '{}'
);
-- Heartbeats rewrite these few rows for ever: room in the page keeps them HOT, and vacuum must not wait for 50 dead rows.
ALTER TABLE dray.driver SET (fillfactor = 50, autovacuum_vacuum_threshold = 20, autovacuum_vacuum_scale_factor = 0);

-- The hot row: everything that claim, park and finish touch, and no big value. Text statuses, because people read this table at night.
CREATE TABLE dray.execution (
    id          uuid PRIMARY KEY,
    run_at      timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    wake_at     timestamptz,
    crashed_at  timestamptz,
    owner       uuid,
    workflow_id integer NOT NULL,
    claim_count integer NOT NULL DEFAULT 0,
    crash_count smallint NOT NULL DEFAULT 0,
    priority    smallint NOT NULL DEFAULT 5,
    wake        boolean NOT NULL DEFAULT false,
    status      text NOT NULL DEFAULT 'queued',
    queue       text NOT NULL DEFAULT 'default',
    control     text,
    error       jsonb,
    CONSTRAINT execution_status_check CHECK (status IN ('queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')),
    CONSTRAINT execution_owner_check CHECK ((owner IS NOT NULL) = (status = 'running')),
    CONSTRAINT execution_final_check CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT execution_control_check CHECK (control IN ('cancel', 'pause'))
);
-- Each row is updated twice or more (claim, settle) soon after its insert: the free third keeps the new version on the same page, where
-- its WAL record holds only what changed. Measured, WAL of claim and settle: 716 bytes at fillfactor 100, 690 at 70, 620 at 50, which is
-- not worth a table half empty. Vacuum early, because the claim index must not fill up with dead entries of claimed rows.
ALTER TABLE dray.execution SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX execution_wake_idx ON dray.execution (wake_at) WHERE status = 'waiting' AND wake_at IS NOT NULL;
-- For give_back, controls and stats. Costs 75 bytes of WAL per claim; without it each death of a driver would read the whole table.
-- The queue is for its concurrency limit, counted driver by driver: 8 bytes more, an index of its own would be another 75.
CREATE INDEX execution_owner_idx ON dray.execution (owner, queue) WHERE owner IS NOT NULL;
CREATE INDEX execution_control_idx ON dray.execution (owner) WHERE control IS NOT NULL OR wake;

-- Written once by submit, read once by the claim, never updated.
CREATE TABLE dray.execution_input (
    execution_id uuid PRIMARY KEY,
    input        jsonb NOT NULL,
    labels       jsonb
);

CREATE TABLE dray.idempotency (
    workflow     text NOT NULL,
    key          text NOT NULL,
    execution_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow, key)
);

-- One row per outcome of one attempt, inserted and never updated. No foreign key: its check would cost a row lock per outcome,
-- and only the fenced commit (dray.commit_if_fenced) writes to this table. WAL of a row with 100 bytes of outcome: 313 bytes, of which 80
-- are the index's and about 30 its page splits; in all, an execution of 10 such nodes logs 382 bytes per node.
-- kind: c completed, w waits until wake_at and is then completed, r failed and retried at wake_at, l runner lost, s started (at_most_once), f failed,
-- g waits for a signal, a child or until wake_at, and is then called again; its outcome is {"state"?, "signal"?, "child"?}; d waited so, and is
-- not needed any more.
CREATE TABLE dray.checkpoint (
    execution_id uuid NOT NULL,
    at           timestamptz NOT NULL,
    runner       integer,
    duration_ms  integer,
    attempt      smallint NOT NULL,
    kind         "char" NOT NULL,
    node_key     text NOT NULL,
    branch       text,
    wake_at      timestamptz,
    outcome      jsonb,
    PRIMARY KEY (execution_id, node_key, attempt),
    CONSTRAINT checkpoint_kind_check CHECK (kind IN ('c', 'w', 'r', 'l', 's', 'f', 'g', 'd'))
);
ALTER TABLE dray.checkpoint SET (autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.1);
-- What is over 2 KB is stored compressed, and then apart from the row where it is still as large: a claim reads no more of it than it needs.
-- lz4, where the server was built with it, takes a fifth of pglz's time.
DO $$ BEGIN
    ALTER TABLE dray.checkpoint ALTER COLUMN outcome SET COMPRESSION lz4;
    ALTER TABLE dray.execution_input ALTER COLUMN input SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

-- One row per runner process: which Ray node, which pid. A checkpoint holds the 4-byte id.
CREATE TABLE dray.runner (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    driver     uuid NOT NULL,
    node_id    text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    name       text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    ended      text
);

CREATE TABLE dray.signal (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id uuid NOT NULL,
    name         text NOT NULL,
    payload      jsonb,
    sent_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX signal_execution_idx ON dray.signal (execution_id);

-- A uuid of version 7 (RFC 9562): 48 bits of milliseconds, then random. PostgreSQL 18 has its own; 14 to 17 do not.
CREATE FUNCTION dray.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

-- Tell drivers that wait for work, and only if one waits: NOTIFY takes a lock of the whole database at commit.
CREATE FUNCTION dray.wake_drivers() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_notify('dray', '') WHERE EXISTS (SELECT 1 FROM dray.driver WHERE listening)
$$;

-- (nothing) -> the next version of a workflow, or its latest one where that has the same graph. Two at once wait for each other.
-- graph: canonical, as cluster/graph/stored.py makes it. ends: the nodes that no edge leaves (of a loop: none but into its body), whose outputs are
-- the execution's.
CREATE FUNCTION dray.apply_workflow(name text, graph jsonb) RETURNS TABLE (id integer, version integer, created boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE latest dray.workflow;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('dray.workflow'), hashtext(apply_workflow.name));
    SELECT w.* INTO latest FROM dray.workflow w WHERE w.name = apply_workflow.name ORDER BY w.version DESC LIMIT 1;
    IF latest.graph = apply_workflow.graph THEN
        RETURN QUERY SELECT latest.id, latest.version, false;
    ELSE
        RETURN QUERY INSERT INTO dray.workflow AS w (name, version, graph, ends)
        SELECT apply_workflow.name, coalesce(latest.version, 0) + 1, apply_workflow.graph, ARRAY(
            SELECT n ->> 'id' FROM jsonb_array_elements(apply_workflow.graph -> 'nodes') n WHERE coalesce(n ->> 'type', '') NOT IN ('break', 'continue')
            EXCEPT SELECT e ->> 'from' FROM jsonb_array_elements(apply_workflow.graph -> 'edges') e WHERE e ->> 'role' IS DISTINCT FROM 'body')
        RETURNING w.id, w.version, true;
    END IF;
END $$;

CREATE FUNCTION dray.latest_workflow(workflow text) RETURNS integer LANGUAGE plpgsql STABLE AS $$
DECLARE found_id integer;
BEGIN
    SELECT w.id INTO found_id FROM dray.workflow w WHERE w.name = workflow ORDER BY w.version DESC LIMIT 1;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'no workflow named "%"', workflow USING ERRCODE = 'no_data_found', HINT = 'store it first: dray workflow apply FILE';
    END IF;
    RETURN found_id;
END $$;

-- What an execution gave: the output of its end node, or an object of outputs by node id where it has several. Derived, so nothing is stored twice.
-- A completed node without an outcome is a trigger: its output is the input.
CREATE FUNCTION dray.output(id uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN cardinality(w.ends) = 1 THEN (array_agg(coalesce(c.outcome, i.input)) FILTER (WHERE c.node_key IS NOT NULL))[1]
                ELSE coalesce(jsonb_object_agg(c.node_key, coalesce(c.outcome, i.input)) FILTER (WHERE c.node_key IS NOT NULL), '{}') END
    FROM dray.execution e
    JOIN dray.workflow w ON w.id = e.workflow_id
    LEFT JOIN dray.execution_input i ON i.execution_id = e.id
    LEFT JOIN dray.checkpoint c ON c.execution_id = e.id AND c.kind IN ('c', 'w') AND c.node_key = ANY (w.ends)
    WHERE e.id = output.id AND e.status = 'completed'
    GROUP BY w.id
$$;

-- For people: one line per attempt, kinds spelt out, with the Ray node and process that ran it.
CREATE VIEW dray.attempts AS
SELECT c.execution_id, c.node_key, c.attempt,
    CASE c.kind WHEN 'c' THEN 'completed' WHEN 'w' THEN 'waiting' WHEN 'g' THEN 'awaiting' WHEN 'r' THEN 'retried' WHEN 'l' THEN 'lost'
        WHEN 's' THEN 'started' WHEN 'd' THEN 'dropped' ELSE 'failed' END AS outcome_kind,
    c.branch, coalesce(c.outcome, CASE WHEN c.kind = 'c' THEN (SELECT i.input FROM dray.execution_input i WHERE i.execution_id = c.execution_id) END) AS outcome, c.at, c.duration_ms, c.wake_at, r.name AS runner, r.node_id AS ray_node, r.host, r.pid
FROM dray.checkpoint c LEFT JOIN dray.runner r ON r.id = c.runner;
