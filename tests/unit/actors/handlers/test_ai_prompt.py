"""ai_prompt, against a server on the loopback interface that speaks chat completions."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from dray.actors.errors import ConfigError, NodeError
from tests.servers import HttpServer

Run = Callable[..., Any]
Given = Callable[..., None]
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0}}


def completion(content: str | None = "Hello!", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
    return {"id": "c1", "object": "chat.completion", "model": "gpt-4o-mini-2024", "choices": [choice], "usage": USAGE}


@pytest.mark.parametrize("node_type", ["ai_prompt", "ai-prompt"])
def test_a_prompt_is_answered(run: Run, server: HttpServer, given: Given, node_type: str) -> None:
    given(OPENAI_API_KEY="sk-of-the-deployment", OPENAI_BASE_URL=server.url + "/v1/")
    server.answer(200, completion())
    config = {"prompt": "Greet {{ input.name }}", "system_prompt": "Be brief", "temperature": 0}
    assert run(node_type, config, input={"name": "Ada"}) == {
        "content": "Hello!",
        "model": "gpt-4o-mini-2024",
        "tokens_used": 12,
        "usage": USAGE,
        "finish_reason": "stop",
    }
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-of-the-deployment"
    assert request.headers["idempotency-key"] == "e1/n"
    assert request.json == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Greet Ada"}],
        "temperature": 0,
        "max_tokens": 1000,
        "stream": False,
    }


def test_the_key_of_the_deployment_goes_to_its_endpoint_only(run: Run, server: HttpServer, given: Given) -> None:
    given(OPENAI_API_KEY="sk-of-the-deployment", MY_KEY="sk-of-the-other")
    server.default = (200, {}, completion())
    run("ai_prompt", {"prompt": "p", "base_url": server.url})
    run("ai_prompt", {"prompt": "p", "base_url": server.url, "api_key_secret": "MY_KEY"})
    assert [each.headers.get("authorization") for each in server.requests] == [None, "Bearer sk-of-the-other"]
    for name in ("OPENAI_API_KEY", "NOWHERE"):
        with pytest.raises(ConfigError, match=f"there is no secret '{name}': name it in DRAY_SECRETS"):
            run("ai_prompt", {"prompt": "p", "base_url": server.url, "api_key_secret": name})
    assert len(server.requests) == 2


def test_a_key_in_the_graph_is_refused_without_being_shown(run: Run) -> None:
    with pytest.raises(ConfigError, match="api_key: a key must not be in a graph") as caught:
        run("ai_prompt", {"prompt": "p", "api_key": "sk-in-the-clear"})
    assert "sk-in-the-clear" not in str(caught.value)


def test_without_a_key_openai_is_not_even_asked(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"https://api\.openai\.com/v1 needs a key: set OPENAI_API_KEY"):
        run("ai_prompt", {"prompt": "p"})


def test_extra_fields_win_and_null_leaves_out(run: Run, server: HttpServer) -> None:
    server.answer(200, completion())
    extra = {"max_completion_tokens": 50, "temperature": None, "seed": 1, "stream": True}
    run("ai_prompt", {"prompt": "p", "base_url": server.url, "extra": extra})
    messages = [{"role": "user", "content": "p"}]
    assert server.requests[0].json == {
        "model": "gpt-4o-mini", "messages": messages, "max_completion_tokens": 50, "seed": 1, "stream": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (404, False), (429, True), (500, True), (503, True), (307, False)],
)
def test_error_status(run: Run, server: HttpServer, status: int, retryable: bool) -> None:
    server.answer(status, {"error": {"message": "the reason"}}, Location=server.url)
    with pytest.raises(
        NodeError, match=rf"HTTP {status} .* from POST {server.url}/chat/completions: .*the reason"
    ) as caught:
        run("ai_prompt", {"prompt": "p", "base_url": server.url})
    assert (caught.value.retryable, caught.value.retry_after, len(server.requests)) == (retryable, None, 1)


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        ("20", 20, 20),
        ("1.5", 1.5, 1.5),
        ("in an hour", 3000, 3600),
        ("9999999999", 86_400, 86_400),
    ],
)
def test_retry_after(run: Run, server: HttpServer, header: str, at_least: float, at_most: float) -> None:
    if header == "in an hour":  # of the test, not of its collection
        header = formatdate(time.time() + 3600, usegmt=True)
    server.answer(429, "slow down", Retry_After=header)
    with pytest.raises(NodeError) as caught:
        run("ai_prompt", {"prompt": "p", "base_url": server.url})
    assert caught.value.retry_after is not None
    assert at_least <= caught.value.retry_after <= at_most


@pytest.mark.parametrize("header", ["-1", "nan", "inf", "soon", "", "0", formatdate(0, usegmt=True)])
def test_a_retry_after_that_says_nothing(run: Run, server: HttpServer, header: str) -> None:
    server.answer(503, "slow down", Retry_After=header)
    with pytest.raises(NodeError) as caught:
        run("ai_prompt", {"prompt": "p", "base_url": server.url})
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("answer", "says", "retryable"),
    [
        ("<html>", "no chat completion: <html>", True),
        ({"choices": []}, "no chat completion", True),
        ({"choices": [{"message": "x"}]}, "no chat completion", True),
        (completion(None, refusal="I cannot"), "gpt-4o-mini refused: I cannot", False),
        (completion(""), "gave no text", False),
        ({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}, "raise max_tokens", False),
    ],
)
def test_an_answer_without_text_is_no_success(
    run: Run, server: HttpServer, answer: Any, says: str, retryable: bool
) -> None:
    server.answer(200, answer)
    with pytest.raises(NodeError, match=says) as caught:
        run("ai_prompt", {"prompt": "p", "base_url": server.url})
    assert caught.value.retryable == retryable


def test_an_endpoint_that_counts_no_tokens(run: Run, server: HttpServer) -> None:
    server.answer(200, {"choices": [{"message": {"content": "x"}}]})
    out = run("ai_prompt", {"prompt": "p", "base_url": server.url, "model": "mine"})
    assert out == {"content": "x", "model": "mine", "tokens_used": None, "usage": None, "finish_reason": None}
