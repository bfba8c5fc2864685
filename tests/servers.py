"""Real servers on the loopback interface, for what nodes talk to: HTTP and SMTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller


class Request(NamedTuple):
    """headers: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpServer:
    """Keeps what it was sent. answers: (status, headers, body) of the next requests; when used up, `default`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.answers: list[tuple[int, dict[str, str], Any]] = []
        self.default: tuple[int, dict[str, str], Any] = (200, {}, "ok")

    def answer(self, status: int, body: Any = "ok", **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def _next(self) -> tuple[int, dict[str, str], Any]:
        return self.answers.pop(0) if self.answers else self.default


@contextmanager
def http_server() -> Iterator[HttpServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            ours.requests.append(Request(self.command, self.path, headers, body))
            status, more, answer = ours._next()
            sent = b"" if status == 204 else answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ours = HttpServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield ours
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Mail(NamedTuple):
    sender: str
    recipients: list[str]
    content: bytes


class SmtpServer:
    """Takes mail; refuse: recipient -> the line it is refused with; said: what it answers to a message."""

    def __init__(self) -> None:
        self.host, self.port = "127.0.0.1", 0
        self.mails: list[Mail] = []
        self.refuse: dict[str, str] = {}
        self.said = "250 taken"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.said.startswith("250"):
            self.mails.append(Mail(envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return self.said


@contextmanager
def smtp_server(**options: Any) -> Iterator[SmtpServer]:
    """options: of aiosmtpd's SMTP."""
    ours = SmtpServer()
    controller = Controller(ours, hostname=ours.host, port=_free_port(), **options)
    controller.start()
    ours.port = controller.port
    try:
        yield ours
    finally:
        controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
