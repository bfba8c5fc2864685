"""Settings: three sources, one of them the platform's; refused as a whole, with every problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dray.cluster.errors import SettingsInvalid
from dray.cluster.settings import PLATFORM_NAMES, PREFIX, Settings, load


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = ("SUPABASE_", "POSTGRES_", "DATABASE_URL", *PLATFORM_NAMES.values())
    for name in list(os.environ):
        if name.startswith((PREFIX, *platform)):
            monkeypatch.delenv(name)


def refused(**given: object) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        load(**given)
    return caught.value.problems


def database(monkeypatch: pytest.MonkeyPatch, **environ: str) -> str:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = load().database_url
    assert found is not None
    return found.with_password().removeprefix("postgresql+psycopg2://")


def test_defaults_need_no_environment_and_fit_together() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.database_url is None
    assert settings.data_dir == Path.home() / ".dray"


def test_an_option_wins_over_the_environment_and_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_EXECUTOR", "local")
    monkeypatch.setenv("DRAY_CONCURRENCY", "7")
    settings = load(executor=None, concurrency=9)
    assert (settings.executor, settings.concurrency) == ("local", 9)


def test_our_name_wins_over_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_WORKER_CONCURRENCY", "10")
    monkeypatch.setenv("WORKFLOW_MAX_RETRIES", "1")
    monkeypatch.setenv("DRAY_CONCURRENCY", "20")
    settings = load()
    assert (settings.concurrency, settings.max_retries) == (20, 1)


def test_every_platform_name_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for env in PLATFORM_NAMES.values():
        monkeypatch.setenv(env, "7")
    settings = load()
    assert {float(getattr(settings, name)) for name in PLATFORM_NAMES} == {7.0}


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DRAY_CONCURRENCY", "DRAY_DATABASE_URL", "WORKFLOW_MAX_RETRIES", "SUPABASE_DB_URL"):
        monkeypatch.setenv(name, "")
    assert load() == Settings()


def test_lists_are_names_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_HANDLERS", "shop.handlers, shop.more")
    monkeypatch.setenv("DRAY_QUEUES", "fast,slow,,fast")
    settings = load()
    assert settings.handlers == ("shop.handlers", "shop.more")
    assert settings.queues == ("fast", "slow")


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_DATABSE_URL", "postgres://u:secret@h/d")
    monkeypatch.setenv("DRAY_XYZZY", "1")
    misspelt, foreign = refused()
    assert misspelt == "DRAY_DATABSE_URL is no setting: did you mean DRAY_DATABASE_URL?"
    assert foreign.startswith("DRAY_XYZZY is no setting: unset it")


def test_every_problem_is_named_at_once_by_the_name_that_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_CONCURENCY", "1")
    monkeypatch.setenv("DRAY_CLAIM_BATCH", "many")
    monkeypatch.setenv("WORKFLOW_MAX_RETRIES", "-1")
    problems = refused(node_timeout="nan")
    assert [each.split(":")[0] for each in problems] == [
        "DRAY_CONCURENCY is no setting",
        "DRAY_CLAIM_BATCH",
        "--node-timeout",
        "WORKFLOW_MAX_RETRIES",
    ]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"heartbeat": 6, "lease_ttl": 15}, "a third of DRAY_LEASE_TTL"),
        ({"retry_delay": 10, "retry_max_delay": 5}, "DRAY_RETRY_MAX_DELAY"),
        ({"runner_slots": 3, "runner_concurrency": 4}, "never be busy"),
        ({"direct_url": "postgres://h/d"}, "set DRAY_DATABASE_URL too"),
        ({"database_url": "postgres://h/d", "direct_url": "postgres://h:6543/d"}, "cannot LISTEN"),
        ({"queues": ","}, "at least one queue"),
        ({"ray_address": "ray://h:10001"}, "Ray Client"),
        ({"ray_address": "h"}, "host:port"),
        ({"ray_object_store_mb": 50}, "75"),
        ({"failpoints": "after_lunch:kill"}, "'after_lunch:kill' is no failpoint"),
        ({"database_url": "mysql://h/d"}, "--database-url"),
        ({"log_level": "LOUD"}, "--log-level"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, object], word: str) -> None:
    (problem,) = refused(**given)
    assert word in problem


def test_contradictions_are_told_together() -> None:
    assert len(refused(heartbeat=6, retry_delay=10, retry_max_delay=5)) == 2


def test_supabase_db_url_wins_over_the_other_platform_names(monkeypatch: pytest.MonkeyPatch) -> None:
    found = database(
        monkeypatch,
        SUPABASE_DB_URL="postgres://postgres.ref:p@ss@aws-0-eu.pooler.supabase.com:6543/postgres",
        SUPABASE_URL="https://ref.supabase.co",
        SUPABASE_DB_PASSWORD="other",
        POSTGRES_SERVER="db",
        DATABASE_URL="postgres://nobody@nowhere/x",
    )
    assert found.startswith("postgres.ref:p%40ss@aws-0-eu.pooler.supabase.com:6543/postgres")


def test_supabase_project_and_password_make_the_direct_url(monkeypatch: pytest.MonkeyPatch) -> None:
    found = database(monkeypatch, SUPABASE_URL="https://ref.supabase.co/", SUPABASE_DB_PASSWORD="50%40/x")
    assert found == "postgres:50%2540%2Fx@db.ref.supabase.co:5432/postgres"


def test_a_supabase_url_that_names_no_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://localhost:54321")
    monkeypatch.setenv("SUPABASE_DB_PASSWORD", "secret")
    (problem,) = refused()
    assert "DRAY_DATABASE_URL" in problem
    assert "secret" not in problem


@pytest.mark.parametrize("server", ["POSTGRES_SERVER", "POSTGRES_HOST"])
def test_postgres_parts_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    parts = {server: "10.0.0.7", "POSTGRES_PORT": "5433", "POSTGRES_USER": "u"}
    found = database(monkeypatch, **parts, POSTGRES_PASSWORD="a:b@c%40", POSTGRES_DB="app")
    assert found == "u:a%3Ab%40c%2540@10.0.0.7:5433/app"


def test_a_bad_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_SERVER", "db")
    monkeypatch.setenv("POSTGRES_PORT", "54x")
    assert refused() == ("POSTGRES_PORT: must be a number from 1 to 65535",)


def test_database_url_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert database(monkeypatch, DATABASE_URL="postgres://u:pw@h/d").startswith("u:pw@h")


def test_a_settings_object_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_DATABASE_URL", "postgres://u:s3cret@h/d")
    assert "s3cret" not in repr(load())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().concurrency = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_secrets_are_names_of_variables_and_never_those_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAY_SECRETS", "STRIPE_KEY, CRM_TOKEN,STRIPE_KEY")
    assert load().secrets == ("STRIPE_KEY", "CRM_TOKEN")
    for name in ("DRAY_DATABASE_URL", "DATABASE_URL", "PGPASSWORD", "POSTGRES_PASSWORD", "SUPABASE_DB_PASSWORD"):
        monkeypatch.setenv("DRAY_SECRETS", name)
        assert refused() == (f"DRAY_SECRETS: {name} is about Dray or its database, which handlers are never given",)
    monkeypatch.setenv("DRAY_SECRETS", "A=b")
    assert refused() == ("DRAY_SECRETS: 'A=b' is no name of an environment variable",)


def test_the_folder_of_storage_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().storage_root is None
    monkeypatch.setenv("DRAY_STORAGE_ROOT", "~/files")
    assert load().storage_root == Path.home() / "files"
