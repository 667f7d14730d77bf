"""A server of webhooks and of chat services, which keeps what it gets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Received:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Takes every POST, unless ``answers`` has another answer for the path.

    An answer is a status, or a function of the request and the handler.
    """

    answers: dict[str, int | Callable[[BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    received: list[Received] = field(default_factory=list)
    #: What it says to each request that it takes.
    reply: bytes = b"ok"
    port: int = 0

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self)

            def do_GET(self) -> None:
                receiver.take(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """Return what was received at a path."""
        return [request for request in self.received if request.path == path]

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Received(handler.command, handler.path, headers, body)
        self.received.append(request)
        answer = self.answers.get(handler.path, 200)
        if callable(answer):
            answer(handler)
            return
        handler.send_response(answer)
        if 300 <= answer < 400:
            handler.send_header("Location", self.url("/elsewhere"))
        handler.end_headers()
        handler.wfile.write(self.reply if answer == 200 else b"no room here")


def garbage(handler: BaseHTTPRequestHandler) -> None:
    """Answer with what is not HTTP."""
    handler.wfile.write(b"\x00\x01\x02 nothing of HTTP\r\n\r\n")
    handler.close_connection = True


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Answer one byte at a time, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    try:
        while True:
            handler.wfile.write(b"X-Drip: 1\r\n")
            time.sleep(0.05)
    except OSError:
        return


def silent(_handler: BaseHTTPRequestHandler) -> None:
    """Do not answer within the time of any test."""
    time.sleep(30)
