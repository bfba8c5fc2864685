-- Beginning again. Final is final, so each makes a new execution, which begins with what the earlier one has recorded: it is claimed like one
-- that lost its driver.

-- The execution that it repeats; written once, with the row. The index holds the few that repeat one.
ALTER TABLE dray.execution_input ADD COLUMN source_id uuid;
CREATE INDEX execution_source_idx ON dray.execution_input (source_id) WHERE source_id IS NOT NULL;

-- The node of a checkpoint's key: its last part, without the turn. `L[3]/a` -> `a`, `L[]`, `L[2]` -> `L`.
CREATE FUNCTION dray.node_of(node_key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(regexp_replace($1, '^.*/', ''), '\[[0-9]*\]$', '')
$$;

-- What a node's failure has led to: whether, at the node or at a loop around it, an edge for failures led to a node that completed, or the
-- loop went on and completed itself. Such a failure is over, and what followed from it stands; all others begin anew.
-- done: the keys of the execution that completed. catches: {node: [where its failures lead]}.
CREATE FUNCTION dray.is_handled(node_key text, done text[], catches jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    parts text[] := string_to_array(node_key, '/');
    prefix text;
    this text;
    target text;
BEGIN
    FOR n IN REVERSE cardinality(parts) .. 1 LOOP
        prefix := array_to_string(parts[:n - 1], '/') || CASE WHEN n > 1 THEN '/' ELSE '' END;
        this := dray.node_of(parts[n]);
        IF n < cardinality(parts) AND prefix || this = ANY (done) THEN
            RETURN true;
        END IF;
        FOR target IN SELECT jsonb_array_elements_text(catches -> this) LOOP
            IF EXISTS (SELECT FROM unnest(done) d WHERE d = prefix || target OR starts_with(d, prefix || target || '[')) THEN
                RETURN true;
            END IF;
        END LOOP;
    END LOOP;
    RETURN false;
END $$;

-- The version in which one begins again that ran in version `id`.
CREATE FUNCTION dray.version_for(id integer, latest boolean) RETURNS dray.workflow LANGUAGE sql STABLE AS $$
    SELECT v.* FROM dray.workflow w JOIN dray.workflow v ON v.name = w.name AND ($2 OR v.id = w.id) WHERE w.id = $1 ORDER BY v.version DESC LIMIT 1
$$;

-- What a graph says of where each node stands: its type, the edges into it, the loop around it, the nodes of the loop or fork that it begins;
-- and what of its config decides about others' outcomes.
CREATE FUNCTION dray.node_places(graph jsonb) RETURNS TABLE (node text, place jsonb) LANGUAGE sql IMMUTABLE AS $$
    WITH incoming AS (
        SELECT x ->> 'to' AS node, jsonb_agg(x - 'to' ORDER BY x) AS edges
        FROM jsonb_array_elements(($1 -> 'edges') || coalesce($1 -> 'added', '[]')) x GROUP BY 1
    ), region AS (
        SELECT r ->> 'header' AS header, r ->> 'kind' AS kind, r -> 'nodes' AS nodes FROM jsonb_array_elements(coalesce($1 -> 'regions', '[]')) r
    ), inside AS (
        SELECT n.node, jsonb_build_array(r.header, r.kind) AS loop FROM region r, jsonb_array_elements_text(r.nodes) n (node)
    ), loop AS (
        SELECT r.header AS node, (SELECT jsonb_agg(n ORDER BY n) FROM jsonb_array_elements(r.nodes) n) AS nodes FROM region r
    ), fork AS (
        SELECT f ->> 'fork' AS node, jsonb_agg(f ORDER BY f) AS forks FROM jsonb_array_elements(coalesce($1 -> 'forks', '[]')) f GROUP BY 1
    )
    SELECT n ->> 'id', jsonb_build_array(n -> 'type', i.edges, s.loop, l.nodes, f.forks, n #> '{config,on_error}', n #> '{config,loop_label}')
    FROM jsonb_array_elements($1 -> 'nodes') n
    LEFT JOIN incoming i ON i.node = n ->> 'id'
    LEFT JOIN inside s ON s.node = n ->> 'id'
    LEFT JOIN loop l ON l.node = n ->> 'id'
    LEFT JOIN fork f ON f.node = n ->> 'id'
$$;

-- Of the nodes `kept` and all that lead to them, those that stand elsewhere in `later`, or not at all. None: outcomes of `kept` mean the same
-- in both graphs, and no node that has not run yet would have to run before one that has. Of a loop that leads there all nodes count.
CREATE FUNCTION dray.moved_nodes(graph jsonb, later jsonb, kept text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE leads AS (
        SELECT x ->> 'from' AS source, x ->> 'to' AS target FROM jsonb_array_elements(($1 -> 'edges') || coalesce($1 -> 'added', '[]')) x
        UNION
        SELECT n.node, r ->> 'header' FROM jsonb_array_elements(coalesce($1 -> 'regions', '[]')) r, jsonb_array_elements_text(r -> 'nodes') n (node)
    ), before (node) AS (
        SELECT k FROM unnest($3) k
        UNION
        SELECT l.source FROM before b JOIN leads l ON l.target = b.node
    )
    SELECT array_agg(b.node ORDER BY b.node)
    FROM before b LEFT JOIN dray.node_places($1) o ON o.node = b.node LEFT JOIN dray.node_places($2) n ON n.node = b.node
    WHERE n.node IS NULL OR n.place IS DISTINCT FROM o.place
$$;

-- (nothing) -> queued: a new execution of the same workflow version, with the outcomes of `source` but those of the nodes `without`, and but
-- the failure that ended it. Attempts that led to nothing are not copied, so that a node has all its retries again; neither are signals.
-- latest: of the latest version, where what is kept stands in that as it did; else it is refused.
-- claim_count 1, because only then does a claim look at what is recorded. It has no parent: whoever waited for `source` has its answer.
CREATE FUNCTION dray.begin_again(source dray.execution, without text[], new_input jsonb, latest boolean) RETURNS uuid LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    new_id uuid := dray.uuid7();
    graph jsonb := (SELECT w.graph FROM dray.workflow w WHERE w.id = source.workflow_id);
    catches jsonb := (SELECT jsonb_object_agg(t.node, t.targets) FROM (
        SELECT x ->> 'from' AS node, jsonb_agg(x ->> 'to') AS targets
        FROM jsonb_array_elements((graph -> 'edges') || coalesce(graph -> 'added', '[]')) x WHERE x ->> 'label' = 'failed' GROUP BY 1) t);
    done text[] := ARRAY(SELECT c.node_key FROM dray.checkpoint c WHERE c.execution_id = source.id AND c.kind IN ('c', 'w'));
    version dray.workflow := dray.version_for(source.workflow_id, latest);
    moved text[];
BEGIN
    INSERT INTO dray.execution (id, workflow_id, priority, queue, run_at, rank, claim_count)
    VALUES (new_id, version.id, source.priority, source.queue, now(), dray.rank(source.queue, source.priority, now()), 1);
    INSERT INTO dray.execution_input (execution_id, input, labels, source_id)
    SELECT new_id, coalesce(new_input, i.input), i.labels, source.id FROM dray.execution_input i WHERE i.execution_id = source.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the input of execution % is not in the database any more', source.id USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO dray.checkpoint (execution_id, at, runner, duration_ms, attempt, kind, node_key, branch, wake_at, outcome)
    SELECT new_id, c.at, c.runner, c.duration_ms, c.attempt, c.kind, c.node_key, c.branch, c.wake_at, c.outcome
    FROM dray.checkpoint c
    WHERE c.execution_id = source.id AND dray.node_of(c.node_key) <> ALL (without) AND CASE c.kind
        WHEN 'c' THEN true
        WHEN 'w' THEN c.wake_at <= clock_timestamp()
        -- A failure that ended an execution is told in its error; fewer branches than were needed is told of none of them.
        WHEN 'f' THEN NOT (coalesce(source.error ->> 'type', '') = 'parallel_failed'
                OR (c.outcome ->> 'type', c.outcome ->> 'message') = (source.error ->> 'type', source.error ->> 'message'))
            IS TRUE OR dray.is_handled(c.node_key, done, coalesce(catches, '{}'))
        ELSE false END;
    IF version.id <> source.workflow_id THEN
        moved := dray.moved_nodes(graph, version.graph, ARRAY(SELECT DISTINCT dray.node_of(c.node_key) FROM dray.checkpoint c WHERE c.execution_id = new_id));
        IF moved IS NOT NULL THEN
            RAISE EXCEPTION 'execution % cannot go on in version % of workflow "%": of what has run, or leads there, these nodes are gone, of '
                'another type, or at another place: %', source.id, version.version, version.name, array_to_string(moved, ', ')
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    PERFORM dray.limit_executions(ARRAY[new_id], source.tenant, source.concurrency_key);
    PERFORM dray.wake_drivers();
    RETURN new_id;
END $$;

-- failed, cancelled -> the id of a new execution, which goes on from there. NULL: no such execution.
CREATE FUNCTION dray.retry(id uuid, latest boolean DEFAULT false) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE source dray.execution;
BEGIN
    SELECT e.* INTO source FROM dray.execution e WHERE e.id = retry.id FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF source.status NOT IN ('failed', 'cancelled') THEN
        RAISE EXCEPTION 'execution % is %: only one that has failed or was cancelled is retried%', source.id, source.status,
            CASE WHEN source.status = 'completed' THEN '; to run a part of it again: dray rerun' ELSE '' END
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN dray.begin_again(source, '{}', NULL, latest);
END $$;

-- The nodes that a run from this one begins anew: it, and all that its edges lead to. Of a node in a loop, the outermost loop around it, as a
-- whole: there is no beginning in the middle of a turn. NULL: no such node.
CREATE FUNCTION dray.nodes_from(graph jsonb, from_node text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    WITH RECURSIVE edge AS (
        SELECT x ->> 'from' AS source, x ->> 'to' AS target FROM jsonb_array_elements(($1 -> 'edges') || coalesce($1 -> 'added', '[]')) x
    ), region AS (
        SELECT r.n - 1 AS index, r.value ->> 'header' AS header, (r.value ->> 'parent')::integer AS parent, r.value -> 'nodes' AS nodes
        FROM jsonb_array_elements(coalesce($1 -> 'regions', '[]')) WITH ORDINALITY AS r (value, n)
    ), around AS (
        SELECT r.* FROM region r WHERE r.nodes ? $2
        UNION ALL
        SELECT r.* FROM around a JOIN region r ON r.index = a.parent
    ), reached (node) AS (
        SELECT coalesce((SELECT a.header FROM around a WHERE a.parent IS NULL), $2)
        UNION
        SELECT e.target FROM reached r JOIN edge e ON e.source = r.node
    )
    SELECT array_agg(r.node) FROM reached r
    WHERE EXISTS (SELECT FROM jsonb_array_elements($1 -> 'nodes') n WHERE n ->> 'id' = $2)
$$;

-- completed, failed, cancelled -> the id of a new execution, in which this node and all behind it run again; what comes before it, or stands
-- beside it, is kept. input NULL: that of the earlier one. latest: the node may be one that only the latest version has. NULL: no such execution.
CREATE FUNCTION dray.rerun(id uuid, from_node text, input jsonb DEFAULT NULL, latest boolean DEFAULT false) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    source dray.execution;
    version dray.workflow;
    without text[];
BEGIN
    SELECT e.* INTO source FROM dray.execution e WHERE e.id = rerun.id FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF source.finished_at IS NULL THEN
        RAISE EXCEPTION 'execution % is %: only one that has ended is run again', source.id, source.status
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    version := dray.version_for(source.workflow_id, latest);
    without := dray.nodes_from(version.graph, from_node);
    IF version.id <> source.workflow_id THEN
        without := without || dray.nodes_from((SELECT w.graph FROM dray.workflow w WHERE w.id = source.workflow_id), from_node);
    END IF;
    IF without IS NULL THEN
        RAISE EXCEPTION 'there is no node "%" in version % of workflow "%"', from_node, version.version, version.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'its nodes: dray workflow show';
    END IF;
    RETURN dray.begin_again(source, without, rerun.input, latest);
END $$;

-- Whether a filter {"workflow", "status": [], "labels", "queue", "after", "before"} takes an execution, and this can be done to it. after, before:
-- times of its submit. A retry is of those that nobody has repeated yet, so that asking twice repeats nothing twice.
-- The first `most`, behind `behind`; among NULL: of all.
CREATE FUNCTION dray.bulk_ids(action text, filter jsonb, behind uuid, most bigint, among uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    unknown text := (SELECT string_agg(k, ', ') FROM jsonb_object_keys(filter) k WHERE k NOT IN ('workflow', 'status', 'labels', 'queue', 'after', 'before'));
    workflows integer[] := CASE WHEN filter ? 'workflow' THEN ARRAY(SELECT w.id FROM dray.workflow w WHERE w.name = filter ->> 'workflow') END;
    statuses text[] := ARRAY(SELECT jsonb_array_elements_text(filter -> 'status'));
    first uuid := greatest(bulk_ids.behind, dray.id_at((filter ->> 'after')::timestamptz));
    last uuid := dray.id_at((filter ->> 'before')::timestamptz);
    wanted text[];
BEGIN
    wanted := CASE action WHEN 'cancel' THEN ARRAY['queued', 'running', 'waiting', 'paused'] WHEN 'pause' THEN ARRAY['queued', 'running', 'waiting']
        WHEN 'resume' THEN ARRAY['paused', 'running'] WHEN 'retry' THEN ARRAY['failed', 'cancelled'] END;
    IF wanted IS NULL OR unknown IS NOT NULL THEN
        RAISE EXCEPTION '% is unknown', coalesce('in a filter ' || unknown, format('the action "%s"', action)) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'actions are cancel, pause, resume, retry; a filter has workflow, status, labels, queue, after, before';
    END IF;
    -- Written so that each plan, which knows the filter, has an index for it: labels over their own, what was repeated one by one.
    RETURN QUERY SELECT e.id FROM dray.execution e LEFT JOIN dray.execution_input i ON i.execution_id = e.id
    WHERE e.status = ANY (wanted) AND (among IS NULL OR e.id = ANY (among)) AND (statuses = '{}' OR e.status = ANY (statuses))
        AND (first IS NULL OR e.id > first) AND (last IS NULL OR e.id < last)
        AND (workflows IS NULL OR e.workflow_id = ANY (workflows)) AND (NOT filter ? 'queue' OR e.queue = filter ->> 'queue')
        AND CASE action WHEN 'cancel' THEN e.control IS DISTINCT FROM 'cancel' WHEN 'pause' THEN e.control IS NULL
            WHEN 'resume' THEN e.status = 'paused' OR e.control = 'pause'
            ELSE (SELECT r.source_id FROM dray.execution_input r WHERE r.source_id = e.id LIMIT 1) IS NULL END
        AND (NOT filter ? 'labels' OR i.labels @> (filter -> 'labels'))
    ORDER BY e.id LIMIT most;
END $$;

-- How many dray.bulk would do something to, and the time of counting: a filter that ends there takes none that comes later.
CREATE FUNCTION dray.bulk_count(action text, filter jsonb DEFAULT '{}', OUT count bigint, OUT at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT (SELECT count(*) FROM dray.bulk_ids($1, $2, NULL, NULL, NULL)), clock_timestamp()
$$;

-- cancel, pause, resume or retry of the first `most` executions that a filter takes, in the order of their ids, beginning behind `behind`.
-- Waits for nobody: those that somebody keeps locked are left out. latest: retries in the latest version, and leaves out what does not fit
-- there. done: how many. last: the last that was looked at; NULL: that was all.
CREATE FUNCTION dray.bulk(action text, filter jsonb DEFAULT '{}', most integer DEFAULT 500, behind uuid DEFAULT NULL, latest boolean DEFAULT false,
    OUT done integer, OUT last uuid) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids uuid[] := ARRAY(SELECT b FROM dray.bulk_ids(bulk.action, bulk.filter, bulk.behind, bulk.most, NULL) b);
    this uuid;
    held uuid[];
BEGIN
    done := 0;
    last := ids[cardinality(ids)];
    held := ARRAY(SELECT e.id FROM dray.execution e WHERE e.id = ANY (ids) ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED);
    -- Anew, now that nobody else changes them: somebody may have been faster.
    FOREACH this IN ARRAY ARRAY(SELECT b FROM dray.bulk_ids(bulk.action, bulk.filter, NULL, NULL, held) b) LOOP
        IF latest AND bulk.action = 'retry' THEN
            BEGIN
                PERFORM dray.retry(this, true);
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                CONTINUE;
            END;
        ELSE
            PERFORM CASE bulk.action WHEN 'cancel' THEN dray.cancel(this) WHEN 'pause' THEN dray.pause(this)
                WHEN 'resume' THEN dray.resume(this) ELSE dray.retry(this)::text END;
        END IF;
        done := done + 1;
    END LOOP;
END $$;
