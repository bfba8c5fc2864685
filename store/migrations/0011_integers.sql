-- An attempt is an integer: a node that asks every second has used up a smallint after nine hours.
-- Writes dray.checkpoint anew, about 8 s for a million outcomes, in which nothing is committed: see docs/database.md.

DO $$
DECLARE
    shown text := pg_get_viewdef('dray.attempts'::regclass);
    changed record;
BEGIN
    DROP VIEW dray.attempts;
    ALTER TABLE dray.checkpoint ALTER COLUMN attempt TYPE integer;
    EXECUTE 'CREATE VIEW dray.attempts AS ' || shown;
    FOR changed IN
        SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS body FROM pg_proc p
        WHERE p.pronamespace = 'dray'::regnamespace AND pg_get_function_arguments(p.oid) LIKE '%attempts smallint[]%'
    LOOP
        EXECUTE 'DROP FUNCTION ' || changed.name;
        EXECUTE replace(changed.body, 'attempts smallint[]', 'attempts integer[]');
    END LOOP;
END $$;
