"""Every change of a status, written down by a trigger of the tests, and judged by what docs/database.md allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dray.cluster.history.facts import Violation

LOG = """
    CREATE TABLE public.transition (id bigint GENERATED ALWAYS AS IDENTITY, execution_id uuid, at timestamptz,
        before text, after text, claims_before integer, claims_after integer);
    CREATE FUNCTION public.log_transition() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.transition (execution_id, at, before, after, claims_before, claims_after)
        VALUES (NEW.id, clock_timestamp(), OLD.status, NEW.status, OLD.claim_count, NEW.claim_count);
        RETURN NULL;
    END $$;
    CREATE TRIGGER log_transition AFTER UPDATE ON dray.execution FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.claim_count <> NEW.claim_count) EXECUTE FUNCTION public.log_transition();
"""
READ = """
    SELECT execution_id::text, before, after, claims_before, claims_after, at::text FROM public.transition
    ORDER BY execution_id, id
"""
ALLOWED = {
    "queued": {"running", "paused", "cancelled"},
    "running": {"running", "queued", "waiting", "paused", "completed", "failed", "cancelled"},
    "waiting": {"queued", "paused", "cancelled"},
    "paused": {"queued", "waiting", "cancelled"},
}


def judge_transitions(rows: Iterable[tuple[Any, ...]]) -> Iterable[Violation]:
    for execution, before, after, claims_before, claims_after, at in rows:
        claimed = after == "running"  # by another claim, or by the same driver anew, whose claim's answer was lost
        if after not in ALLOWED.get(before, ()) or claims_after - claims_before != int(claimed):
            message = f"{before} became {after}, claims {claims_before} became {claims_after} at {at}"
            yield Violation("transition", execution, message)
