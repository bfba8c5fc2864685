"""Secrets and settings of handlers: who may see them, and where they must not show up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.expressions.config import prepare
from dray.actors.outside import environment
from dray.actors.registry import HANDLERS, NodeConfig, handler
from dray.actors.runner.answer import failure_of
from tests.servers import HttpServer
from tests.unit.actors.runner.harness import Harness

Run = Callable[..., Any]
Given = Callable[..., None]
TOKEN = 'tok"en-ü-123'


def problems(node_type: str, config: dict[str, Any]) -> list[tuple[str, str]]:
    return prepare(config, HANDLERS[node_type].config_model, {"a"}).problems


def test_a_secret_goes_where_it_is_named(run: Run, server: HttpServer, given: Given) -> None:
    given(MY_TOKEN="token-123")
    config = {"url": server.url + "/?key={{ secrets.MY_TOKEN }}", "body": {"deep": ["{{ secrets.MY_TOKEN }}"]}}
    run("http_request", {**config, "method": "POST", "headers": {"Authorization": "Bearer {{ secrets.MY_TOKEN }}"}})
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer token-123"
    assert (request.path, request.json) == ("/?key=token-123", {"deep": ["token-123"]})


def test_a_secret_that_is_not_there_sends_nothing(run: Run, server: HttpServer, given: Given) -> None:
    given(SMTP_PASSWORD="not for workflows")
    for name in ("MY_TOKEN", "SMTP_PASSWORD"):
        with pytest.raises(ConfigError, match=f"there is no secret '{name}': name it in DRAY_SECRETS"):
            run("http_request", {"url": server.url, "headers": {"X": f"{{{{ secrets.{name} }}}}"}})
    assert server.requests == []


@pytest.mark.parametrize(
    ("node_type", "config"),
    [
        ("set_variable", {"variable_name": "x", "variable_value": "{{ secrets.A }}"}),
        ("code", {"code": "print(1)", "input_data": {"x": "{{ secrets.A }}"}}),
        ("log", {"message": "{{ secrets.A }}"}),
        ("storage", {"operation": "upload", "file_path": "b/a", "file_data": "{{ secrets.A }}"}),
        ("notification", {"recipient": "a@example.com", "message": "{{ secrets.A }}"}),
        ("condition", {"condition": "secrets.A == 'x'"}),
    ],
)
def test_a_secret_may_not_be_named_where_it_would_be_kept(node_type: str, config: dict[str, Any]) -> None:
    ((_, message),) = problems(node_type, config)
    assert message == "a secret may not be named here: what this field holds is stored or logged"


@pytest.mark.parametrize("expression", ["secrets", "secrets[input.x]", "secrets.A.b", "size(secrets)"])
def test_secrets_are_named_one_by_one(expression: str) -> None:
    ((_, message),) = problems("http_request", {"url": f"http://x/{{{{ {expression} }}}}"})
    assert message.startswith("name one secret: secrets.NAME, not secrets")


def test_a_secret_is_hidden_in_outputs_and_errors(harness: Harness, given: Given) -> None:
    given(MY_TOKEN=TOKEN, SMTP_PASSWORD="of-the-mail", MY_SHORT="abc")

    @handler("echoes")
    def echoes(config: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
        assert ctx.secrets["MY_TOKEN"] == TOKEN
        return {"said": f"Bearer {TOKEN}!", "list": ["of-the-mail"], "abc": 1}

    @handler("fails")
    def fails(config: dict[str, Any], ctx: NodeContext) -> None:
        raise NodeError(f"refused {TOKEN}")

    @handler("breaks")
    def breaks(config: dict[str, Any], ctx: NodeContext) -> None:
        raise KeyError(TOKEN)

    assert json.loads(harness.run("echoes").output or "") == {"said": "Bearer ***!", "list": ["***"], "abc": 1}
    failure = harness.run("fails").failure
    assert failure is not None
    assert failure.message == "refused ***"
    failure = harness.run("breaks").failure
    assert failure is not None
    assert "***" in failure.message
    assert TOKEN not in failure.message


def test_an_output_that_is_no_json_without_its_secret_fails(harness: Harness, given: Given) -> None:
    given(MY_PIN="123456")
    handler("number")(lambda config, ctx: 123456)
    failure = harness.run("number").failure
    assert failure is not None
    assert (failure.type, failure.message) == ("config", "the output holds a secret: leave it out")


@pytest.mark.parametrize("token", ["line\nbreak", "never-shown-1"])
def test_a_secret_is_hidden_however_it_is_quoted_or_cut(run: Run, server: HttpServer, given: Given, token: str) -> None:
    given(MY_TOKEN=token)
    server.answer(400, "x" * 495 + token)
    for path in ("/", "/\n"):  # the second cannot be sent, and its error quotes the header
        with pytest.raises(NodeError) as caught:
            run("http_request", {"url": server.url, "headers": {"X": "{{ secrets.MY_TOKEN }}" + path.strip("/")}})
        text = failure_of(caught.value).message
        assert not any(part in text for part in ("never", "line", "break")), text


def test_a_handler_that_asks_for_what_is_not_there(harness: Harness, given: Given) -> None:
    given()
    handler("asks")(lambda config, ctx: ctx.secrets["MY_TOKEN"])
    failure = harness.run("asks").failure
    assert failure is not None
    assert (failure.type, failure.retryable) == ("config", False)
    handler("asks kindly")(lambda config, ctx: ctx.secrets.get("MY_TOKEN"))
    assert harness.run("asks kindly").output == "null"


def test_code_sees_no_secret(run: Run, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "token-123")
    given(MY_TOKEN="token-123", OPENAI_API_KEY="sk-123456")
    out = run("code", {"code": "import os\nresult = sorted(os.environ)"})
    assert not {"MY_TOKEN", "OPENAI_API_KEY"} & set(out["result"])


def test_what_the_driver_collects_and_the_runner_installs(monkeypatch: pytest.MonkeyPatch, given: Given) -> None:
    monkeypatch.setenv("SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("MY_TOKEN", "of the driver")
    monkeypatch.setenv("OTHER", "nobody asked")
    collected = environment.collect(["MY_TOKEN", "MY_POD_TOKEN"], "/data")
    assert collected.secrets == ("MY_TOKEN", "MY_POD_TOKEN")
    named = {name: collected.values.get(name) for name in ("SMTP_HOST", "MY_TOKEN", "OTHER", "DRAY_STORAGE_ROOT")}
    assert named == {
        "SMTP_HOST": "mail.example.com",
        "MY_TOKEN": "of the driver",
        "OTHER": None,
        "DRAY_STORAGE_ROOT": "/data",
    }
    # On another machine, whose own environment has more.
    monkeypatch.setenv("MY_TOKEN", "of the machine")
    monkeypatch.setenv("MY_POD_TOKEN", "of the machine too")
    environment.install(collected, clean=True)
    assert dict(environment.secrets()) == {"MY_TOKEN": "of the driver", "MY_POD_TOKEN": "of the machine too"}
    assert not {"MY_TOKEN", "MY_POD_TOKEN", "SMTP_HOST"} & set(os.environ)
    assert "OTHER" in os.environ


def test_a_field_of_ones_own_type_may_hold_secrets() -> None:
    from typing import Annotated

    from dray import HoldsSecrets

    class Config(NodeConfig):
        token: Annotated[str, HoldsSecrets()] | None = None
        note: str = ""

    assert prepare({"token": "{{ secrets.A }}"}, Config, set()).problems == []
    assert len(prepare({"note": "{{ secrets.A }}"}, Config, set()).problems) == 1


def test_log_writes_one_line_without_secrets(run: Run, given: Given, caplog: pytest.LogCaptureFixture) -> None:
    given(MY_TOKEN="token-123")
    config = {"message": "got\n{{ input.x }}", "level": "WARN", "fields": {"n": "{{ input.n }}", "none": None}}
    with caplog.at_level(logging.DEBUG, "dray.node"):
        out = run("log", config, input={"x": "a token-123", "n": 3})
    assert out == {"logged": True, "message": "got\na token-123", "level": "warning"}
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", 'got a ***  {"n": 3}')
    assert (record.__dict__["execution_id"], record.__dict__["node_key"]) == ("e1", "n")


@pytest.mark.parametrize(
    ("config", "says"), [({}, "message: Field required"), ({"message": "m", "level": "loud"}, "level: Input should be")]
)
def test_log_refuses(run: Run, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run("log", config)
