-- Which nodes are the ends of a workflow.

-- (nothing) -> the next version of a workflow, or its latest one where that has the same graph. Two at once wait for each other.
-- graph: canonical, as dray.canonical_graph() of Python and `dray workflow validate --json` make it; what they have not made is refused, as
-- every execution of it would fail. ends: the nodes that no edge leaves (of a loop: none but into its body) and that are in no loop, whose outputs
-- are the execution's. Versions that are stored already keep the ends that they have, and so their executions the shape of their outputs.
CREATE OR REPLACE FUNCTION dray.apply_workflow(name text, graph jsonb) RETURNS TABLE (id integer, version integer, created boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE latest dray.workflow;
BEGIN
    IF (jsonb_typeof(apply_workflow.graph -> 'format'), jsonb_typeof(apply_workflow.graph -> 'nodes'), jsonb_typeof(apply_workflow.graph -> 'edges'))
        IS DISTINCT FROM ('number', 'array', 'array') THEN
        RAISE EXCEPTION 'the graph of workflow "%" is not in the form that is stored: nobody has checked it', name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'store it with dray workflow apply, or Client.apply_workflow';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('dray.workflow'), hashtext(apply_workflow.name));
    SELECT w.* INTO latest FROM dray.workflow w WHERE w.name = apply_workflow.name ORDER BY w.version DESC LIMIT 1;
    IF latest.graph = apply_workflow.graph THEN
        RETURN QUERY SELECT latest.id, latest.version, false;
    ELSE
        RETURN QUERY INSERT INTO dray.workflow AS w (name, version, graph, ends)
        SELECT apply_workflow.name, coalesce(latest.version, 0) + 1, apply_workflow.graph, ARRAY(
            SELECT n ->> 'id' FROM jsonb_array_elements(apply_workflow.graph -> 'nodes') n WHERE coalesce(n ->> 'type', '') NOT IN ('break', 'continue')
            EXCEPT SELECT e ->> 'from' FROM jsonb_array_elements(apply_workflow.graph -> 'edges') e WHERE e ->> 'role' IS DISTINCT FROM 'body'
            EXCEPT SELECT jsonb_array_elements_text(r -> 'nodes') FROM jsonb_array_elements(apply_workflow.graph -> 'regions') r)
        RETURNING w.id, w.version, true;
    END IF;
END $$;
