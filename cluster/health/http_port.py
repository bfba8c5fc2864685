"""The driver's optional HTTP port: /livez, /readyz and /metrics, and nothing else. Off unless DRAY_HTTP_PORT is set.

Reads only, asks for no password and tells no value of an execution; still it is for the monitoring only, and so it is
bound to 127.0.0.1 unless DRAY_HTTP_HOST says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dray.cluster.errors import PortTaken
from dray.cluster.health.judge import Question, Verdict

TEXT = "text/plain; version=0.0.4; charset=utf-8"
SLOW = 10.0  # seconds that a client may take to ask
QUESTIONS: dict[str, Question] = {"/livez": "live", "/readyz": "ready"}


class HttpPort:
    """judged: how the driver is now. metrics: the text of /metrics. Raises PortTaken."""

    def __init__(self, host: str, port: int, judged: Callable[[], Verdict], metrics: Callable[[], bytes]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = SLOW

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, metrics())
                elif path in QUESTIONS:
                    found = judged()
                    good = found.answers(QUESTIONS[path])
                    self._answer(200 if good else 503, f"{found.state}: {found.reason}\n".encode())
                else:
                    self._answer(404, b"there are /livez, /readyz and /metrics\n")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", TEXT)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise PortTaken(host, port, error.strerror or str(error)) from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
