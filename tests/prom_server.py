"""A stand-in for a Prometheus: answers each query as the test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Answer:
    """What goes back. Without a `body` it is `document` as JSON."""

    status: int = 200
    document: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return json.dumps(self.document).encode() if self.body is None else self.body


def vector(samples: Sequence[tuple[Mapping[str, str], float | str]], **more: Any) -> Answer:
    result = [{"metric": dict(labels), "value": [1.0, str(value)]} for labels, value in samples]
    return Answer(document={"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def matrix(series: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float | str]]]], **more: Any) -> Answer:
    result = [{"metric": dict(labels), "values": [[t, str(v)] for t, v in points]} for labels, points in series]
    return Answer(document={"status": "success", "data": {"resultType": "matrix", "result": result}, **more})


Asked = Mapping[str, str]
"""The form of one query, with the endpoint under "endpoint"."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some of the tests are about."""


class PromServer:
    """`answer` may be exchanged while it runs; it is called on the server's threads."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.headers: list[Mapping[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                form = {name: values[-1] for name, values in parse_qs(self.rfile.read(size).decode()).items()}
                found = server.take({**form, "endpoint": self.path.rpartition("/")[2]}, dict(self.headers))
                self.send_response(found.status)
                for name, value in {"Content-Type": "application/json", **found.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(found.content)))
                self.end_headers()
                self.wfile.write(found.content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, form: Asked, headers: Mapping[str, str]) -> Answer:
        with self._lock:
            self.asked.append(form)
            self.headers.append(headers)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(form)
        finally:
            with self._lock:
                self._now -= 1

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def prom_server(answer: Callable[[Asked], Answer]) -> Iterator[PromServer]:
    server = PromServer(answer)
    try:
        yield server
    finally:
        server.stop()
