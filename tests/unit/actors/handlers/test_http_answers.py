"""http_request: the form of an answer fails no node, redirects stay where they may go, and what is held is bounded."""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from dray.actors.errors import ConfigError, NodeError
from dray.actors.outside.http_client import Follow, _check
from tests.servers import HttpServer, http_server
from tests.unit.actors.runner.harness import Harness

Run = Callable[..., Any]
Given = Callable[..., None]
MIB = 1 << 20


@contextmanager
def raw_server(head: str, *pieces: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answers one request with these bytes, and whatever follows with 200; gives its URL and what it has sent."""
    sent: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        answers = [(head, pieces), ("200 OK\r\nContent-Length: 2", (b"ok",))]
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                try:
                    connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode("latin-1"))
                    for piece in body:
                        connection.sendall(piece)
                        sent.append(piece)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


@pytest.mark.parametrize(
    ("head", "body", "text", "value"),
    [
        ("Content-Type: application/json", rb'{"name": "a\u0000b"}', r'{"name": "a\u0000b"}', {"name": "a\ufffdb"}),
        ("Content-Type: application/json", rb'["\ud83d", 1e999]', r'["\ud83d", 1e999]', ["\ufffd", None]),
        ("Content-Type: application/json", b"\xef\xbb\xbf[1]", "[1]", [1]),
        ("Content-Type: application/json", "[1]".encode("utf-16"), "[1]", [1]),
        ("Content-Type: text/plain; charset=idna", b"a..b", "a..b", None),
        ("Content-Type: text/plain; charset=punycode", b"\xff", "\ufffd", None),
    ],
)
def test_an_answer_is_stored_whatever_its_form(harness: Harness, head: str, body: bytes, text: str, value: Any) -> None:
    with raw_server(f"200 OK\r\n{head}\r\nContent-Length: {len(body)}", body) as (url, _):
        out = harness.output("http_request", {"url": url, "method": "POST"})
    assert (out["body"], out["json"]) == (text, value)


def test_several_cookies_are_a_list_and_other_values_one_text(run: Run) -> None:
    head = "200 OK\r\nSet-Cookie: a=1; Expires=Wed, 21 Oct 2026\r\nSet-Cookie: b=2\r\n"
    head += "Via: x\r\nVia: y\r\nContent-Length: 0"
    with raw_server(head) as (url, _):
        headers = run("http_request", {"url": url})["headers"]
    assert headers["set-cookie"] == ["a=1; Expires=Wed, 21 Oct 2026", "b=2"]
    assert headers["via"] == "x, y"
    with raw_server("200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0") as (url, _):
        assert run("http_request", {"url": url})["headers"]["set-cookie"] == "a=1"


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("Größe[2]/café 1", "e1/Gr%C3%B6%C3%9Fe[2]/caf%C3%A9 1"),
        ("plain-1", "e1/plain-1"),
        ("50%", "e1/50%25"),
        ("x ", "e1/x%20"),
    ],
)
@pytest.mark.parametrize(
    ("node_type", "config"),
    [("http_request", {}), ("notification", {"channel": "webhook", "message": "x"}), ("ai_prompt", {"prompt": "x"})],
)
def test_a_node_may_have_any_id(
    start: Any, server: HttpServer, node_type: str, config: dict[str, Any], key: str, sent: str
) -> None:
    import asyncio
    import time

    from dray.actors.context import NodeContext
    from dray.actors.outside.http_client import close_client
    from dray.actors.registry import find_handler, load_handlers

    load_handlers()
    spec = find_handler(node_type)
    where = {"base_url": server.url} if node_type == "ai_prompt" else {"url": server.url}
    server.answer(200, {"choices": [{"message": {"content": "x"}}]})

    async def call() -> None:
        await spec.function(spec.parse({**config, **where}), NodeContext("e1", key, 1, time.monotonic() + 30))
        await close_client()

    asyncio.run(call())
    assert server.requests[0].headers["idempotency-key"] == sent


# Redirects


@pytest.fixture
def other() -> Iterator[HttpServer]:
    with http_server() as found:
        yield found


def test_a_redirect_to_another_origin_is_not_followed_unless_the_config_says_so(
    run: Run, server: HttpServer, other: HttpServer
) -> None:
    config = {"url": server.url, "headers": {"X-Own": "1", "Authorization": "Basic abc"}}
    server.default = (302, {"Location": f"{other.url}/end"}, "")
    with pytest.raises(NodeError, match="another origin, is not followed") as caught:
        run("http_request", config)
    assert not caught.value.retryable
    assert run("http_request", {**config, "follow_redirects": False})["status_code"] == 302
    assert other.requests == []
    assert run("http_request", {**config, "follow_redirects": "true"})["url"] == f"{other.url}/end"
    (request,) = other.requests
    assert request.headers["x-own"] == "1"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "config",
    [
        {"headers": {"X-Key": "{{ secrets.MY_TOKEN }}"}},
        {"body": {"a": ["{{ secrets.MY_TOKEN }}"]}, "method": "POST"},
        {"url": "/?key={{ secrets.MY_TOKEN }}"},
    ],
)
@pytest.mark.parametrize("status", [302, 307])
def test_a_secret_is_never_taken_to_another_origin(
    run: Run, server: HttpServer, other: HttpServer, given: Given, config: dict[str, Any], status: int
) -> None:
    given(MY_TOKEN="token 1/2?3")
    server.default = (status, {"Location": other.url}, "")
    given_config = {**config, "url": server.url + config.get("url", ""), "follow_redirects": True}
    with pytest.raises(NodeError, match="for the request holds a secret"):
        run("http_request", given_config)
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (303, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (307, "PUT", "PUT", b'{"a": 1}'),
        (308, "POST", "POST", b'{"a": 1}'),
    ],
)
def test_within_the_origin_methods_change_as_browsers_do_it(
    run: Run, server: HttpServer, status: int, method: str, then: str, body: bytes
) -> None:
    server.answer(status, "moved", Location="/end?x=1")
    out = run("http_request", {"url": server.url, "method": method, "body": {"a": 1}})
    assert (out["status_code"], out["url"]) == (200, f"{server.url}/end?x=1")
    first, second = server.requests
    assert (second.method, second.path, second.body) == (then, "/end?x=1", body)
    assert second.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert ("content-type" in second.headers) is bool(body)


@pytest.mark.parametrize(
    "location", ["http://[", "http://h:x/", "app://back", "mailto:a@example.com", "http://\xe4\xf6 /"]
)
def test_a_location_that_cannot_be_asked_is_told_as_it_is(run: Run, location: str) -> None:
    with raw_server(f"302 Found\r\nLocation: {location}\r\nContent-Length: 2", b"ok") as (url, _):
        try:
            out = run("http_request", {"url": url, "method": "POST"})
        except NodeError as error:
            assert "another origin" in str(error)
        else:
            assert (out["status_code"], out["headers"]["location"], out["body"]) == (302, location, "ok")


# Bounds


def test_the_body_of_a_redirect_is_not_read(run: Run) -> None:
    pieces = [bytes(MIB)] * 300
    with raw_server(f"302 Found\r\nLocation: /end\r\nContent-Length: {300 * MIB}", *pieces) as (url, sent):
        tracemalloc.start()
        out = run("http_request", {"url": url})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert out["status_code"] == 200
    assert len(sent) < 100
    assert most < 20 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_one_coding_is_taken_off_with_a_bound(run: Run, coding: str) -> None:
    def packed(data: bytes) -> bytes:
        if coding == "gzip":
            return gzip.compress(data)
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS if coding == "deflate" else -zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()

    name = coding.rpartition(" ")[2]
    for data in (b"", b"x" * 5_000):
        body = packed(data)
        with raw_server(f"200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(body)}", body) as (url, _):
            assert run("http_request", {"url": url, "max_body_bytes": 5_000})["body"] == data.decode()
    bomb = packed(bytes(200 * MIB))
    with raw_server(f"200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(bomb)}", bomb) as (url, _):
        tracemalloc.start()
        with pytest.raises(NodeError, match="larger than 5000 bytes; raise max_body_bytes"):
            run("http_request", {"url": url, "max_body_bytes": 5_000})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 5 * MIB


def test_a_coding_in_a_coding_is_refused(run: Run) -> None:
    bomb = gzip.compress(gzip.compress(bytes(50 * MIB)))
    with raw_server(f"200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: {len(bomb)}", bomb) as (url, _):
        with pytest.raises(NodeError, match="2 content codings") as caught:
            run("http_request", {"url": url})
        assert not caught.value.retryable


def test_what_cannot_be_unpacked_is_tried_again(run: Run) -> None:
    with raw_server("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4", b"nope") as (url, _):
        with pytest.raises(NodeError, match="cannot be unpacked") as caught:
            run("http_request", {"url": url})
        assert caught.value.retryable


def test_headers_that_cannot_be_sent_are_a_config_error(run: Run) -> None:
    with pytest.raises(ConfigError):
        run("http_request", {"url": "http://127.0.0.1:1/", "headers": {"a": "ü"}})


@pytest.mark.parametrize(
    ("asked", "leads_to", "follow", "said"),
    [
        ("https://a.example/x", "http://a.example/x", "same_origin", "from https to http"),
        ("https://a.example/x", "http://a.example/x", True, "from https to http"),
        ("https://a.example/x", "https://b.example/", "same_origin", "another origin"),
        ("https://a.example/x", "https://a.example:8443/", "same_origin", "another origin"),
        ("http://a.example:8080/x", "https://a.example/", "same_origin", "another origin"),
        ("https://a.example/x", "https://b.example/", True, None),
        ("https://a.example/x", "https://a.example:443/y", "same_origin", None),
        ("http://a.example/x", "https://a.example/x", "same_origin", None),
    ],
)
def test_where_a_redirect_may_lead(asked: str, leads_to: str, follow: Follow, said: str | None) -> None:
    request = httpx.Request("GET", asked, headers={"X-Own": "1"})
    response = httpx.Response(302, request=request)
    if said is None:
        _check(request, httpx.Request("GET", leads_to), response, follow)
        return
    with pytest.raises(NodeError, match=said) as caught:
        _check(request, httpx.Request("GET", leads_to), response, follow)
    assert not caught.value.retryable
