"""Nodes that talk to the world, from the settings of a driver to runners on a real Ray: model, file, mail, webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.acceptance.commands import Shell
from tests.servers import HttpServer, SmtpServer, http_server, smtp_server

pytestmark = pytest.mark.ray
SECRETS = {"OPENAI_API_KEY": "sk-n3ver-shown-1", "HOOK_TOKEN": "n3ver-shown-2", "SMTP_PASSWORD": "n3ver-shown-3"}
# What a script can see of the runner that started it: not the secrets.
LOOKS = """
import os, pathlib
runner = pathlib.Path("/proc", str(os.getppid()))
seen = (runner / "environ").read_text() + (runner / "cmdline").read_text() + str(dict(os.environ))
result = sorted(each for each in ("n3v" + "er-shown", "OPENAI_API_KEY", "SMTP_HOST") if each in seen)
"""


def graph(hook: str) -> dict[str, Any]:
    nodes = {
        "ask": ("ai_prompt", {"prompt": "Sum up: {{ input.text }}", "temperature": 0}),
        "keep": ("storage", {"operation": "upload", "file_path": "notes/{{ input.id }}.txt",
                             "file_data": "{{ nodes.ask.output.content }}"}),
        "read": ("storage", {"operation": "download", "file_path": "{{ nodes.keep.output.file_path }}"}),
        "mail": ("notification", {"channel": "email", "recipient": "ops@example.com", "subject": "Done",
                                  "message": "{{ nodes.read.output.result.content }}"}),
        "hook": ("notification", {"channel": "webhook", "url": f"{hook}/hook?token={{{{ secrets.HOOK_TOKEN }}}}",
                                  "message": "{{ nodes.ask.output.tokens_used }}"}),
        "echo": ("http_request", {"url": f"{hook}/echo",
                                  "headers": {"Authorization": "Bearer {{ secrets.HOOK_TOKEN }}"}}),
        "look": ("code", {"code": LOOKS}),
        "note": ("log", {"message": "told {{ nodes.mail.output.recipient }}"}),
    }  # fmt: skip
    ids = list(nodes)
    return {
        "nodes": [{"id": each, "type": kind, "config": config} for each, (kind, config) in nodes.items()],
        "edges": [{"from": one, "to": next_one} for one, next_one in pairwise(ids)],
    }


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[HttpServer, SmtpServer]]:
    with http_server() as http, smtp_server() as smtp:
        yield http, smtp


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, outside: tuple[HttpServer, SmtpServer]) -> Iterator[Shell]:
    http, smtp = outside
    folder = tmp_path_factory.mktemp("services")
    environ = {
        "OPENAI_BASE_URL": http.url + "/v1", "SMTP_HOST": smtp.host, "SMTP_PORT": str(smtp.port), "SMTP_TLS": "false",
        "EMAILS_FROM_EMAIL": "dray@example.com", "DRAY_STORAGE_ROOT": str(folder / "files"),
        "DRAY_SECRETS": "HOOK_TOKEN", "DRAY_RUNNERS": "1", "DRAY_RUNNER_CPUS": "0.5", "DRAY_RETRY_DELAY": "0.1",
        **SECRETS,
    }  # fmt: skip
    shell = Shell(folder)
    with shell.running("dev", **environ) as running:
        running.wait_for("Workflow worker started")
        yield shell
        running.stop()
        assert not any("n3ver-shown" in line for line in running.lines)


def test_a_workflow_asks_keeps_and_tells(shell: Shell, outside: tuple[HttpServer, SmtpServer]) -> None:
    http, smtp = outside
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    answer = {"model": "m", "choices": [{"message": {"content": "In short: yes"}}], "usage": usage}
    http.answer(429, "slow down", Retry_After="0.2")
    http.answer(200, answer)
    http.answer(204)
    http.answer(200, "you sent Bearer n3ver-shown-2")
    assert shell("workflow", "apply", "-", "--name", "services", given=json.dumps(graph(http.url))).code == 0
    done = shell("submit", "services", "--input", '{"text": "all of it", "id": 7}', "--wait")
    assert done.json["logged"] is True, done.err
    (shown,) = shell("executions", "list", "--json").json
    outputs = outputs_of(shell, shown["id"])
    assert outputs["ask"]["content"] == "In short: yes"
    assert (outputs["ask"]["tokens_used"], outputs["ask"]["usage"]) == (12, usage)
    assert outputs["keep"]["result"] == {"size": 13}
    assert (shell.folder / "files/notes/7.txt").read_text() == "In short: yes"
    assert (outputs["mail"]["sent"], outputs["hook"]["status_code"]) == (True, 204)
    assert smtp.mails[0].recipients == ["ops@example.com"]
    assert b"In short: yes" in smtp.mails[0].content
    ask, again, hook, echo = http.requests
    assert ask.headers["authorization"] == again.headers["authorization"] == "Bearer sk-n3ver-shown-1"
    assert ask.headers["idempotency-key"] == again.headers["idempotency-key"] == f"{shown['id']}/ask"
    assert (hook.path, hook.json["message"]) == ("/hook?token=n3ver-shown-2", 12)
    assert echo.headers["authorization"] == "Bearer n3ver-shown-2"
    assert outputs["echo"]["body"] == "you sent Bearer ***"
    assert outputs["look"]["result"] == []


def test_no_row_holds_a_secret(shell: Shell) -> None:
    rows = everything(shell)
    assert "In short: yes" in rows
    assert "n3ver-shown" not in rows


def database(shell: Shell) -> Any:
    url = json.loads((Path(shell.environ["DRAY_DATA_DIR"]) / "dev.json").read_text())["database_url"]
    return psycopg2.connect(url.replace("postgresql+psycopg2://", "postgresql://"))


def outputs_of(shell: Shell, execution: str) -> dict[str, Any]:
    with database(shell) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT node_key, outcome FROM dray.checkpoint WHERE execution_id = %s AND kind = 'c'", [execution]
        )
        return dict(cursor.fetchall())


def everything(shell: Shell) -> str:
    """All rows of all tables of ours, as text."""
    with database(shell) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'dray'")
        found = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM dray."{table}" t')
            found += [row for (row,) in cursor.fetchall()]
        return "\n".join(found)
