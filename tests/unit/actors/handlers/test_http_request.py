"""http_request, against a server on the loopback interface."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dray.actors.context import NodeContext
from dray.actors.errors import ConfigError, NodeError
from dray.actors.handlers.http_request import HttpRequestConfig, http_request
from dray.actors.outside.http_client import _clients, client_of_loop, close_client
from dray.actors.runner.answer import failure_of
from tests.servers import HttpServer
from tests.unit.actors.runner.harness import Harness

Run = Callable[..., Any]


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    release = threading.Event()
    seen: list[tuple[str, dict[str, str], bytes]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        type(self).seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        name, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        status, headers, answer = 200, {"Set-Cookie": "s=1"}, b'{"ok": [1, 2.5]}'
        match name:
            case "status":
                status, answer = int(argument), b"the reason\n" + b"x" * 10_000
            case "redirect":
                status, headers, answer = 302, {"Location": "/end"}, b""
            case "circle":
                status, headers, answer = 302, {"Location": "/circle"}, b""
            case "bytes":
                answer = b"a\xff\0b"
            case "big":
                answer = b"x" * 5_000
            case "hang":
                type(self).release.wait(10)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    Server.seen = []
    Server.release.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_get(run: Run, url: str) -> None:
    out = run("http_request", {"url": url + "/x?q={{ input.q }}"}, input={"q": 3})
    assert (out["status_code"], out["method"], out["url"]) == (200, "GET", url + "/x?q=3")
    assert (out["body"], out["json"]) == ('{"ok": [1, 2.5]}', {"ok": [1, 2.5]})
    assert out["headers"]["content-length"] == "16"
    ((path, headers, _),) = Server.seen
    assert path == "/x?q=3"
    assert headers["idempotency-key"] == "e1/n"


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ({"a": "é"}, '{"a": "é"}'.encode(), "application/json"),
        ("plain", b"plain", "application/json"),
        (0, b"0", "application/json"),
    ],
)
def test_body(run: Run, url: str, body: object, sent: bytes, content_type: str) -> None:
    run("http_request", {"url": url, "method": "post", "body": body})
    _, headers, received = Server.seen[0]
    assert received == sent
    assert headers["content-type"] == content_type


def test_headers_of_the_config_win(run: Run, url: str) -> None:
    headers = {"idempotency-key": "mine", "content-type": "text/plain", "X-N": 5}
    run("http_request", {"url": url, "method": "PUT", "body": "x", "headers": headers})
    sent = Server.seen[0][1]
    assert (sent["idempotency-key"], sent["content-type"], sent["x-n"]) == ("mine", "text/plain", "5")


def test_redirects_are_followed_and_cookies_are_not_kept(run: Run, url: str) -> None:
    async def two() -> dict[str, Any]:
        for path in ("/first", "/redirect"):
            ctx = NodeContext("e1", "n", 1, time.monotonic() + 10)
            out = await http_request(HttpRequestConfig(url=url + path), ctx)
        assert client_of_loop() is client_of_loop()
        await close_client()
        return out

    assert asyncio.run(two())["url"] == url + "/end"
    assert [path for path, _, _ in Server.seen] == ["/first", "/redirect", "/end"]
    assert not any("cookie" in headers for _, headers, _ in Server.seen)


def test_a_runner_that_ends_closes_its_connections(harness: Harness, url: str) -> None:
    assert harness.output("http_request", {"url": url})["status_code"] == 200
    (client,) = (client for loop, client in _clients.items() if loop.is_running())
    harness.runner.close()
    for _ in range(2000):
        if client.is_closed:
            return
        time.sleep(0.01)
    raise AssertionError("its client is still open")


def test_endless_redirects(run: Run, url: str) -> None:
    with pytest.raises(NodeError, match="too many redirects") as caught:
        run("http_request", {"url": url + "/circle"})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
def test_error_status(run: Run, url: str, status: int, retryable: bool) -> None:
    with pytest.raises(NodeError, match=rf"HTTP {status} .*the reason") as caught:
        run("http_request", {"url": f"{url}/status/{status}?token=secret", "max_body_bytes": 1_000})
    assert caught.value.retryable is retryable
    assert len(str(caught.value)) < 700
    assert "secret" not in str(caught.value)


def test_a_retry_after_is_told(run: Run, server: HttpServer) -> None:
    server.answer(503, "later", Retry_After="30")
    with pytest.raises(NodeError) as caught:
        run("http_request", {"url": server.url})
    assert caught.value.retry_after == 30
    assert failure_of(caught.value).retry_after == 30


def test_undecodable_bytes_are_replaced(run: Run, url: str) -> None:
    out = run("http_request", {"url": url + "/bytes"})
    assert (out["body"], out["json"]) == ("a\ufffd\ufffdb", None)


def test_body_limit(run: Run, url: str) -> None:
    with pytest.raises(NodeError, match="larger than 4999 bytes; raise max_body_bytes") as caught:
        run("http_request", {"url": url + "/big", "max_body_bytes": 4_999})
    assert not caught.value.retryable
    assert len(run("http_request", {"url": url + "/big", "max_body_bytes": 5_000})["body"]) == 5_000


@pytest.mark.parametrize("config", [{"timeout": 0.05}, {"timeout": 30}])
def test_timeout(run: Run, url: str, config: dict[str, Any]) -> None:
    seconds = 60 if config["timeout"] < 1 else 0.05  # the node's own time-out, or what is left of the deadline
    with pytest.raises(NodeError, match="no complete answer within") as caught:
        run("http_request", config | {"url": url + "/hang"}, seconds=seconds)
    assert caught.value.retryable


def test_network_error(run: Run, url: str) -> None:
    with pytest.raises(NodeError, match="network error") as caught:
        run("http_request", {"url": "http://127.0.0.1:1/"})
    assert caught.value.retryable


@pytest.mark.parametrize("bad", ["file:///etc/passwd", "ftp://h/x", "/relative", "http://", "http://h:x/"])
def test_only_http_urls(run: Run, bad: str) -> None:
    with pytest.raises(ConfigError, match="url"):
        run("http_request", {"url": bad})


@pytest.mark.parametrize("headers", [{"a b": "x"}, {"a": "b\nc"}, {"a": "é"}])
def test_impossible_headers_are_config_errors(run: Run, url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        run("http_request", {"url": url, "headers": headers})
