"""The world outside of the demo: an HTTP service that makes each effect once per Idempotency-Key, and counts.

    POST /<what>    makes an entry and answers its number; the same key again gets the first answer, and no second entry

It is slow (60 to 200 ms) and now and then busy (503 to the first request of about one key in twenty), as services are.
Both follow from the key, so that two runs over the same keys are alike.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

BUSY_ONE_IN = 20


class Effects:
    """What the service was asked and what it did. Every count is of idempotency keys unless it says otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: dict[str, int] = {}  # key -> how often asked
        self.busy: set[str] = set()  # keys that were once told to come again
        self.made: dict[str, tuple[str, dict[str, Any]]] = {}  # key -> what, body as sent

    def request(self, what: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
        """Status, answer, and seconds to take over it."""
        digest = hashlib.sha256(key.encode()).digest()
        with self._lock:
            self.requests[key] = self.requests.get(key, 0) + 1
            known = key in self.made
            if not known and key not in self.busy and digest[0] % BUSY_ONE_IN == 0:
                self.busy.add(key)
                return 503, {"error": "busy, come again"}, 0.0
            if not known:
                self.made[key] = what, body
        number = f"{what[0].upper()}-{digest[1:5].hex()}"
        # The effect is made, the answer is on its way: who is killed now has to ask again.
        return 200, {"number": number}, 0.0 if known else 0.06 + digest[5] / 255 * 0.14

    def counts(self) -> tuple[int, int, int]:
        """Requests received, of them told to come again, effects made."""
        with self._lock:
            return sum(self.requests.values()), len(self.busy), len(self.made)


class Service:
    """with Service() as service: ... service.url, service.effects"""

    def __init__(self) -> None:
        self.effects = Effects()
        self._server = _Server(("127.0.0.1", 0), _handler(self.effects))
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo service", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A runner that was killed hangs up: nothing to say about that."""


def _handler(effects: Effects) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Idempotency-Key"]
            status, answer, seconds = effects.request(self.path.strip("/"), key, body)
            time.sleep(seconds)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - a name of http.server
            """Says nothing."""

    return Handler
